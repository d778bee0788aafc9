import { isNotFound, ApiError, readLines, toApiError } from '#kube';
import { taskAgents } from '#api';
import { backoffMs, ClrkError, messageOf, sleep } from '#lib';
import { paint, printable, type Io } from './output.ts';
import type { Target } from './target.ts';

/** One line of a run, as `agents logs -o json` prints it. */
export interface LogLine {
  /** RFC 3339 with nanoseconds, UTC. */
  readonly time: string;
  readonly invocation: string;
  readonly revision: string;
  readonly worker: string;
  readonly component: string;
  /** `stdout`, `stderr`, or empty: the worker says it. */
  readonly iostream: string;
  /** Of the worker's lines: `started`, `ended`, `dropped`. */
  readonly event: string;
  readonly body: string;
  /** Where the line is in the order of all lines. */
  readonly position: number;
}

export interface LogSource {
  readonly namespace: string;
  readonly agent: string;
  readonly invocation?: string | undefined;
  readonly component?: string | undefined;
  readonly iostream?: string | undefined;
}

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: string };
}
interface LogRecord {
  readonly timeUnixNano: string;
  readonly body: { readonly stringValue: string };
  readonly attributes: readonly Attribute[];
}
/** OTLP/JSON, as far as it is read here. */
interface LogsData {
  readonly resourceLogs: readonly { readonly scopeLogs: readonly { readonly logRecords: readonly LogRecord[] }[] }[];
  /** The run is over and nothing more comes. */
  readonly complete?: boolean;
}

export const MAX_PAGE = 1_000;
/** A follow connection says nothing for at most a minute. */
const IDLE_MS = 90_000;
const BACKOFF = { firstMs: 200, maxMs: 2_000, factor: 2 };

const timeOf = (unixNano: string): string => {
  const nano = BigInt(unixNano);
  return `${new Date(Number(nano / 1_000_000_000n) * 1_000).toISOString().slice(0, 19)}.${String(nano % 1_000_000_000n).padStart(9, '0')}Z`;
};

const lineOf = ({ timeUnixNano, body, attributes }: LogRecord): LogLine => {
  const values = new Map(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? '']));
  const text = (key: string): string => values.get(key) ?? '';
  return {
    time: timeOf(timeUnixNano),
    invocation: text('invocation.id'),
    revision: text('clrk.revision'),
    worker: text('clrk.worker'),
    component: text('clrk.component'),
    iostream: text('log.iostream'),
    event: text('clrk.event'),
    body: body.stringValue,
    position: Number(text('clrk.position')),
  };
};

const linesOf = ({ resourceLogs }: LogsData): readonly LogLine[] =>
  resourceLogs.flatMap(({ scopeLogs }) => scopeLogs.flatMap(({ logRecords }) => logRecords.map(lineOf)));

const pathOf = ({ namespace, agent, ...filter }: LogSource, page: Readonly<Record<string, string | number | undefined>>): string => {
  const query = Object.entries({ ...filter, ...page }).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]]));
  const path = `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/${encodeURIComponent(namespace)}/taskagents/${encodeURIComponent(agent)}/logs`;
  return `${path}?${new URLSearchParams(query).toString()}`;
};

/** The newest `limit` lines, oldest first; with `since` or `after` the first that follow. */
export const fetchLogs = async (
  { client }: Target,
  source: LogSource,
  page: { readonly limit: number; readonly since?: string | undefined; readonly after?: number | undefined },
): Promise<readonly LogLine[]> => linesOf(await client.json<LogsData>('GET', pathOf(source, page)));

/** One connection: chunks until the server ends it. A cut chunk is not seen; it comes again after the last position. */
async function* chunks(
  { client }: Target,
  source: LogSource,
  page: { readonly after: number; readonly since: string | undefined },
  signal: AbortSignal,
): AsyncGenerator<LogsData, void> {
  const response = await client.request('GET', pathOf(source, { follow: 'true', ...page }), { signal, idleMs: IDLE_MS });
  if (response.status >= 400) throw toApiError(response.status, await response.body.text());
  for await (const line of readLines(response.body)) yield JSON.parse(line) as LogsData;
}

export interface FollowOptions {
  /** Position of the last line that was seen; 0 = from the beginning. */
  readonly after: number;
  readonly since: string | undefined;
  readonly signal: AbortSignal;
  /** Hears why the first of several attempts failed. */
  readonly onTrouble: (what: string) => void;
}

/**
 * Every line after a position, once and in order, as it comes; connections that end or break are made anew. Ends when a run
 * that is followed by itself is over, or the signal aborts. Throws when the API refuses (4xx).
 */
export async function* followLogs(target: Target, source: LogSource, options: FollowOptions): AsyncGenerator<LogLine, void> {
  const { signal, since } = options;
  let failures = 0;
  let { after } = options;
  while (!signal.aborted) {
    try {
      for await (const chunk of chunks(target, source, { after, since }, signal)) {
        failures = 0;
        for (const line of linesOf(chunk)) {
          yield line;
          after = line.position;
        }
        if (chunk.complete) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.code >= 400 && error.code < 500) throw error;
      if (failures === 0) options.onTrouble(messageOf(error));
      await sleep(backoffMs(failures++, BACKOFF), signal).catch(() => {});
    }
  }
}

/** A 404 in words that say what to do. */
export const explainMissing = async (error: unknown, { client }: Target, { namespace, agent, invocation }: LogSource): Promise<unknown> => {
  if (!isNotFound(error)) return error;
  if (invocation && (await client.get(taskAgents, namespace, agent)))
    return new ClrkError('InvocationNotFound', { agent: `${namespace}/${agent}`, invocation, name: agent, namespace });
  return new ClrkError('AgentNotFound', { agent: `${namespace}/${agent}` });
};

const STREAMS: Readonly<Record<string, { readonly name: string; readonly style?: 'yellow' | 'dim' }>> = {
  stdout: { name: 'out' },
  stderr: { name: 'err', style: 'yellow' },
  '': { name: '---', style: 'dim' },
};

/** Control characters made visible, but tabs kept. */
const shown = (text: string): string => text.split('\t').map(printable).join('\t');

/** A line for people: time (UTC), the run unless there is but one, stream, text. */
export const logText = (io: Io, { time, invocation, iostream, body }: LogLine, oneRun: boolean): string => {
  const { name, style } = STREAMS[iostream] ?? { name: printable(iostream) };
  const text = `${name} ${shown(body)}`;
  return `${paint(io, 'dim', `${time.slice(11, 23)}${oneRun ? '' : ` ${printable(invocation.slice(0, 8))}`}`)} ${style ? paint(io, style, text) : text}\n`;
};
