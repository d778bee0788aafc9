import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lockHolder, takeLock } from '../../../src/supervisor/lock.ts';
import { renderLogLine } from '../../../src/supervisor/render-log.ts';

const file = async (): Promise<string> => join(await mkdtemp(join(tmpdir(), 'clrk-lock-')), 'dev.lock');

test('a second taker is refused and told the process', async () => {
  const path = await file();
  await using _held = await takeLock(path, '/some/dir');
  expect(await lockHolder(path)).toBe(process.pid);
  await expect(takeLock(path, '/some/dir')).rejects.toMatchObject({
    code: 'StackRunning',
    message: expect.stringContaining(`process ${process.pid}`) as string,
  });
});

test('a lock ends with its holder, and one left by a process that is gone is taken over', async () => {
  const path = await file();
  await (await takeLock(path, 'd'))[Symbol.asyncDispose]();
  expect(await lockHolder(path)).toBeUndefined();
  await writeFile(path, `${process.pid} 1`); // same pid, another process: it started at another time
  expect(await lockHolder(path)).toBeUndefined();
  await using _held = await takeLock(path, 'd');
  expect(await readFile(path, 'utf8')).toMatch(new RegExp(`^${process.pid} \\d+$`));
});

test('log lines of children become plain lines, and a line that is not JSON is passed on', () => {
  const line = JSON.stringify({ level: 'warn', time: '2026-11-24T14:00:01.234Z', component: 'worker-0', msg: 'slow', invocation: 'abc', note: 'two words' });
  expect(renderLogLine(line, 'x')).toBe('14:00:01.234 WARN  worker-0           slow invocation=abc note="two words"');
  expect(renderLogLine('panic: oh', 'envoy')).toMatch(/INFO {2}envoy\s+panic: oh$/);
});
