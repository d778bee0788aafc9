import { readIfExists, writeFileAtomic, type Logger } from '#lib';
import type { BindingLine } from '#model';
import type { JoinSnapshot } from './join.ts';
import type { Mark } from '#lib';

/** Where a restart goes on: marks of the files, and what was read from before them and is still needed. */
export interface Checkpoint {
  readonly version: 1;
  /** By file name. */
  readonly files: Readonly<Record<string, Mark>>;
  readonly bindings: readonly BindingLine[];
  readonly join: JoinSnapshot;
}

export const writeCheckpoint = (path: string, checkpoint: Checkpoint): Promise<void> => writeFileAtomic(path, JSON.stringify(checkpoint));

/** The checkpoint, or undefined to begin at the start of every file: then records are made again, under the same ids. */
export const readCheckpoint = async (path: string, log: Logger): Promise<Checkpoint | undefined> => {
  const text = await readIfExists(path);
  if (text === undefined) return undefined;
  try {
    const checkpoint = JSON.parse(text) as Checkpoint;
    if (checkpoint.version === 1) return checkpoint;
    log.warn('the checkpoint is of another version: reading every record file again', { path });
  } catch (error) {
    log.error('the checkpoint is damaged: reading every record file again', { path, err: error });
  }
  return undefined;
};
