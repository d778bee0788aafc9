import { EXCHANGE_COLUMNS } from './columns.ts';
import { RETENTION_DAYS, TABLE } from './ddl.ts';

const code = (text: string): string => `\`${text}\``;
const cell = (text: string): string => text.replaceAll('|', '\\|');

/** The text of `docs/reference/telemetry.md`. */
export const genTelemetryDocs = (): string => {
  const rows = EXCHANGE_COLUMNS.map((column) =>
    [code(column.name), code(column.type), column.attributes.map(code).join(', '), column.field ? code(column.field) : '', column.description].map(cell),
  );
  return [
    '# Telemetry',
    '',
    `Everything that left a sandbox, or wanted to, is one row of ClickHouse table ${code(TABLE)}: HTTP requests, refused connections`,
    `and refused DNS questions, allowed and denied. Rows are kept ${RETENTION_DAYS} days. A row appears at most one second after the exchange ended.`,
    '',
    'A record may be written twice after a crash; rows with the same `decision_id` are the same record. In SQL of your own, read',
    `${code(`${TABLE} FINAL`)}, or keep one row for each \`decision_id\`, as \`clrk egress log\` does.`,
    '',
    'Queries of URLs, request headers and credentials are never recorded, and text that looks like a key or a token is masked.',
    '',
    '| column | type | OpenTelemetry attribute | JSON field | holds |',
    '|---|---|---|---|---|',
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
    '',
  ].join('\n');
};
