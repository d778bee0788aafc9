export interface Alarm {
  stop(): void;
}

/** `setTimeout` holds at most 2^31-1 ms (24.8 days) and fires at once beyond that. */
const LONGEST = 2 ** 31 - 1;

/** Calls `ring` once after `ms`, however long that is. */
export const alarm = (ms: number, ring: () => void): Alarm => {
  const until = performance.now() + ms;
  let timer: NodeJS.Timeout;
  const set = (): void => {
    const left = until - performance.now();
    timer = left > LONGEST ? setTimeout(set, LONGEST) : setTimeout(ring, Math.max(0, left));
  };
  set();
  return { stop: () => clearTimeout(timer) };
};
