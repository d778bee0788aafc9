import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Commands } from '#lib';

const inDirectory = async (): Promise<(name: string) => string> => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  return (name) => join(dir, name);
};

test('words and input reach a command as they are, whatever they hold', async () => {
  await using commands = new Commands();
  const file = await inDirectory();
  const words = ['', 'a b', `it's`, '$HOME `id` \\ "x"', '-n', 'two\nlines', 'é€😀', '; exit 3'];
  await commands.run('sh', ['-c', `out=$1; shift; printf '%s\\0' "$@" >"$out"`, 'sh', file('words'), ...words]);
  expect((await readFile(file('words'), 'utf8')).split('\0').slice(0, -1)).toEqual(words);
  const input = `$HOME \`id\` 'x'\nEOF\n${'y'.repeat(100_000)}\n`;
  await commands.run('sh', ['-c', 'cat >"$1"', 'sh', file('input')], { input });
  expect(await readFile(file('input'), 'utf8')).toBe(input);
});

test('a command without input reads none, and not what comes after it', async () => {
  await using commands = new Commands();
  const file = await inDirectory();
  const cat = (name: string): Promise<unknown> => commands.run('sh', ['-c', 'cat >"$1"', 'sh', file(name)]);
  await Promise.all(['1', '2', '3', '4', '5'].map(cat));
  expect(await readFile(file('5'), 'utf8')).toBe('');
});

test('one that fails says what it said, and others go on', async () => {
  await using commands = new Commands();
  const results = await Promise.allSettled([
    commands.run('sh', ['-c', 'echo out; echo err >&2; exit 7']),
    commands.run('true', []),
    commands.run('no-such-command', []),
    commands.run('sh', ['-c', 'kill -9 $$']),
    commands.run('true', []),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected', 'rejected', 'fulfilled']);
  const messages = results.map((result) => (result.status === 'rejected' ? String(result.reason) : ''));
  expect(messages[0]).toMatch(/exit code 7[^]*out\nerr/);
  expect(messages[2]).toMatch(/no-such-command[^]*not found/);
  expect(messages[3]).toMatch(/exit code 137/);
});

test('a command that takes too long is killed', async () => {
  await using commands = new Commands();
  await expect(commands.run('sleep', ['60'], { timeoutMs: 50 })).rejects.toThrow(/sleep 60.*exit code 137/);
});

test('one that is stuck keeps nobody else from running, also without a limit of its own', async () => {
  await using commands = new Commands({ longestMs: 100 });
  // As many as there can be shells, with children of their own.
  const stuck = Array.from({ length: 2 * cpus().length + 2 }, () => commands.run('sh', ['-c', 'echo said; sleep 60; true']));
  const after = commands.run('true', []);
  for (const one of stuck) await expect(one).rejects.toThrow(/no end within 100 ms[^]*said/);
  await after;
});

test('what a command says does not count as its end, and no more of it is kept than its end', async () => {
  await using commands = new Commands();
  await expect(commands.run('sh', ['-c', String.raw`printf 'x\0000\n\0001 0\n'; sleep 0.1; exit 9`])).rejects.toThrow(/exit code 9/);
  await commands.run('sh', ['-c', `head -c 20000000 /dev/zero | tr '\\0' x`]);
  const error: unknown = await commands.run('sh', ['-c', `head -c 20000000 /dev/zero | tr '\\0' x; echo why; exit 1`]).catch((cause: unknown) => cause);
  expect(String(error)).toMatch(/xwhy$/);
  expect(String(error).length).toBeLessThan(5_000);
});

test('what could not be given to a shell as it is is refused', async () => {
  await using commands = new Commands();
  await expect(commands.run('echo', ['a\0b'])).rejects.toThrow(RangeError);
  await expect(commands.run('cat', [], { input: 'a\nend-of-clrk-input\nfalse\n' })).rejects.toThrow(RangeError);
  await commands.run('true', []);
});

test('a shell that dies fails its own command alone', async () => {
  await using commands = new Commands();
  const file = await inDirectory();
  // Its parent is the shell.
  await expect(commands.run('sh', ['-c', 'kill -9 $PPID'])).rejects.toThrow(/end of its shell/);
  await Promise.all(Array.from({ length: 8 }, () => commands.run('true', [])));
  await writeFile(file('x'), '');
  await commands.run('rm', [file('x')]);
});

test('what was asked for is done before the end', async () => {
  const file = await inDirectory();
  const commands = new Commands();
  const all = Array.from({ length: 10 }, (_, n) => commands.run('touch', [file(String(n))]));
  await commands[Symbol.asyncDispose]();
  await Promise.all(all);
  await Promise.all(Array.from({ length: 10 }, (_, n) => readFile(file(String(n)))));
});
