/** https://grpc.io/docs/guides/status-codes/ */
export const status = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** How a call failed. A handler throws it to answer with a chosen gRPC status; other errors answer INTERNAL with their message. */
export class RpcError extends Error {
  /** One of `status`. */
  readonly code: number;

  constructor(code: keyof typeof status, message: string) {
    super(message);
    this.code = status[code];
  }

  /** The error with the number of a status, as a server has sent it. */
  static of(code: number, message: string): RpcError {
    const names = Object.keys(status) as (keyof typeof status)[];
    return new RpcError(names.find((name) => status[name] === code) ?? 'UNKNOWN', message);
  }
}
