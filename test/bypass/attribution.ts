import type { TargetRecord } from './target.ts';

/** What carries no token is put to an attempt by time; clocks of sandbox and machine differ by less than this. */
export const SLACK_MS = 20;
/** On a machine with too much to do they may differ by more: what names a destination is put to the nearest attempt that tried it. */
const LOADED_SLACK_MS = 1_000;

export interface Tried {
  /** When it began, ms since the epoch, and how long it took. */
  readonly at: number;
  readonly ms: number;
  /** Its steps, as JSON. */
  readonly text: string;
}

/** How long before or after an attempt a record was, ms. */
const distance = ({ time }: TargetRecord, { at, ms }: Tried): number => Math.max(0, at - Date.parse(time), Date.parse(time) - at - ms);

const names = ({ text }: Tried, { host, destination }: TargetRecord): boolean => {
  const [, address = '', port] = /^(.*?)(?::(\d+))?$/.exec(destination)!;
  return [host, address].some((name) => name !== '' && text.includes(`"${name}"`)) && (port === undefined || text.includes(`"port":${port}`));
};

/** The attempt of a batch that a record without a token is of, by its index; -1 for none. */
export const attemptOf = (record: TargetRecord, batch: readonly Tried[]): number => {
  const distances = batch.map((each) => distance(record, each));
  const nearest = (slack: number, wanted: (tried: Tried) => boolean): number =>
    [...batch.keys()].filter((index) => distances[index]! <= slack && wanted(batch[index]!)).toSorted((a, b) => distances[a]! - distances[b]!)[0] ?? -1;
  const named = nearest(LOADED_SLACK_MS, (tried) => names(tried, record));
  return named >= 0 ? named : nearest(SLACK_MS, () => true);
};
