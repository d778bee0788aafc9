import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf, readIfExists, replaceFile, retry, sleep, Tail, type Logger, type Mark } from '#lib';
import type { AccessLine, LedgerPort } from '#model';
import { settlementOf } from '#policy';

export interface SettlerOptions {
  /** Paths of the access logs there are now; asked again on every round. Files may not exist yet. */
  readonly accessLogs: () => readonly string[];
  /** Directory for the durable position in each file. */
  readonly offsets: string;
  readonly ledger: LedgerPort;
  /** Called with every line. */
  readonly seen?: (line: AccessLine) => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Beginning of the names of the files that hold positions. */
export const SETTLED = 'settled-';

const POLL_MS = 100;
/** Settlements under way at the same time for one file. Few, because requests wait for the same thread. */
const PARALLEL = 8;
const READ_BYTES = 256 * 1024;

const parse = (text: string): AccessLine | undefined => {
  try {
    const line = JSON.parse(text) as AccessLine | null;
    return line !== null && typeof line === 'object' ? line : undefined;
  } catch {
    return undefined;
  }
};

/** Unreadable or absent: from the start, since lines may be settled twice but not never. */
const readMark = async (path: string): Promise<Mark | undefined> => {
  try {
    return (JSON.parse((await readIfExists(path)) ?? 'null') as Mark | null) ?? undefined;
  } catch {
    return undefined;
  }
};

/**
 * Follows Envoy's access logs and settles every request that has a reservation, at least once (settling is idempotent): a
 * position is stored after the settlements before it succeeded. Ends with its signal or when disposed.
 */
export const createSettler = (options: SettlerOptions): AsyncDisposable => {
  const { ledger, log, offsets } = options;
  const abort = new AbortController();
  const signal = AbortSignal.any([options.signal, abort.signal]);
  const tails = new Map<string, Tail>();

  const settle = (line: AccessLine): Promise<void> | undefined => {
    const settlement = settlementOf(line);
    if (!settlement) return undefined;
    return retry(() => ledger.settle(settlement), {
      signal,
      onError: (error, n) => n === 0 && log.warn('cannot settle, trying again', { err: messageOf(error) }),
    });
  };

  const drain = async (path: string): Promise<void> => {
    const markFile = join(offsets, `${SETTLED}${basename(path)}`);
    let tail = tails.get(path);
    if (!tail) tails.set(path, (tail = new Tail(path, await readMark(markFile))));
    for (;;) {
      const { lines, drained } = await tail.read(READ_BYTES);
      for (let at = 0; at < lines.length; at += PARALLEL) {
        await Promise.all(
          lines.slice(at, at + PARALLEL).map(async ({ text }) => {
            const line = parse(text);
            if (!line) log.warn('skipping a line of an access log that is not JSON', { path });
            if (!line) return;
            options.seen?.(line);
            await settle(line);
          }),
        );
      }
      // Lost with a power cut at worst: the file is read from its start then, and nothing is settled twice.
      if (lines.length > 0) await replaceFile(markFile, JSON.stringify(tail.mark));
      if (drained) return;
    }
  };

  const round = async (): Promise<void> => {
    const paths = options.accessLogs();
    for (const [path, tail] of tails) {
      if (paths.includes(path)) continue;
      tails.delete(path);
      await tail[Symbol.asyncDispose]();
    }
    await Promise.all(
      paths.map((path) => drain(path).catch((error: unknown) => !signal.aborted && log.error('cannot read an access log', { path, err: error }))),
    );
  };

  const loop = (async () => {
    await mkdir(offsets, { recursive: true });
    while (!signal.aborted) {
      await round();
      await sleep(POLL_MS, signal).catch(() => {});
    }
  })();
  loop.catch((error: unknown) => log.error('settling ended', { err: error }));

  return {
    async [Symbol.asyncDispose]() {
      abort.abort();
      await loop.catch(() => {});
      await Promise.all([...tails.values()].map((tail) => tail[Symbol.asyncDispose]()));
    },
  };
};
