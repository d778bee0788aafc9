import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sleep } from '#lib';
import { startStack, type TestStack } from '../e2e/harness.ts';
import { processesOf } from '../e2e/support/leftovers.ts';

/** Memory of each process of a stack (PSS: shared pages are divided among those that share them), idle and during runs. */

const PROGRAMS = ['controller-manager', 'dispatcher', 'store', 'worker', 'egress', 'recorder', 'front', 'envoy'];
const RUNS = 4;

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());

const pssOf = async (pids: readonly number[]): Promise<number> => {
  const texts = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')));
  return texts.reduce((sum, text) => sum + Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0), 0) / 1024;
};

const measure = async (): Promise<Map<string, number>> => {
  const all = new Map([['clrk dev', await pssOf([stack.devPid])]]);
  for (const name of PROGRAMS) all.set(name, await pssOf(await stack.pids(name)));
  const runsc = (await processesOf(stack.run)).filter(({ argv }) => /runsc/.test(argv[0]!));
  all.set(`runsc, ${RUNS} sandboxes`, await pssOf(runsc.map(({ pid }) => pid)));
  return all;
};

test('memory of each process', async () => {
  await stack.probe('probe', { fetch: { url: 'https://api.openai.com/v1/models' } });
  await sleep(5_000);
  const idle = await measure();
  const chat = {
    url: 'https://api.openai.com/v1/chat/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4.1-mini', messages: [{ role: 'user', content: 'Say hello.' }] }),
  };
  const running = Array.from({ length: RUNS }, () => stack.invoke('probe', { steps: [{ fetch: chat }, { fetch: chat }, { sleep: 6_000 }] }));
  await sleep(4_000);
  const busy = await measure();
  for (const answer of await Promise.all(running)) expect(answer.status).toBe(200);
  const line = (name: string, ...values: number[]): string => `  ${name.padEnd(24)}${values.map((value) => `${value.toFixed(0)} MiB`.padStart(12)).join('')}`;
  console.log([`memory (PSS)                      idle   ${RUNS} runs`, ...[...idle].map(([name, value]) => line(name, value, busy.get(name)!))].join('\n'));
}, 120_000);
