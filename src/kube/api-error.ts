/** One cause of a Status: `field` as the server names it (`spec.rules[0].matches`, `.spec.workerPoolRef` for apply conflicts). */
export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** What a Kubernetes API server answers when it refuses. */
export interface Status {
  readonly kind?: string;
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly StatusCause[]; readonly retryAfterSeconds?: number };
}

/** A refusal of the API server, with the parts of its Status. */
export class ApiError extends Error {
  /** HTTP status. */
  readonly code: number;
  /** `NotFound`, `Conflict`, `Invalid`, …; empty when the answer was no Status. */
  readonly reason: string;
  readonly causes: readonly StatusCause[];

  constructor(code: number, status: Status) {
    super(status.message ?? `the API server answered ${code}`);
    this.name = 'ApiError';
    this.code = code;
    this.reason = status.reason ?? '';
    this.causes = status.details?.causes ?? [];
  }
}

/** The error of an answer whose body is `text`; a body that is no Status (a proxy's page) becomes the message, cut. */
export const toApiError = (code: number, text: string): ApiError => {
  try {
    const parsed = JSON.parse(text) as Status;
    if (parsed?.kind === 'Status') return new ApiError(parsed.code ?? code, parsed);
  } catch {
    // not JSON
  }
  return new ApiError(code, { message: text.trim().slice(0, 500) || `the API server answered ${code}` });
};

export const isNotFound = (error: unknown): boolean => error instanceof ApiError && error.code === 404;
/** Somebody else wrote first, or already made it. */
export const isConflict = (error: unknown): boolean => error instanceof ApiError && error.code === 409;
/** The resourceVersion is too old to continue from: list again. */
export const isExpired = (error: unknown): boolean => error instanceof ApiError && error.code === 410;
