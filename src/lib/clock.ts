/** Time as an argument, so that code that decides by time can be tested without waiting. */
export interface Clock {
  /** Wall-clock milliseconds since the epoch. */
  now(): number;
  /** Milliseconds that never go back, for durations. */
  monotonic(): number;
}

export const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

/** A clock that is slewed moves less than this between two looks, in ms. */
const SET_MS = 500;

/**
 * Tells when the wall clock was set, or went on while the machine slept. The returned function says by how many milliseconds
 * (negative = back) since the last look; 0 when it was not. Look about once a second.
 */
export const watchClock = (clock: Clock): (() => number) => {
  let last = clock.now() - clock.monotonic();
  return () => {
    const drift = clock.now() - clock.monotonic();
    const set = drift - last;
    last = drift;
    return Math.abs(set) < SET_MS ? 0 : set;
  };
};

/** RFC 3339 with milliseconds, UTC. */
export const rfc3339 = (ms: number): string => new Date(ms).toISOString();

/** RFC 3339 with second precision, the form of Kubernetes timestamps. */
export const kubeTime = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** Resolves after `ms`, or rejects with the signal's reason. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
