import { mkdir, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { silentLogger, type Clock } from '#lib';
import type { Assignment, RunUpdate, StdioLine } from '#model';
import { LineCutter, MAX_LINE_BYTES } from '../../../src/sandbox/line-cutter.ts';
import { LINE_OVERHEAD, StdioLog, type StdioLimits } from '../../../src/sandbox/stdio-log.ts';

const cut = (chunks: readonly Buffer[], room: () => boolean = () => true) => {
  const seen: string[] = [];
  const cutter = new LineCutter({ take: room, ready: room }, { line: (text) => seen.push(text), dropped: (bytes) => seen.push(`(${bytes})`) });
  for (const chunk of chunks) cutter.push(chunk);
  cutter.end();
  return seen;
};
const pieces = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const all: Buffer[] = [];
  for (let at = 0, n = 0; at < bytes.length; n++) all.push(bytes.subarray(at, (at += sizes[n % sizes.length]!)));
  return all;
};

describe('lines', () => {
  test('are what is between newlines, however the bytes come; the last needs none', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 12 }).map((text) => text.replaceAll(/[\r\n]/g, 'ü'))),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        fc.boolean(),
        (lines, sizes, ended) => {
          const text = lines.join('\n') + (ended && lines.length > 0 ? '\n' : '');
          const expected = text === '' ? [] : text.replace(/\n$/, '').split('\n');
          // An empty last line without an end is no line.
          expect(cut(pieces(Buffer.from(text), sizes))).toEqual(expected);
        },
      ),
    );
  });

  test('of any bytes lose nothing but what is no UTF-8', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (bytes, sizes) => {
        const buffer = Buffer.from(bytes.filter((byte) => byte !== 13));
        const expected = buffer.toString('utf8').split('\n');
        if (expected.at(-1) === '') expected.pop();
        expect(cut(pieces(buffer, sizes))).toEqual(expected);
      }),
    );
  });

  test('end with \\n or \\r\\n', () => expect(cut([Buffer.from('a\r'), Buffer.from('\nb\rc\n\r\n')])).toEqual(['a', 'b\rc', '']));

  test.each([
    ['', 'é'],
    ['x', 'é'],
    ['', '€'],
    ['x', '€'],
    ['xx', '€'],
    ['', '😀'],
    ['x', '😀'],
    ['xx', '😀'],
    ['xxx', '😀'],
  ])('that are too long become several, never cut inside a character (%j%s…)', (head, character) => {
    const text = head + character.repeat(MAX_LINE_BYTES);
    for (const size of [1_000, 8_192, 100_000]) {
      const lines = cut(pieces(Buffer.from(`${text}\n`), [size]));
      expect(lines.join('') === text, `pieces of ${size}`).toBe(true);
      const lengths = lines.map((line) => Buffer.byteLength(line));
      expect(Math.max(...lengths)).toBeLessThanOrEqual(MAX_LINE_BYTES);
      expect(Math.min(...lengths.slice(0, -1))).toBeGreaterThan(MAX_LINE_BYTES - 4);
    }
  });

  test('without room are dropped and counted, and begin again at a whole one', () => {
    let asked = 0;
    const seen = cut([Buffer.from('one\ntwo\nthree\n'), Buffer.from('four\nfi'), Buffer.from('ve\nsix\n')], () => ++asked !== 2);
    expect(seen).toEqual(['one', '(10)', 'four', 'five', 'six']);
    asked = 0;
    const inside = cut([Buffer.from('one\ntwo\nthr'), Buffer.from('ee\nfour')], () => ++asked !== 2);
    expect(inside).toEqual(['one', '(10)', 'four']);
  });
});

describe('the record file', () => {
  let dir: string;
  let time: number;
  const clock: Clock = { now: () => 1_700_000_000_000 + time, monotonic: () => time };
  beforeEach(async () => {
    time = 0;
    dir = await mkdtemp(join(tmpdir(), 'clrk-stdio-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const assignment = { namespace: 'default', agent: 'a', revision: 'a-00001', invocation: 'inv', traceId: 't', spanId: 's' } as Assignment;
  const update: RunUpdate = { invocation: 'inv', phase: 'Failed', reason: 'ExitCode', message: 'It failed.', exitCode: 3, outputBytes: 12 };
  const open = (limits: Partial<StdioLimits> = {}) => new StdioLog({ path: join(dir, 'stdio.jsonl'), log: silentLogger, clock, limits });
  const read = async (name = 'stdio.jsonl'): Promise<StdioLine[]> =>
    (await readFile(join(dir, name), 'utf8'))
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as StdioLine);
  async function* from(chunks: readonly (string | Buffer)[]): AsyncGenerator<Buffer> {
    for (const chunk of chunks) yield Buffer.from(chunk);
  }
  const through = async (stream: AsyncIterable<Buffer>): Promise<Buffer> => Buffer.concat(await Array.fromAsync(stream));

  test('has every line with its run, numbered, at times that grow, the end of the run last', async () => {
    const log = open();
    const run = log.run(assignment);
    run.started();
    const bytes = Buffer.from([0, 255, 10, 0xe2, 0x82, 0xac, 65]);
    const [stdout, stderr] = [run.tee(from(['one\ntwo']), 'stdout'), run.tee(from([bytes.subarray(0, 4), bytes.subarray(4)]), 'stderr')];
    expect((await through(stdout)).toString()).toBe('one\ntwo');
    run.ended(update); // stderr is still open
    expect(await through(stderr)).toEqual(bytes); // unchanged
    await new Promise(setImmediate);
    await log[Symbol.asyncDispose]();
    const lines = await read();
    expect(lines.map(({ iostream, event, body }) => [iostream, event, body])).toEqual([
      ['', 'started', 'Revision a-00001 runs.'],
      ['stdout', '', 'one'],
      ['stdout', '', 'two'],
      ['stderr', '', '\u0000\ufffd'],
      ['stderr', '', '€A'],
      ['', 'ended', 'Failed (ExitCode). It failed. Exit code 3. 12 bytes of output.'],
    ]);
    const [{ id: first }] = lines as [StdioLine];
    expect(lines.map(({ id }) => id)).toEqual(lines.map((_, n) => first.replace(/1$/, String(n + 1))));
    expect(lines.map((line) => line.time)).toEqual(lines.map((_, n) => `2023-11-14T22:13:20.00000000${n}Z`));
    expect(lines[1]).toMatchObject({ namespace: 'default', agent: 'a', revision: 'a-00001', invocation: 'inv', traceId: 't', spanId: 's' });
  });

  test('a run that prints too fast loses what is beyond, is told so where it is missing, and goes on when it is slower', async () => {
    const log = open({ runPerSecond: 10 * (LINE_OVERHEAD + 9) });
    const run = log.run(assignment);
    const chunk = Array.from({ length: 50 }, (_, n) => `line ${String(n).padStart(4)}\n`).join('');
    const output = run.tee(from([chunk, chunk, 'after a\n', 'after b\n']), 'stdout');
    let passed = 0;
    for await (const data of output) {
      passed += data.length;
      if (passed === 2 * chunk.length) time += 1_000;
    }
    await log[Symbol.asyncDispose]();
    const lines = await read();
    expect(passed).toBe(2 * chunk.length + 16);
    expect(lines.filter(({ event }) => event === '').map(({ body }) => body)).toEqual([
      ...Array.from({ length: 20 }, (_, n) => `line ${String(n).padStart(4)}`),
      'after a',
      'after b',
    ]);
    expect(lines.filter(({ event }) => event === 'dropped')).toMatchObject([
      { iostream: 'stdout', body: `(${80 * 10} bytes of stdout are not kept: more than 4090 bytes a second)` },
    ]);
  });

  test('all of one run and all runs together are bounded, too', async () => {
    const line = `${'x'.repeat(100)}\n`;
    const log = open({ run: 5 * (LINE_OVERHEAD + 100), workerPerSecond: 4 * (LINE_OVERHEAD + 100) });
    await through(log.run(assignment).tee(from([line.repeat(20)]), 'stdout'));
    await through(log.run({ ...assignment, invocation: 'other' }).tee(from([line.repeat(20)]), 'stderr'));
    await log[Symbol.asyncDispose]();
    const lines = await read();
    const of = (invocation: string) => lines.filter((one) => one.invocation === invocation).map(({ event }) => event);
    expect(of('inv')).toEqual(['', '', '', '', '', 'dropped']);
    expect(of('other')).toEqual(['', '', '', 'dropped']);
    expect(lines[5]!.body).toContain('of one run 2500 bytes are kept');
  });

  test('stderr of all runs is read no faster than the limit, stdout as its reader takes it', async () => {
    vi.useFakeTimers();
    try {
      const log = new StdioLog({
        path: join(dir, 'stdio.jsonl'),
        log: silentLogger,
        clock: { now: () => time, monotonic: () => Date.now() },
        limits: { read: 1_000 },
      });
      const counts = { stdout: 0, stderr: 0, other: 0 };
      const pull = async (name: keyof typeof counts, stream: AsyncIterable<Buffer>): Promise<void> => {
        for await (const chunk of stream) counts[name] += chunk.length;
      };
      const pieces = (): AsyncGenerator<Buffer> => from(Array.from({ length: 4 }, () => 'z'.repeat(1_000)));
      const first = log.run(assignment);
      const done = Promise.all([pull('stdout', first.tee(pieces(), 'stdout')), pull('stderr', first.tee(pieces(), 'stderr'))]);
      const other = pull('other', log.run({ ...assignment, invocation: 'other' }).tee(pieces(), 'stderr'));
      await vi.advanceTimersByTimeAsync(0);
      expect(counts).toEqual({ stdout: 4_000, stderr: 1_000, other: 1_000 });
      await vi.advanceTimersByTimeAsync(2_000);
      expect(counts.stderr + counts.other).toBe(4_000);
      await vi.advanceTimersByTimeAsync(6_000);
      await Promise.all([done, other]);
      expect(counts).toEqual({ stdout: 4_000, stderr: 4_000, other: 4_000 });
      vi.useRealTimers();
      await log[Symbol.asyncDispose]();
    } finally {
      vi.useRealTimers();
    }
  });

  test('a gigabyte is not kept, and takes little time and space', async () => {
    const log = open();
    const run = log.run(assignment);
    const chunk = Buffer.from('y\n'.repeat(32 * 1024));
    let passed = 0;
    const flood = async function* () {
      for (let n = 0; n < 16 * 1024; n++) yield chunk;
    };
    for await (const data of run.tee(flood(), 'stdout')) passed += data.length;
    run.ended(update);
    await new Promise(setImmediate);
    await log[Symbol.asyncDispose]();
    expect(passed).toBe(1024 * 1024 * 1024);
    expect((await stat(join(dir, 'stdio.jsonl'))).size).toBeLessThan(3 * 1024 * 1024);
    expect((await read()).slice(-2).map(({ event }) => event)).toEqual(['dropped', 'ended']);
  }, 30_000);

  test('lines that cannot be written are missing, and their numbers with them; the output goes on', async () => {
    await rm(dir, { recursive: true });
    const log = open();
    const run = log.run(assignment);
    expect((await through(run.tee(from(['one\ntwo\n']), 'stdout'))).toString()).toBe('one\ntwo\n');
    await log[Symbol.asyncDispose]();
    await mkdir(dir);
    await through(run.tee(from(['three\n']), 'stdout'));
    await log[Symbol.asyncDispose]();
    expect(await read()).toMatchObject([{ id: expect.stringMatching(/-3$/), body: 'three' }]);
  });

  test('files are put aside, and five of them are kept', async () => {
    for (let n = 0; n < 200; n++) {
      time++;
      const log = open({ rotate: 5_000 });
      await through(log.run(assignment).tee(from([`line ${n}\n`]), 'stdout'));
      await log[Symbol.asyncDispose]();
    }
    const names = await readdir(dir);
    expect(names).toHaveLength(5);
    const age = (name: string): number => Number(name.split('.')[2] ?? Infinity);
    const all = (await Promise.all(names.toSorted((a, b) => age(a) - age(b)).map(read))).flat().map(({ body }) => body);
    expect(all).toEqual(Array.from({ length: all.length }, (_, n) => `line ${200 - all.length + n}`)); // the newest, without a hole
  });
});
