import { readIfExists, writeFileAtomic, type Logger, type Mark } from '#lib';
import type { BindingLine } from '#model';
import type { JoinSnapshot } from './join.ts';

/** Where a restart of a source goes on: marks of its files by name, and what it must remember besides. */
export interface Checkpoint {
  readonly version: 1;
  readonly files: Readonly<Record<string, Mark>>;
}

/** Of the exchanges: also what was read from before the marks and is still needed. */
export interface ExchangeCheckpoint extends Checkpoint {
  readonly bindings: readonly BindingLine[];
  readonly join: JoinSnapshot;
}

export const writeCheckpoint = (path: string, text: string): Promise<void> => writeFileAtomic(path, text);

/** The checkpoint, or undefined to begin at the start of every file: then records are made again, under the same ids. */
export const readCheckpoint = async <Kept extends Checkpoint>(path: string, log: Logger): Promise<Kept | undefined> => {
  const text = await readIfExists(path);
  if (text === undefined) return undefined;
  try {
    const checkpoint = JSON.parse(text) as Kept;
    if (checkpoint.version === 1) return checkpoint;
    log.warn('the checkpoint is of another version: reading every record file again', { path });
  } catch (error) {
    log.error('the checkpoint is damaged: reading every record file again', { path, err: error });
  }
  return undefined;
};
