import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
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
