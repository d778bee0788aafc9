import type { ExtraRequest, ExtraResource, ExtraResponse } from '#api';
import { isTerminal, type LogQuery, type Runs, type StoredLog, type StorePort } from '#model';
import { failed, failure } from './failure.ts';

const MAX_LIMIT = 1_000;
/** How long one connection follows; the client then comes again with the last position it saw. */
const FOLLOW_MS = 60_000;
/** One question to the store waits this long for a line. */
const WAIT_MS = 5_000;
const QUIET_MS = 10_000;

export interface LogPorts {
  readonly runs: Runs;
  readonly store: StorePort;
  readonly agents: { exists(namespace: string, name: string): Promise<boolean> };
  /** Records as OTLP/JSON `LogsData`. */
  readonly encodeLogs: (records: readonly StoredLog[]) => object;
  /** How long one connection follows, in milliseconds; 60 s by default. */
  readonly followMs?: number;
  /** After so long without a line a run that has ended has no more: its worker died before it could write the last one. 10 s by default. */
  readonly quietMs?: number;
}

const RFC3339 = /^((?:19[7-9]\d|20\d\d|21\d\d)-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/;

/** A time as the store compares it: UTC, nine digits. Undefined when it is none. */
const nanoseconds = (text: string): string | undefined => {
  const [, seconds, fraction = '', zone] = RFC3339.exec(text) ?? [];
  const ms = seconds === undefined ? NaN : Date.parse(`${seconds}${zone}`);
  return Number.isNaN(ms) ? undefined : `${new Date(ms).toISOString().slice(0, 19)}.${fraction.padEnd(9, '0')}Z`;
};

/** The query of a request, or what is wrong with it. */
const parseQuery = ({ namespace, name, query }: ExtraRequest): LogQuery | string => {
  const [invocation, component, iostream, since, after, limit] = ['invocation', 'component', 'iostream', 'since', 'after', 'limit'].map((key) =>
    query.get(key),
  );
  const time = since ? nanoseconds(since) : undefined;
  if (since && time === undefined) return `since: ${JSON.stringify(since)} is not an RFC 3339 time`;
  if (iostream && iostream !== 'stdout' && iostream !== 'stderr') return `iostream: ${JSON.stringify(iostream)} is neither stdout nor stderr`;
  if (after && !/^\d{1,16}$/.test(after)) return `after: ${JSON.stringify(after)} is not a position`;
  if (limit && !/^\d{1,9}$/.test(limit)) return `limit: ${JSON.stringify(limit)} is not a number`;
  return {
    namespace,
    agent: name,
    ...(invocation && { invocation }),
    components: (component ?? '').split(',').filter(Boolean),
    ...(iostream && { iostream: iostream as 'stdout' | 'stderr' }),
    ...(time !== undefined && { since: time }),
    ...(after && { after: Number(after) }),
    limit: Math.min(Number(limit) || MAX_LIMIT, MAX_LIMIT),
  };
};

/**
 * `GET taskagents/NAME/logs`: lines of its runs as OTLP/JSON. `?component=&invocation=&iostream=&limit=&since=&after=&follow=`:
 * the newest `limit` (at most 1,000), oldest first; with `since` (RFC 3339 with nanoseconds, exclusive) or `after`
 * (attribute `clrk.position` of the last line seen, exclusive) the first `limit` that follow. `follow=true`: lines of JSON,
 * each a LogsData, for about 60 s; from now on unless `since` or `after` says from where. When a run that is followed by
 * itself is over, the last line is `{"resourceLogs":[],"complete":true}`. Behind by one batch of the recorder.
 */
export const logsHandler =
  (ports: LogPorts): ExtraResource['handle'] =>
  async (request) => {
    const { signal } = request;
    const query = parseQuery(request);
    if (typeof query === 'string') return failure(400, 'BadRequest', query);
    const { namespace, agent, invocation } = query;
    try {
      const following = request.query.get('follow') === 'true';
      const records = following ? [] : await ports.store.logs(query, signal);
      if (records.length > 0) return answer(once(ports.encodeLogs(records)));
      const [newest] = await ports.store.logs({ namespace, agent, ...(invocation && { invocation }), components: [], limit: 1 }, signal);
      const absent = newest ? undefined : await missing(ports, query);
      if (absent) return absent;
      return answer(following ? follow(ports, query, newest, signal) : once(ports.encodeLogs([])));
    } catch (error) {
      return failed('store', error);
    }
  };

/** An agent or invocation that has no lines: is there one at all? Lines of deleted ones can be read as long as they are kept. */
const missing = async ({ runs, agents }: LogPorts, { namespace, agent, invocation }: LogQuery): Promise<ExtraResponse | undefined> => {
  const where = `in namespace "${namespace}"`;
  if (!invocation) return (await agents.exists(namespace, agent)) ? undefined : failure(404, 'NotFound', `taskagents "${agent}" not found ${where}`);
  try {
    if ((await runs.get(namespace, invocation))?.agent === agent) return undefined;
  } catch (error) {
    return failed('dispatcher', error);
  }
  return failure(404, 'NotFound', `taskagents "${agent}" has no invocation "${invocation}" ${where}`);
};

/** Pages as they come. Positions, not times, say how far it is: a line that was stored late is not passed over. */
async function* follow(ports: LogPorts, query: LogQuery, newest: StoredLog | undefined, signal: AbortSignal): AsyncGenerator<object, void> {
  const { namespace, invocation } = query;
  const begun = performance.now();
  const until = begun + (ports.followMs ?? FOLLOW_MS);
  let after = query.after ?? (query.since === undefined ? (newest?.position ?? 0) : 0);
  let heard = begun;
  let over = invocation !== undefined && newest?.event === 'ended' && newest.position <= after;
  while (!over) {
    const waitMs = Math.min(WAIT_MS, Math.ceil(until - performance.now()));
    if (waitMs <= 0 || signal.aborted) return;
    // The last line of a run must be seen, whatever is asked for.
    const { iostream, components, ...rest } = query;
    const records = await ports.store.logs(
      { ...rest, components: [], ...(!invocation && { components, ...(iostream && { iostream }) }), after, waitMs },
      signal,
    );
    after = records.at(-1)?.position ?? after;
    const shown = invocation ? records.filter(matching(query)) : records;
    if (shown.length > 0) yield ports.encodeLogs(shown);
    if (records.length > 0) heard = performance.now();
    if (invocation === undefined) continue;
    over =
      records.some(({ event }) => event === 'ended') ||
      (performance.now() - heard >= (ports.quietMs ?? QUIET_MS) && (await hasEnded(ports.runs, namespace, invocation)));
  }
  yield { resourceLogs: [], complete: true };
}

const matching =
  ({ components, iostream }: LogQuery) =>
  (record: StoredLog): boolean =>
    (components.length === 0 || components.includes(record.component)) && (iostream === undefined || record.iostream === iostream);

/** False also while the dispatcher does not say. */
const hasEnded = async (runs: Runs, namespace: string, id: string): Promise<boolean> => {
  const run = await runs.get(namespace, id).catch(() => undefined);
  return run !== undefined && isTerminal(run.phase);
};

const answer = (values: AsyncIterable<object>): ExtraResponse => ({
  stream: { status: 200, headers: { 'content-type': 'application/json' }, body: lines(values) },
});

async function* once(value: object): AsyncGenerator<object, void> {
  yield value;
}

async function* lines(values: AsyncIterable<object>): AsyncGenerator<Uint8Array, void> {
  for await (const value of values) yield Buffer.from(`${JSON.stringify(value)}\n`);
}
