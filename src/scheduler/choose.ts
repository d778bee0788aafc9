import type { SlotRequest } from '#model';

/** A worker of the right pool as the choice sees it. */
export interface Candidate {
  readonly name: string;
  /** Runs it has now, and how many it may have. */
  readonly load: number;
  readonly capacity: number;
}

/** The worker for a run: of those with a free slot the one with the fewest runs, the first of equals; undefined when all are full. */
export const chooseWorker = <W extends Candidate>(_request: SlotRequest, candidates: readonly W[]): W | undefined => {
  const free = candidates.filter(({ load, capacity }) => load < capacity);
  return free.toSorted((a, b) => a.load - b.load)[0];
};
