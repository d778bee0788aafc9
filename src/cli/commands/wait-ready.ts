import { ClrkError, messageOf, parseDuration, sleep } from '#lib';
import { runningStack } from '#supervisor';
import { workerPools } from '#api';
import type { CommandSpec } from '../command.ts';
import { localTarget } from '../target.ts';

/** What is still missing, or undefined when the stack of `dir` is usable. */
export const pendingOf = async (dir: string): Promise<string | undefined> => {
  try {
    const { ingress } = await runningStack(dir);
    const { client } = await localTarget(dir);
    const pool = await client.get(workerPools, 'default', 'default');
    if (!pool?.status?.readyReplicas) return 'the worker of pool default is not ready';
    // Any answer of the ingress will do: a path without an agent is a 404 of ours.
    await fetch(ingress, { signal: AbortSignal.timeout(3_000) });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
};

export const waitReadyCommand: CommandSpec = {
  path: ['dev', 'wait-ready'],
  summary: 'Wait until the stack of the state directory is usable',
  flags: [
    { name: 'timeout', value: 'DURATION', default: '2m', help: 'give up after this long' },
    { name: 'interval', value: 'DURATION', default: '1s', help: 'time between two looks' },
  ],
  examples: ['clrk dev wait-ready', 'clrk dev wait-ready --timeout 30s'],
  run: async ({ io, global, flag, signal }) => {
    const [timeout, interval] = ['timeout', 'interval'].map((name) => {
      const ms = parseDuration(flag(name)!);
      if (ms === undefined || ms <= 0)
        throw new ClrkError('BadArgument', { what: `--${name} ${flag(name)} is not a positive duration.`, fix: 'For example: 30s, 2m.' });
      return ms;
    });
    const deadline = performance.now() + timeout!;
    for (;;) {
      const pending = await pendingOf(global.dir);
      if (pending === undefined) break;
      if (performance.now() + interval! > deadline) throw new ClrkError('StackNotReady', { seconds: Math.round(timeout! / 1000), pending });
      io.err(`waiting: ${pending}\n`);
      await sleep(interval!, signal);
    }
    io.out('clrk dev ready\n');
  },
};
