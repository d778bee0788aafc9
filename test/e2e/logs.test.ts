import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';

/** What runs print, as `clrk agents logs` and the API show it. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

interface Line {
  readonly time: string;
  readonly invocation: string;
  readonly iostream: string;
  readonly event: string;
  readonly body: string;
}
/** Whole lines of `-o json`. */
const linesOf = (stdout: string): Line[] =>
  stdout
    .slice(0, stdout.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);
const bodies = (lines: readonly Line[], iostream: string): string[] => lines.filter((line) => line.iostream === iostream).map(({ body }) => body);

/** Lines of a run as they come, until the command ends. */
const follow = (args: readonly string[]) => {
  let seen: readonly Line[] = [];
  const done = stack.clrk(['agents', 'logs', '-f', '-o', 'json', ...args], { timeoutMs: 90_000, onStdout: (text) => (seen = linesOf(text)) });
  const has = (count: number) => eventually(`${count} lines are shown`, () => (seen.length >= count ? seen : undefined), 30_000, 20);
  return { has, done };
};

const COUNT = 80;
const numbers = (word: string): string[] => Array.from({ length: COUNT }, (_, n) => `${word} ${n}`);
let id: string;

test('-f shows lines while the run goes on, each once and in order, also when recorder and store are killed in between', async () => {
  id = crypto.randomUUID();
  const steps = Array.from({ length: COUNT }, (_, n) => [{ stdout: `out ${n}\n` }, { stderr: `err ${n}\n` }, { sleep: 100 }]).flat();
  const answer = stack.invoke('probe', { steps }, { 'x-clrk-invocation-id': id });
  answer.catch(() => {});
  await eventually('the run has begun', async () => ((await stack.invocation(id)).status.phase === 'Running' ? true : undefined));

  const { has, done } = follow([`probe/${id}`]);
  await has(3);
  expect((await stack.invocation(id)).status.phase).toBe('Running');
  const recorder = await stack.kill('recorder');
  await stack.restarted('recorder', recorder);
  await has(30);
  const store = await stack.kill('store');
  await stack.restarted('store', store);

  const { code, stdout, stderr } = await done;
  expect({ code, stderr: stderr.replaceAll(/the logs cannot be read \(.*\); trying again\n/g, '') }).toEqual({ code: 0, stderr: '' });
  const lines = linesOf(stdout);
  expect(bodies(lines, 'stdout')).toEqual(numbers('out'));
  expect(bodies(lines, 'stderr')).toEqual(numbers('err'));
  expect(lines.filter(({ iostream }) => iostream === '').map(({ event }) => event)).toEqual(['started', 'ended']);
  expect(lines.at(-1)).toMatchObject({ event: 'ended', body: expect.stringMatching(/^Succeeded\. Exit code 0\. \d+ bytes of output\.$/) });
  expect((await answer).text).toBe(
    numbers('out')
      .map((line) => `${line}\n`)
      .join(''),
  ); // what the caller gets is not touched
});

test('filters: stream, time, number of lines; the same by the API as OTLP/JSON', async () => {
  const shown = async (...args: string[]): Promise<Line[]> => linesOf((await stack.clrk(['agents', 'logs', '-o', 'json', `probe/${id}`, ...args])).stdout);
  const all = await shown();
  expect(all).toHaveLength(2 * COUNT + 2);
  expect(new Set((await shown('--iostream', 'stderr')).map(({ iostream }) => iostream))).toEqual(new Set(['stderr']));
  expect(await shown('--tail', '3')).toEqual(all.slice(-3));
  expect(await shown('--since', all[9]!.time)).toEqual(all.slice(10)); // exclusive, to the nanosecond
  const path = `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents/probe/logs?invocation=${id}`;
  const data = await stack.api<{ resourceLogs: [{ scopeLogs: [{ logRecords: { body: { stringValue: string } }[] }] }] }>(
    'GET',
    `${path}&iostream=stdout&limit=2`,
  );
  expect(data.resourceLogs[0].scopeLogs[0].logRecords.map(({ body }) => body.stringValue)).toEqual(numbers('out').slice(-2));
  const text = (await stack.clrk(['agents', 'logs', 'probe', '--tail', '1'])).stdout;
  expect(text).toMatch(new RegExp(`^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} ${id.slice(0, 8)} --- Succeeded`));
});

test('what is not there is an error that says what to do', async () => {
  const none = await stack.clrk(['agents', 'logs', 'nobody', '-f']);
  expect([none.code, none.stderr]).toEqual([1, expect.stringMatching(/no TaskAgent default\/nobody[^]*clrk agents list/)]);
  const unknown = await stack.clrk(['agents', 'logs', `summarizer/${id}`]); // of another agent
  expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringMatching(/has no invocation[^]*clrk agents invocations summarizer -n default/)]);
});

test('a megabyte of anything: the caller gets every byte, the log what is within its limits, the end of the run is there', async () => {
  const chunk = `${'\u0000\u{1F600}x'.repeat(40_000)}\n`;
  const answer = await stack.invoke('probe', { steps: Array.from({ length: 20 }, () => ({ stdout: chunk })) });
  expect(answer.text === chunk.repeat(20)).toBe(true);
  const { code, stdout } = await stack.clrk(['agents', 'logs', '-f', '--iostream', 'stdout', `probe/${answer.invocation}`]);
  expect(code).toBe(0);
  expect(Buffer.byteLength(stdout)).toBeGreaterThan(1024 * 1024); // the whole of what was kept comes through a pipe
  const lines = stdout.trimEnd().split('\n');
  expect(
    lines.every((line) => /^[0-9:.]{12} out (?:\\x00|\u{1F600}|x)*$|\d+ bytes of stdout are not kept/u.test(line)),
    'a line is damaged',
  ).toBe(true);
  expect((await stack.clrk(['agents', 'logs', '--tail', '1', `probe/${answer.invocation}`])).stdout).toMatch(/--- Succeeded\..*\n$/);
});
