import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { afterTear, parseAccess, parseBinding, parseEgress } from '../../../src/telemetry/recorder/lines.ts';
import { MAX_LINE, Tail } from '#lib';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-tail-'));
  path = join(dir, 'a.jsonl');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const texts = async (tail: Tail, bytes = 1): Promise<readonly string[]> => {
  const all: string[] = [];
  for (let i = 0; i < 10_000; i++) {
    const { lines, drained } = await tail.read(bytes);
    all.push(...lines.map(({ text }) => text));
    if (drained) return all;
  }
  throw new Error('never drained');
};

test('reads lines once they are whole, from a file that comes later', async () => {
  await using tail = new Tail(path);
  expect(await texts(tail)).toEqual([]);
  await writeFile(path, 'one\ntw');
  expect(await texts(tail)).toEqual(['one']);
  await appendFile(path, 'o\n\nthree\n');
  expect(await texts(tail)).toEqual(['two', 'three']);
});

test('goes on from its mark in another process', async () => {
  await writeFile(path, 'one\ntwo\nthr');
  const first = new Tail(path);
  await texts(first);
  await first[Symbol.asyncDispose]();
  await appendFile(path, 'ee\n');
  await using second = new Tail(path, first.mark!);
  expect(await texts(second)).toEqual(['three']);
});

test('reads a truncated file from its start', async () => {
  await writeFile(path, 'one\ntwo\n');
  await using tail = new Tail(path);
  await texts(tail);
  await truncate(path, 0);
  await appendFile(path, 'new\n');
  expect(await texts(tail)).toEqual(['new']);
});

test.each(['while it is read', 'while nobody reads'])('reads a rotated file to its end, then the new one (%s)', async (when) => {
  await writeFile(path, 'one\n');
  let tail = new Tail(path);
  expect(await texts(tail)).toEqual(['one']);
  if (when === 'while nobody reads') {
    await tail[Symbol.asyncDispose]();
    tail = new Tail(path, tail.mark!);
  }
  await appendFile(path, 'two\n');
  await rename(path, `${path}.1`);
  await appendFile(`${path}.1`, 'three\n');
  await writeFile(path, 'four\n');
  expect(await texts(tail)).toEqual(['two', 'three', 'four']);
  await tail[Symbol.asyncDispose]();
});

test.each(['from its mark', 'from the start'])('reads every file that was put aside while nobody read, the oldest first (%s)', async (from) => {
  await writeFile(path, 'one\n');
  const first = new Tail(path);
  if (from === 'from its mark') expect(await texts(first)).toEqual(['one']);
  await first[Symbol.asyncDispose]();
  for (const [aside, text] of [
    ['9', 'two'],
    ['10', 'three'],
  ]) {
    await rename(path, `${path}.${aside}`);
    await writeFile(path, `${text}\n`);
  }
  await using tail = new Tail(path, first.mark);
  expect(await texts(tail)).toEqual([...(from === 'from its mark' ? [] : ['one']), 'two', 'three']);
});

test('skips lines that are too long, also in the middle of one at a restart', async () => {
  await writeFile(path, `a\n${'x'.repeat(MAX_LINE)}\n${'y'.repeat(MAX_LINE + 1)}\nb\n${'z'.repeat(3 * MAX_LINE)}`);
  const first = new Tail(path);
  expect((await texts(first)).map((text) => text.length)).toEqual([1, MAX_LINE, 1]);
  await first[Symbol.asyncDispose]();
  await appendFile(path, `${'z'.repeat(2 * MAX_LINE)}\nc\n`);
  await using second = new Tail(path, first.mark!);
  expect(await texts(second)).toEqual(['c']);
  expect(first.oversized + second.oversized).toBe(2);
});

test('however the writes and reads are cut, every line comes once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ minLength: 1 }).map((s) => s.replaceAll('\n', ' ').trim() || 'x')),
      fc.infiniteStream(fc.nat(40)),
      fc.infiniteStream(fc.boolean()),
      async (lines, cuts, restarts) => {
        await writeFile(path, '');
        let tail = new Tail(path);
        const got: string[] = [];
        let left = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        while (left.length > 0) {
          const cut = cuts.next().value! + 1;
          await appendFile(path, left.subarray(0, cut));
          left = left.subarray(cut);
          got.push(...(await texts(tail)));
          if (restarts.next().value) {
            await tail[Symbol.asyncDispose]();
            tail = new Tail(path, tail.mark!);
          }
        }
        await tail[Symbol.asyncDispose]();
        expect(got).toEqual(lines);
      },
    ),
    { numRuns: 40 },
  );
});

test('parsers take nothing that is not of its type, and never throw', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      for (const parse of [parseAccess, parseBinding, parseEgress]) parse(text);
      afterTear(text);
    }),
  );
  const line = { time: '2026-11-24T10:00:00.000Z', id: 'x', chain: 'http', gateway: 'g', source: 's' };
  expect(parseAccess(JSON.stringify({ ...line, status: '200', path: 7, usage: { input: 'many', output: null }, engine: 'none', host: null }))).toEqual({
    ...line,
    usage: {},
  });
  for (const bad of [
    { ...line, time: 'soon' },
    { ...line, chain: 'other' },
  ])
    expect(parseAccess(JSON.stringify(bad))).toBeUndefined();
  // What has no id gets one by what it says.
  for (const bad of [
    { ...line, id: '' },
    { ...line, id: 4 },
  ])
    expect(parseAccess(JSON.stringify(bad))?.id).toMatch(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});

test('what follows a torn line is found, what is inside a whole one is not', () => {
  const line = JSON.stringify({ id: 'x', usage: { input: 1 }, path: '{"a":1}' });
  for (let cut = 1; cut < line.length; cut++) expect(afterTear(line.slice(0, cut) + line)).toBe(line);
  expect(afterTear(line.slice(0, -1))).toBeUndefined();
});
