import type { ExtraRequest, ExtraResponse } from '#api';
import { messageOf } from '#lib';
import { status } from '#wire';

/** An answer with a Kubernetes Status. */
export const failure = (code: number, reason: string, message: string): ExtraResponse => ({ failure: { code, reason, message } });

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);

/** A dispatcher or store that is away or too slow as a 503 or 504 that names it. */
export const failed = (service: 'dispatcher' | 'store', error: unknown): ExtraResponse => {
  if (codeOf(error) === status.UNAVAILABLE) return failure(503, 'ServiceUnavailable', `the ${service} is not available; try again`);
  if (codeOf(error) === status.DEADLINE_EXCEEDED) return failure(504, 'Timeout', `the ${service} did not answer in time`);
  return failure(500, 'InternalError', `the ${service} failed: ${messageOf(error)}`);
};

/** Runs a handler; what goes wrong becomes an answer. */
export const answering =
  (service: 'dispatcher' | 'store', handle: (request: ExtraRequest) => Promise<ExtraResponse>) =>
  async (request: ExtraRequest): Promise<ExtraResponse> => {
    try {
      return await handle(request);
    } catch (error) {
      return failed(service, error);
    }
  };
