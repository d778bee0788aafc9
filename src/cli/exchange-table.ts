import { isIPv6 } from 'node:net';
import type { Exchange } from './exchanges.ts';
import { paint, printable, table, type Io } from './output.ts';

/** Records for people: a table, and how to ask why one was denied. */

/** Port that goes without saying. */
const USUAL_PORT: Readonly<Record<string, number>> = { https: 443, http: 80 };

/** Address and port of `10.0.0.1:443` or `[2001:db8::1]:443`; the port is absent for what has none. */
const dialled = ({ destination }: Exchange): { readonly address: string; readonly port: number | undefined } => {
  const [, address = destination, port] = /^\[?(.*?)\]?:(\d{1,5})$/.exec(destination) ?? [];
  return { address, port: port === undefined ? undefined : Number(port) };
};

/** Where it went or wanted to go, by name if there is one: `api.openai.com`, `db.example.com:5432`, `10.40.0.5:5432`. */
const placeOf = (exchange: Exchange): string => {
  const { address, port } = dialled(exchange);
  const host = exchange.host || address;
  if (port === undefined || port === USUAL_PORT[exchange.protocol]) return host;
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
};

const UNITS = ['', 'k', 'M', 'G', 'T'];
/** At most three digits: `340`, `1.2k`, `34M`. */
export const shortBytes = (count: number): string => {
  let [value, unit] = [count, 0];
  for (; value >= 999.5 && unit < UNITS.length - 1; unit++) value /= 1_000;
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)}${UNITS[unit]}`;
};

const bytes = ({ requestBytes, responseBytes }: Exchange): string =>
  requestBytes || responseBytes ? `${shortBytes(requestBytes)}/${shortBytes(responseBytes)}` : '-';

const tokens = ({ inputTokens, outputTokens }: Exchange): string =>
  inputTokens === undefined && outputTokens === undefined ? '-' : `${inputTokens ?? '?'}/${outputTokens ?? '?'}`;

/** `Allowed`, `Allowed Timeout`, `Denied NoRoute`. */
const verdict = ({ verdict: word, reason }: Exchange): string => printable(reason === '' || reason === word ? word : `${word} ${reason}`);

/** Of a question, its type says less than that it is one. */
const request = (e: Exchange): string => printable(`${e.protocol === 'dns' ? 'dns' : e.method || e.protocol} ${placeOf(e)}${e.path}`.trim());

const model = ({ provider, model: name }: Exchange): string => printable([provider, name].filter(Boolean).join('/') || '-');

const joined = (texts: readonly string[]): string => printable(texts.join(',') || '-');

/** `$0.0021`; of a request whose use nobody told, the most it can have been: `≤$0.02`. */
export const cost = ({ costUsd, costEstimated }: Pick<Exchange, 'costUsd' | 'costEstimated'>): string => {
  if (costUsd === undefined) return '-';
  const [whole = '', parts = ''] = costUsd.toFixed(6).split('.');
  return `${costEstimated ? '≤' : ''}$${whole}.${parts.replace(/0{1,4}$/, '')}`;
};

const GAP = 2;
const HEAD = ['TIME', 'VERDICT', 'REQUEST', 'HTTP', 'MODEL', 'TOKENS', 'BYTES', 'MS'] as const;
/** After those, where there is room for everything. */
const WIDE = ['COST', 'FETCHES', 'AGENT', 'ROUTE', 'DECISION'] as const;
const [VERDICT, REQUEST, MODEL] = [HEAD.indexOf('VERDICT'), HEAD.indexOf('REQUEST'), HEAD.indexOf('MODEL')];
/** Columns that give way on a narrow terminal, in this order, and how much of them stays. */
const ELASTIC: readonly (readonly [column: number, least: number])[] = [
  [REQUEST, 24],
  [MODEL, 12],
];

const cut = (text: string, width: number): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text);

/** Rows that fit into so many columns, as far as they can be cut. */
const fitted = (rows: readonly (readonly string[])[], columns: number): readonly (readonly string[])[] => {
  const widths = HEAD.map((head, i) => Math.max(head.length, ...rows.map((row) => row[i]!.length)));
  let excess = widths.reduce((sum, width) => sum + width + GAP, -GAP) - columns;
  for (const [column, least] of ELASTIC) {
    if (excess <= 0) break;
    const width = Math.max(Math.min(least, widths[column]!), widths[column]! - excess);
    excess -= widths[column]! - width;
    widths[column] = width;
  }
  return rows.map((row) => row.map((cell, i) => cut(cell, widths[i]!)));
};

const wideCells = (e: Exchange): readonly string[] => [cost(e), joined(e.providerFetches), printable(e.agent || '-'), printable(e.route || '-'), e.decisionId];

/** A row for each record; nothing is cut unless it is for a terminal that is too narrow, and never when it is wide. */
export const exchangeTable = (io: Io, exchanges: readonly Exchange[], wide = false): string => {
  const rows = exchanges.map((e) => [
    e.time.slice(11, 23),
    verdict(e),
    request(e),
    e.status === 0 ? '-' : String(e.status),
    model(e),
    tokens(e),
    bytes(e),
    String(Math.round(e.durationMs)),
    ...(wide ? wideCells(e) : []),
  ]);
  const painted = (wide ? rows : fitted(rows, io.columns ?? Infinity)).map((row, at) =>
    row.map((cell, i) => (i === VERDICT ? paint(io, exchanges[at]!.verdict === 'Allowed' ? 'green' : 'red', cell) : cell)),
  );
  return table(wide ? [...HEAD, ...WIDE] : HEAD, painted, GAP);
};

/** As a word of a shell; undefined for what nobody should paste. An agent chose the text. */
const word = (text: string): string | undefined => {
  if (text === '' || text.startsWith('-') || !/^[\x20-\x7e]+$/.test(text)) return undefined;
  return /^[\w./:@,+%-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
};

interface Question {
  readonly args: readonly string[];
  /** Flags with their values. */
  readonly flags?: Readonly<Record<string, string>>;
}

/** Of a message to an MCP server: what it is about says which method it is, most of the time. */
const messageFlags = ({ mcpMethod, tool, mcpResource }: Exchange): Readonly<Record<string, string>> => {
  if (tool) return { tool };
  if (mcpResource) return { ...(mcpMethod !== 'resources/read' && { 'mcp-method': mcpMethod }), resource: mcpResource };
  return mcpMethod ? { 'mcp-method': mcpMethod } : {};
};

const questionOf = (exchange: Exchange): Question | undefined => {
  const { protocol, method, host, path, model } = exchange;
  const { address, port } = dialled(exchange);
  const name = host || (isIPv6(address) ? `[${address}]` : address);
  if (name === '') return undefined;
  if (protocol === 'http' || protocol === 'https') {
    const authority = port === undefined || port === USUAL_PORT[protocol] ? name : `${name}:${port}`;
    return { args: [method || 'GET', `${protocol}://${authority}${path}`], flags: { ...(model && { model }), ...messageFlags(exchange) } };
  }
  // Which port it would have been is not known; most names are asked for because of HTTPS.
  if (protocol === 'dns') return { args: ['GET', `https://${name}/`] };
  if (port === undefined) return undefined;
  if (protocol === 'tls') return { args: ['tcp', `${name}:${port}`], ...(host && { flags: { sni: host } }) };
  return protocol === 'tcp' || protocol === 'udp' ? { args: [protocol, `${name}:${port}`] } : undefined;
};

/** The command that says why a record was denied; undefined when there is none (ICMP has no way out at all). */
export const explainCommand = (exchange: Exchange, namespace: string): string | undefined => {
  const question = exchange.agent === '' ? undefined : questionOf(exchange);
  if (!question) return undefined;
  const { args, flags: asked = {} } = question;
  const values = [`${exchange.metadata?.namespace ?? namespace}/${exchange.agent}`, ...args].map(word);
  const flags = Object.entries(asked).flatMap(([name, value]) => [`--${name}`, word(value)]);
  const words = [...values, ...flags];
  return words.every((each) => each !== undefined) ? `clrk explain ${words.join(' ')}` : undefined;
};

const MAX_HINTS = 3;

/** How to ask about what was denied: the newest few, each once. */
export const explainHints = (exchanges: readonly Exchange[], namespace: string): readonly string[] => {
  const commands = exchanges.toReversed().flatMap((exchange) => (exchange.verdict === 'Denied' ? (explainCommand(exchange, namespace) ?? []) : []));
  return [...new Set(commands)].slice(0, MAX_HINTS);
};
