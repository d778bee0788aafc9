import { ClrkError, type ErrorArgs, type ErrorCode } from '#lib';
import type { Invocation, InvokeAnswer } from '#model';
import { MAX_BODY_BYTES, MAX_ERROR_OUTPUT_BYTES } from './limits.ts';

/** HTTP status of each error a caller can get. */
const STATUS = {
  BadTrigger: 400,
  CallerRefused: 403,
  AgentNotFound: 404,
  PathNotFound: 404,
  MethodNotAllowed: 405,
  InvocationConflict: 409,
  BodyTooLarge: 413,
  AgentBusy: 429,
  RunFailed: 502,
  AgentNotReady: 503,
  Overloaded: 503,
  RunTimeout: 504,
} as const satisfies Partial<Record<ErrorCode, number>>;

/** Error of a rejected invocation by its reason; every other reason means that the agent is not ready. */
const REJECTIONS: Readonly<Record<string, keyof typeof STATUS>> = {
  AgentFull: 'AgentBusy',
  PoolFull: 'AgentBusy',
  QueueTimeout: 'AgentBusy',
  AgentNotFound: 'AgentNotFound',
  BodyTooLarge: 'BodyTooLarge',
  EventInvalid: 'BadTrigger',
};

/** Seconds; what a caller is told when nothing better is known, and at most. */
const RETRY_AFTER_S = { least: 1, most: 300 } as const;

interface ErrorDetails {
  readonly reason: string;
  readonly invocation?: string;
  readonly exitCode?: number;
  readonly output?: Uint8Array | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** With 429: when a slot may be free, as far as that is known. */
  readonly retryAfterMs?: number | undefined;
}

/** A refusal or failure as JSON: `{error: {code, message, reason, invocation, exitCode?}, output?}`. */
export const errorAnswer = (code: keyof typeof STATUS, args: ErrorArgs, { output, headers, retryAfterMs = 0, ...details }: ErrorDetails): InvokeAnswer => {
  const { message } = new ClrkError(code, { limit: MAX_BODY_BYTES, ...args });
  const body = { error: { code, message, ...details }, ...(output?.byteLength && { output: textOf(output) }) };
  return answerWith(STATUS[code], 'application/json', Buffer.from(`${JSON.stringify(body)}\n`), {
    ...(details.invocation && { 'x-clrk-invocation-id': details.invocation }),
    ...((STATUS[code] === 429 || code === 'Overloaded') && { 'retry-after': retryAfter(retryAfterMs) }),
    ...headers,
  });
};

/** The answer to a body there is no memory for: nothing of it was accepted. */
export const overloaded = (): InvokeAnswer => errorAnswer('Overloaded', {}, { reason: 'Overloaded' });

const retryAfter = (ms: number): string => String(Math.min(Math.max(Math.ceil(ms / 1_000), RETRY_AFTER_S.least), RETRY_AFTER_S.most));

/** The answer of a finished invocation; `output` is its whole stdout when that is still at hand. */
export const answerOf = (invocation: Invocation, output: Uint8Array | undefined, retryAfterMs?: number): InvokeAnswer => {
  const { id, phase, reason, exitCode } = invocation;
  const args = { invocation: id, phase, agent: `${invocation.namespace}/${invocation.agent}`, message: invocation.message || reason };
  const details = { reason, invocation: id, ...(exitCode !== undefined && { exitCode }), output, retryAfterMs };
  if (phase === 'Timeout') return errorAnswer('RunTimeout', args, details);
  if (phase === 'Failed') return errorAnswer('RunFailed', args, details);
  if (phase === 'Rejected') return errorAnswer(REJECTIONS[reason] ?? 'AgentNotReady', args, details);
  if (output) return answerWith(200, contentTypeOf(output, true), output, { 'x-clrk-invocation-id': id });
  const message = `Invocation ${id} has already ended ${phase}, and its output is not kept.`;
  return errorAnswer('InvocationConflict', { message }, { ...details, reason: 'OutputNotKept' });
};

/** The head of an answer whose output is streamed; `start` is its beginning. */
export const streamedAnswer = (id: string, start: Uint8Array, body: AsyncIterable<Uint8Array>): InvokeAnswer => ({
  status: 200,
  headers: { 'content-type': contentTypeOf(start, false), 'x-clrk-invocation-id': id },
  body,
});

const answerWith = (status: number, contentType: string, body: Uint8Array, headers: Readonly<Record<string, string>>): InvokeAnswer => ({
  status,
  headers: { 'content-type': contentType, 'content-length': String(body.byteLength), ...headers },
  body: once(body),
});

async function* once(body: Uint8Array): AsyncGenerator<Uint8Array, void> {
  if (body.byteLength > 0) yield body;
}

const contentTypeOf = (output: Uint8Array, complete: boolean): string => {
  let text: string;
  try {
    // An incomplete text may end in the middle of a character.
    text = new TextDecoder('utf-8', { fatal: true }).decode(output, { stream: !complete });
  } catch {
    return 'application/octet-stream';
  }
  if (complete && isJson(text)) return 'application/json';
  return 'text/plain; charset=utf-8';
};

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** The beginning of an output as text; a character cut by the limit is left out. */
const textOf = (output: Uint8Array): string => new TextDecoder().decode(output.subarray(0, MAX_ERROR_OUTPUT_BYTES), { stream: true });
