import { chmod, copyFile, mkdir, open, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { run } from '#lib';
import { eventually, TOOLS, type Exchange, type TestStack } from '../../e2e/harness.ts';
import type { Books } from './books.ts';

/** A file that takes what is left of a disk. `[Symbol.asyncDispose]` gives it back. */
export const fillDisk = async (dir: string): Promise<AsyncDisposable> => {
  const path = join(dir, 'filler');
  const file = await open(path, 'w');
  for (const size of [1024 * 1024, 4096]) {
    const chunk = Buffer.alloc(size, 1);
    for (;;) {
      const { bytesWritten } = await file.write(chunk).catch(() => ({ bytesWritten: 0 }));
      if (bytesWritten < size) break;
    }
  }
  await file.close();
  return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
};

/** Stops a process for some milliseconds; what it had to do waits. */
export const stopFor = async (pid: number, ms: number, meanwhile: () => Promise<void> = async () => {}): Promise<void> => {
  process.kill(pid, 'SIGSTOP');
  const begun = performance.now();
  try {
    await meanwhile();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, ms - (performance.now() - begun))));
  } finally {
    process.kill(pid, 'SIGCONT');
  }
};

/** Nothing is held, and every count is what the provider said. Returns the records. */
export const booksBalance = async (stack: TestStack, books: Books, ms = 60_000): Promise<readonly Exchange[]> => {
  await eventually('no reservation is held', () => (books.reservations().every(({ state }) => state !== 'held') ? true : undefined), ms, 250);
  return eventually('ledger and records agree', async () => {
    const { items } = await stack.api<{ items: Exchange[] }>('GET', '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges?limit=10000');
    const recorded = new Map(items.map((record) => [record.decisionId, record]));
    for (const { id, state, used } of books.reservations()) {
      const record = recorded.get(id);
      const known = typeof record?.inputTokens === 'number' && typeof record.outputTokens === 'number' ? record.inputTokens + record.outputTokens : 0;
      expect([id, state, used], record?.reason ?? 'no record').toEqual([id, 'settled', known]);
    }
    return items;
  });
};

/** A time of day for every process of a stack but the sandboxes, which can be set. Monotonic clocks go on as they are. */
export const fakeClock = async (dir: string) => {
  const [library, offset, tools] = [join(dir, 'clock.so'), join(dir, 'offset'), join(dir, 'tools')];
  await run('gcc', ['-O1', '-shared', '-fPIC', '-nostdlib', `-DOFFSET_FILE="${offset}"`, '-o', library, join(import.meta.dirname, 'clock.c')]);
  await writeFile(offset, Buffer.alloc(8));
  for (const path of [dir, library, offset]) await chmod(path, 0o755);
  const env = { LD_PRELOAD: library };
  // Envoy gets an environment of its own, and another uid cannot reach into ours; runsc is a static binary, and keeps the time of the machine.
  await mkdir(join(tools, 'bin'), { recursive: true });
  for (const name of await readdir(join(TOOLS, 'bin'))) {
    const [from, to] = [join(TOOLS, 'bin', name), join(tools, 'bin', name)];
    if (name === 'envoy') {
      await copyFile(from, `${to}.real`);
      await writeFile(to, `#!/bin/sh\nexec env LD_PRELOAD='${library}' "$(dirname "$0")/envoy.real" "$@"\n`, { mode: 0o755 });
    } else await symlink(from, to);
  }
  return {
    env: { ...env, CLRK_TOOLS: tools },
    /** Sets it off by this many seconds, in every process at once. */
    async set(seconds: number): Promise<void> {
      const bytes = Buffer.alloc(8);
      bytes.writeBigInt64LE(BigInt(seconds));
      const file = await open(offset, 'r+'); // it is mapped: written, never replaced
      await file.write(bytes, 0, 8, 0).finally(() => file.close());
    },
  };
};
