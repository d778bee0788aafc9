import type { SlotRequest } from '#model';

/** A worker of the right pool as the choice sees it. */
export interface Candidate {
  readonly name: string;
  /** Runs it has now, and how many it may have. */
  readonly load: number;
  readonly capacity: number;
  /** Sandboxes of just this kind that wait there for a run. */
  readonly warm: number;
}

/**
 * The worker for a run: of those with a free slot one with a warm sandbox, then the one with the fewest runs, then the first;
 * undefined when all are full.
 */
export const chooseWorker = <W extends Candidate>(_request: SlotRequest, candidates: readonly W[]): W | undefined => {
  const free = candidates.filter(({ load, capacity }) => load < capacity);
  return free.toSorted((a, b) => Number(b.warm > 0) - Number(a.warm > 0) || a.load - b.load)[0];
};
