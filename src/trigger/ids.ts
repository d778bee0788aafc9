import { isUuid, newInvocationId, newTraceId, parseTraceparent } from '#lib';

type Headers = Readonly<Record<string, string>>;

/**
 * The invocation id of a request: `X-Clrk-Invocation-ID` (must be a canonical UUID, else undefined is the answer), a UUID in
 * `X-Clrk-Execution-ID`, or a new one.
 */
export const invocationIdOf = (headers: Headers): string | undefined => {
  const chosen = headers['x-clrk-invocation-id'];
  if (chosen !== undefined) return isUuid(chosen) ? chosen : undefined;
  const execution = headers['x-clrk-execution-id'];
  return execution !== undefined && isUuid(execution) ? execution : newInvocationId();
};

/** The caller's trace, or a new one. Source: https://www.w3.org/TR/trace-context/ */
export const traceIdOf = (headers: Headers): string => parseTraceparent(headers['traceparent'] ?? '')?.traceId ?? newTraceId();
