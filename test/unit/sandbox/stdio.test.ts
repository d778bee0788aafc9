import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { CreditWindow, pumpLines, pumpOutput } from '../../../src/sandbox/stdio.ts';

const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
};

test('output goes out as far as there is credit, in order, and the rest when there is more', async () => {
  const window = new CreditWindow(5);
  const stream = new PassThrough();
  const pieces: string[] = [];
  const done = pumpOutput(stream, window, (data) => pieces.push(Buffer.from(data).toString()));
  stream.write('hello world');
  await turns();
  expect(pieces.join('')).toBe('hello');
  window.add(3);
  await turns();
  expect(pieces.join('')).toBe('hello wo');
  window.add(100);
  stream.end('!');
  expect(await done).toBe(12);
  expect(pieces.join('')).toBe('hello world!');
});

test('without credit the stream is not read on, so its writer is held back', async () => {
  const stream = new PassThrough({ highWaterMark: 16 });
  void pumpOutput(stream, new CreditWindow(0), () => {});
  stream.write(Buffer.alloc(16));
  await turns();
  expect(stream.write(Buffer.alloc(64))).toBe(false);
  await turns();
  expect(stream.readableLength + stream.writableLength).toBeGreaterThanOrEqual(64);
});

test('a closed window drops the rest and counts what went out', async () => {
  const window = new CreditWindow(4);
  const stream = new PassThrough();
  const done = pumpOutput(stream, window, () => {});
  stream.write('12345678');
  await turns();
  window.close();
  stream.end('more');
  expect(await done).toBe(4);
});

const linesOf = async (chunks: readonly (string | Buffer)[], now = () => 0): Promise<string[]> => {
  const stream = new PassThrough();
  const lines: string[] = [];
  const done = pumpLines(stream, (line) => lines.push(line), now);
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  await done;
  return lines;
};

test('lines are put together from pieces, also inside a character', async () => {
  const umlaut = Buffer.from('ü');
  expect(await linesOf(['a', 'b\nc', '\n\n', umlaut.subarray(0, 1), umlaut.subarray(1), '\nlast'])).toEqual(['ab', 'c', 'ü', 'last']);
});

test('no line is longer than 8 KiB, whether it ends or not', async () => {
  let second = 0;
  const lines = await linesOf(['x'.repeat(19_000), `${'x'.repeat(1_000)}\n${'y'.repeat(9_000)}\n`, 'z'.repeat(9_000)], () => ++second * 1_000);
  expect(lines.every((line) => line.length <= 8192)).toBe(true);
  expect(lines.join('')).toBe('x'.repeat(20_000) + 'y'.repeat(9_000) + 'z'.repeat(9_000));
});

test('a flood is counted instead of written', async () => {
  const lines = await linesOf(['line\n'.repeat(1_000)]);
  expect(lines).toHaveLength(201);
  expect(lines.at(-1)).toBe('(800 lines of stderr were dropped)');
  const long = await linesOf([`${'x'.repeat(8_000)}\n`.repeat(20)]);
  expect(long).toEqual([...Array.from({ length: 4 }, () => 'x'.repeat(8_000)), '(16 lines of stderr were dropped)']);
});
