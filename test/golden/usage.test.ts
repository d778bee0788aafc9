import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '#lib';
import type { ReportedUsage } from '#model';
import { providerNamed } from '#policy';
import { envoyConfig } from './usage/envoy.ts';
import type { Replayed } from './usage/replay.ts';
import { SHAPES } from './usage/shapes.ts';

/** Usage as Envoy reads it, of every shape of answer there is: the filters are those of gateways. */

const envoy = join(process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools'), 'bin', 'envoy');
let dir: string;
let replayed: readonly (readonly Replayed[])[];
let read: ReadonlyMap<string, ReportedUsage | undefined>;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-usage-'));
  const log = join(dir, 'access.jsonl');
  await writeFile(join(dir, 'envoy.json'), JSON.stringify(envoyConfig(log)));
  const { stdout } = await run('unshare', ['--net', '--', process.execPath, join(import.meta.dirname, 'usage', 'replay.ts'), dir, envoy]);
  replayed = JSON.parse(stdout) as typeof replayed;
  const lines = (await readFile(log, 'utf8')).split('\n').filter(Boolean);
  read = new Map(lines.map((line) => JSON.parse(line) as { path: string; usage?: ReportedUsage }).map(({ path, usage }) => [path, usage]));
}, 120_000);
afterAll(() => rm(dir, { recursive: true, force: true }));

describe.each([
  ['whole', 10_000_000, 0],
  ['in pieces of seven bytes', 7, 1],
])('%s', (_, step, at) => {
  test.each(SHAPES.map((shape, index) => [shape.name, shape, index] as const))('%s', (_name, shape, index) => {
    const usage = read.get(`/${index}/${step}`);
    expect(usage).toEqual(shape.usage);
    expect(providerNamed(shape.provider)!.totals(usage ?? {})).toEqual(shape.totals);
    // Nothing of it changes on its way.
    const { ms, ...came } = replayed[index]![at]!;
    expect(came).toEqual({ type: shape.headers['content-type'], same: true });
    // Reading takes time by the length of an answer, not by its square: one of megabytes must not hold up the others of its gateway.
    expect(ms).toBeLessThan(5_000);
  });
});
