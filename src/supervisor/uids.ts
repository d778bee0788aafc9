import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ClrkError, readIfExists, writeFileAtomic } from '#lib';
import { IDS_PER_STACK } from '#model';
import { takeLock } from './lock.ts';
import { RUN_ROOT } from './run-dir.ts';

/** Nobody hands these out: systemd's table of ids ends below, and the kernel's signed half above. */
const FIRST = 0x7000_0000;
const RANGES = 0x0fff_0000 / IDS_PER_STACK;

const isBase = (value: unknown): value is number =>
  Number.isInteger(value) &&
  (value as number) >= FIRST &&
  (value as number) < FIRST + RANGES * IDS_PER_STACK &&
  ((value as number) - FIRST) % IDS_PER_STACK === 0;

/** Whether a map of this user namespace (`/proc/self/uid_map`) has all ids of the range. */
const mapped = (text: string, base: number): boolean =>
  text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .some(([from = 0, , count = 0]) => from <= base && base + IDS_PER_STACK <= from + count);

/**
 * The uids and gids of a stack: those its state directory remembers (`uids.json`), else a range chosen at random. Held until
 * disposed; a range that another running stack holds (a copied state directory) is never taken.
 * Throws CannotIsolate in a user namespace that lacks them.
 */
export const claimUids = async (state: string): Promise<AsyncDisposable & { readonly base: number }> => {
  const file = join(state, 'uids.json');
  const stored = (JSON.parse((await readIfExists(file)) ?? '{}') as { base?: unknown }).base;
  const random = (): number => FIRST + randomInt(RANGES) * IDS_PER_STACK;
  for (let base = isBase(stored) ? stored : random(); ; base = random()) {
    for (const map of ['/proc/self/uid_map', '/proc/self/gid_map']) {
      if (mapped(await readFile(map, 'utf8'), base)) continue;
      const cause = `this user namespace has no ids ${base} to ${base + IDS_PER_STACK - 1}`;
      throw new ClrkError('CannotIsolate', { what: 'give each process a uid of its own', cause });
    }
    try {
      const lock = await takeLock(join(RUN_ROOT, `uids-${base.toString(16)}`), state);
      if (base !== stored) await writeFileAtomic(file, `${JSON.stringify({ base })}\n`);
      return { base, [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose]() };
    } catch (error) {
      if (!(error instanceof ClrkError) || error.code !== 'StackRunning') throw error;
    }
  }
};
