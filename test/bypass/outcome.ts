import type { Expectation, OutcomeKind } from './case.ts';

/** What a step's result means. */
export interface Outcome {
  readonly kind: OutcomeKind;
  readonly status?: number;
  /** `error.code` and `error.decision` of a denial's JSON. */
  readonly code?: string;
  readonly decision?: string;
  /** What was received, or the value as JSON. */
  readonly text: string;
}

interface Result {
  readonly error?: string;
  readonly status?: number;
  readonly body?: string;
  readonly received?: string;
  readonly closed?: string;
  readonly rcode?: number;
  readonly answers?: readonly { readonly data: string }[];
  readonly silence?: true;
  readonly alert?: number;
  readonly hello?: 'accepted';
  readonly streams?: Readonly<Record<string, { readonly status?: number; readonly body: string; readonly reset?: number }>>;
  readonly goaway?: number;
  readonly connected?: true;
}

/** Addresses a proxy may answer with that lead nowhere but to itself (RFC 2544, 6598, 3330). */
const OWN = /^(198\.1[89]\.|100\.(6[4-9]|[789]\d|1[01]\d|12[0-7])\.|0\.0\.0\.0$|127\.)/;
const REFUSED = /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|EACCES|EPERM|EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|EINVAL|EMSGSIZE)$/;
const ABSENT = /^(ENOENT|ENOTDIR|ENOTSUP|EISDIR|ENXIO|ENODEV)$/;
const UNRESOLVED = /^(ENOTFOUND|EAI_|ESERVFAIL|EREFUSED|EBADNAME|ENODATA)/;

const denialOf = (body: string): Pick<Outcome, 'code' | 'decision'> => {
  const [json] = /\{(?:[^{}]*,)?\s*"error"[\s\S]*\}/.exec(body) ?? [];
  try {
    const { error } = JSON.parse(json ?? '{}') as { error?: { code?: string; decision?: string; data?: { code?: string; decision?: string } } };
    const { code, decision } = error?.data ?? error ?? {};
    return { ...(typeof code === 'string' ? { code } : {}), ...(typeof decision === 'string' ? { decision } : {}) };
  } catch {
    return {};
  }
};

/** The last HTTP/1 answer among bytes. */
const lastAnswer = (received: string): Outcome | undefined => {
  const heads = [...received.matchAll(/HTTP\/1\.[01] (\d{3})/g)];
  const last = heads.at(-1);
  return last && { kind: 'http-status', status: Number(last[1]), ...denialOf(received.slice(last.index)), text: received };
};

const ofError = (error: string): Outcome => {
  if (REFUSED.test(error)) return { kind: 'refused', text: error };
  if (UNRESOLVED.test(error)) return { kind: 'unresolved', text: error };
  if (ABSENT.test(error)) return { kind: 'absent', text: error };
  if (/^(ECONNRESET|EPIPE|UND_ERR_SOCKET|other side closed)/.test(error)) return { kind: 'closed', text: error };
  if (/SSL|TLS|EPROTO|CERT|certificate|handshake/i.test(error)) return { kind: 'tls-refused', text: error };
  return { kind: 'timeout', text: error };
};

const ofStreams = ({ streams = {}, goaway }: Result): Outcome => {
  const last = Object.keys(streams)
    .map(Number)
    .toSorted((a, b) => a - b)
    .at(-1);
  const stream = last === undefined ? undefined : streams[last];
  if (stream?.status !== undefined) return { kind: 'http-status', status: stream.status, ...denialOf(stream.body), text: stream.body };
  return { kind: stream?.reset !== undefined || goaway !== undefined ? 'stream-reset' : 'closed', text: JSON.stringify({ stream, goaway }) };
};

const ofAnswers = ({ rcode, answers = [] }: Result): Outcome => {
  const text = JSON.stringify({ rcode, answers });
  if (rcode !== 0) return { kind: 'unresolved', text };
  if (answers.length === 0) return { kind: 'no-data', text };
  return { kind: answers.every(({ data }) => OWN.test(data)) ? 'sinkhole' : 'resolved', text };
};

export const outcomeOf = (value: unknown): Outcome => {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { kind: 'value', text: typeof value === 'string' ? value : JSON.stringify(value) };
  const result = value as Result;
  if (result.streams) return ofStreams(result);
  if (typeof result.rcode === 'number') return ofAnswers(result);
  if (result.silence) return { kind: 'silence', text: '' };
  if (result.hello) return { kind: 'answer', text: 'server hello' };
  if (result.alert !== undefined) return { kind: 'tls-refused', text: `alert ${result.alert}` };
  if (typeof result.status === 'number') return { kind: 'http-status', status: result.status, ...denialOf(result.body ?? ''), text: result.body ?? '' };
  if (typeof result.error === 'string') return ofError(result.error);
  if (result.received !== undefined) {
    const { received, closed } = result;
    if (received !== '') return lastAnswer(received) ?? { kind: 'answer', text: received };
    return { kind: closed === 'open' ? 'timeout' : 'closed', text: '' };
  }
  return { kind: 'value', text: JSON.stringify(value) };
};

const among = <T>(wanted: T | readonly T[], value: T | undefined): boolean => (Array.isArray(wanted) ? wanted.includes(value) : wanted === value);

/** What of the expectation does not hold. */
export const deviations = (outcome: Outcome, ms: number, expected: Expectation): readonly string[] => {
  const shown = `${outcome.kind}${outcome.status === undefined ? '' : ` ${outcome.status}`}${outcome.code ? ` ${outcome.code}` : ''} (${outcome.text.slice(0, 300)})`;
  const wrong: string[] = [];
  if (!among(expected.outcome, outcome.kind)) wrong.push(`expected ${String(expected.outcome)}, got ${shown}`);
  if (outcome.kind === 'http-status' && expected.statuses && !expected.statuses.includes(outcome.status!))
    wrong.push(`expected status ${expected.statuses.join(' or ')}, got ${shown}`);
  if (outcome.kind === 'http-status' && expected.code !== undefined && !among(expected.code, outcome.code))
    wrong.push(`expected code ${String(expected.code)}, got ${shown}`);
  if (expected.says !== undefined && !new RegExp(expected.says).test(outcome.text)) wrong.push(`expected /${expected.says}/, got ${shown}`);
  if (ms > (expected.withinMs ?? 4_000)) wrong.push(`took ${ms} ms`);
  return wrong;
};
