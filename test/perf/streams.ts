import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exited, run, spawnChild } from '#lib';
import type { Lab } from '../../src/supervisor/lab.ts';
import { total, withCpu } from './cpu.ts';
import { inside, quantile, urlOf, withDir, type Target } from './load.ts';
import { CHAT_PATH, DOMAIN } from './upstream.ts';

/** Streamed answers: a provider that takes its time for them, and what a proxy adds to their first token and pays for many of them. */

export const STREAMS_IP = '203.0.113.11';
/** What the upstream of the others is called; the one of ours is the provider's name. */
export const STREAMS_HOST = `streams.${DOMAIN}`;
/** Between two tokens of one answer: 20 a second. */
const INTERVAL_MS = 50;

/** Starts the provider, which wants this in `authorization`; its certificate is the one of the other upstream, in `dir`. */
export const startStreams = async (lab: Lab, dir: string, authorization: string): Promise<AsyncDisposable> => {
  await run('ip', ['address', 'add', `${STREAMS_IP}/32`, 'dev', 'lo'], { netns: lab.fixture });
  const child = spawnChild(process.execPath, [join(import.meta.dirname, 'stream-server.ts'), STREAMS_IP, dir, String(INTERVAL_MS), authorization], {
    netns: lab.fixture,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await Promise.race([once(child.stdout!, 'data'), exited(child)]);
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};

export interface Streamed {
  /** ms to the first token. */
  readonly p50: number;
  readonly p99: number;
  /** ms between tokens, 99 of 100. */
  readonly gap: number;
  /** CPU ms of the proxy for each second of one stream. */
  readonly cpu: number;
  readonly answers: number;
}

interface Job {
  readonly model: string;
  readonly count: number;
  readonly parallel: number;
  readonly tokens: number;
}

/** Fails when an answer does not have all of its tokens. */
export const measureStreams = (target: Target, job: Job): Promise<Streamed> =>
  withDir(async (dir) => {
    const argv = ['sh', '-c', 'exec "$0" "$1" "$2" < "$3"', process.execPath, join(import.meta.dirname, 'stream-client.ts')];
    const file = join(dir, 'job.json');
    await writeFile(file, JSON.stringify({ headers: target.headers, ...job }));
    const begun = performance.now();
    const [stdout, cpu] = await withCpu(await target.processes(), () =>
      inside(target, [target.host], dir, [...argv, urlOf(target, target.host, CHAT_PATH), file]),
    );
    const seconds = (performance.now() - begun) / 1000;
    const { firsts, gaps, complete } = JSON.parse(stdout) as { firsts: number[]; gaps: number[]; complete: number };
    if (complete < job.count) throw new Error(`${target.name}: ${complete} of ${job.count} streamed answers were complete`);
    const sorted = firsts.toSorted((a, b) => a - b);
    const between = gaps.toSorted((a, b) => a - b);
    return {
      p50: quantile(sorted, 0.5),
      p99: quantile(sorted, 0.99),
      gap: between.length > 0 ? quantile(between, 0.99) : 0,
      cpu: total(cpu) / (seconds * job.parallel),
      answers: job.count,
    };
  });
