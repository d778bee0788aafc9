import type { Column } from './columns.ts';
import { EXCHANGES, LOGS, type Table } from './ddl.ts';

const code = (text: string): string => `\`${text}\``;
const cell = (text: string): string => text.replaceAll('|', '\\|');

const rowOf = ({ name, type, attributes, field, description }: Column): string =>
  `| ${[code(name), code(type), attributes.map(code).join(', '), field ? code(field) : '', description].map(cell).join(' | ')} |`;

const columnsOf = ({ columns }: Table): readonly string[] => [
  '| column | type | OpenTelemetry attribute | JSON field | holds |',
  '|---|---|---|---|---|',
  ...columns.map(rowOf),
];

/** The text of `docs/reference/telemetry.md`. */
export const genTelemetryDocs = (): string =>
  [
    '# Telemetry',
    '',
    '## Exchanges',
    '',
    `Everything that left a sandbox, or wanted to, is one row of ClickHouse table ${code(EXCHANGES.name)}: HTTP requests, refused connections`,
    `and refused DNS questions, allowed and denied. Rows are kept ${EXCHANGES.retentionDays} days. A row appears at most one second after the exchange ended.`,
    '',
    'A record may be written twice after a crash; rows with the same `decision_id` are the same record. In SQL of your own, read',
    `${code(`${EXCHANGES.name} FINAL`)}, or keep one row for each \`decision_id\`, as \`clrk egress log\` does.`,
    '',
    'Columns from `provider` to `provider_fetches` are of LLM requests, empty or absent in other rows; their attributes follow the OpenTelemetry conventions for generative',
    'AI, tokens also under the shorter names. Tokens are what the provider reported..',
    '',
    'Queries of URLs, request headers and credentials are never recorded, and text that looks like a key or a token is masked.',
    '',
    ...columnsOf(EXCHANGES),
    '',
    '## Logs',
    '',
    `What runs print, and what workers say about them, is in ClickHouse table ${code(LOGS.name)}, one row a line, read with \`clrk agents logs\`.`,
    `Rows are kept ${LOGS.retentionDays} days. A row appears at most one second after the line ended. Text that looks like a key or a token is masked.`,
    '',
    ...columnsOf(LOGS),
    '',
  ].join('\n');
