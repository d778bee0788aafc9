import { MAX_LINE } from '#lib';
import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { workerLayout, type AccessLine, type BindingLine, type EgressLine } from '#model';
import { RecordReader } from '../../../src/telemetry/recorder/reader.ts';

const T = Date.parse('2026-11-24T10:00:00.000Z');
type File = 'access-0.jsonl' | 'access-1.jsonl' | 'bindings.jsonl' | 'egress.jsonl';

/** What one run does: for each request, how it goes. */
const runs = fc.array(
  fc.record({
    address: fc.integer({ min: 0, max: 2 }),
    requests: fc.array(
      fc.record({ gateway: fc.integer({ min: 0, max: 1 }), kind: fc.constantFrom('engine', 'denied', 'plain', 'dns', 'inflight', 'silent') }),
      { maxLength: 5 },
    ),
    died: fc.boolean(),
  }),
  { maxLength: 8 },
);
type Runs = typeof runs extends fc.Arbitrary<infer T> ? T : never;

interface Write {
  readonly file: File;
  readonly text: string;
}

/**
 * What the writers of record files write, in an order that is possible: a bind before anything of its run, the engine's
 * line before Envoy's, everything a dead Envoy finished before the line about its death. And the records to expect.
 */
const history = (script: Runs) => {
  const writes: Write[] = [];
  const expected = new Map<string, string>();
  let buffered: Write[] = [];
  let inflight: { id: string; gateway: number; invocation: string }[] = [];
  let clock = T;
  const put = (file: File, line: object): number => writes.push({ file, text: `${JSON.stringify(line)}\n` });
  const envoy = (gateway: number, line: object): number => buffered.push({ file: `access-${gateway as 0 | 1}.jsonl`, text: `${JSON.stringify(line)}\n` });
  for (const [n, run] of script.entries()) {
    const invocation = `inv-${n}`;
    const source = `100.64.0.${run.address}`;
    clock += 70_000;
    const binding: BindingLine = { event: 'bind', time: clock, address: source, namespace: 'ns', agent: `agent-${n}`, invocation, traceId: 't', spanId: 's' };
    put('bindings.jsonl', binding);
    for (const [m, { gateway: index, kind }] of run.requests.entries()) {
      const id = `id-${n}-${m}`;
      const gateway = `ns/gw${index}`;
      clock += 10;
      const line: AccessLine = { time: new Date(clock).toISOString(), id, chain: 'http', gateway, source, status: 200, sni: 'a.example', host: 'a.example' };
      const egress: EgressLine = { event: 'admit', time: clock, id, gateway, source, host: 'a.example', verdict: 'Allowed', reason: 'Allowed' };
      if (kind === 'dns') put('egress.jsonl', { ...egress, event: 'dns', verdict: 'Denied', reason: 'NoRoute' });
      else if (kind === 'engine' || kind === 'inflight') put('egress.jsonl', egress);
      else if (kind !== 'plain') put('egress.jsonl', { ...egress, event: 'refused', verdict: 'Denied', reason: 'ModelNotAllowed' });
      if (kind === 'inflight') inflight.push({ id, gateway: index, invocation });
      else if (kind === 'dns') expected.set(id, `${invocation} dns Denied NoRoute`);
      else if (kind === 'silent') expected.set(id, `${invocation} https Denied ModelNotAllowed`);
      else {
        expected.set(id, `${invocation} https ${kind === 'denied' ? 'Denied ModelNotAllowed' : 'Allowed Allowed'}`);
        envoy(index, { ...line, ...(kind === 'denied' ? { reason: 'ModelNotAllowed', status: 403 } : {}) });
      }
    }
    if (run.died) {
      writes.push(...buffered.filter(({ file }) => file === 'access-0.jsonl'));
      buffered = buffered.filter(({ file }) => file !== 'access-0.jsonl');
      put('egress.jsonl', { event: 'gateway-died', time: ++clock, id: '', gateway: 'ns/gw0', source: '', host: '', verdict: 'Denied', reason: '' });
      for (const { id, invocation: of } of inflight.filter((one) => one.gateway === 0)) expected.set(id, `${of} https Allowed GatewayDied`);
      inflight = inflight.filter((one) => one.gateway !== 0);
    }
    put('bindings.jsonl', { ...binding, event: 'release', time: ++clock });
    if (n % 2 === 1) writes.push(...buffered.splice(0)); // Envoy flushes late
  }
  writes.push(...buffered);
  return { writes, expected };
};

/** Cuts writes into pieces; pieces of one file stay in order, and a piece of another file never overtakes one it depends on. */
const pieces = (writes: readonly Write[], cut: () => number): readonly Write[] =>
  writes.flatMap(({ file, text }) => {
    const at = cut() % (text.length + 1);
    return [
      { file, text: text.slice(0, at) },
      { file, text: text.slice(at) },
    ];
  });

test('however files are written, cut and read, and wherever the reader is killed, the records are the same', async () => {
  const scenario = fc.tuple(runs, fc.infiniteStream(fc.nat(400)), fc.infiniteStream(fc.constantFrom('go on', 'read', 'read', 'keep', 'kill')));
  await fc.assert(
    fc.asyncProperty(scenario, async ([script, cuts, acts]) => {
      const dir = await mkdtemp(join(tmpdir(), 'clrk-reader-'));
      const layout = workerLayout(dir, dir, '0');
      for (const own of [layout.egressRecords, ...[0, 1, 2].map(layout.envoyRecords)]) await mkdir(own, { recursive: true });
      let now = T;
      const clock = { now: () => now, monotonic: () => now };
      const start = (checkpoint?: ReturnType<RecordReader['checkpoint']>) => new RecordReader({ layout, worker: '0', clock, checkpoint });
      let reader = start();
      let kept = JSON.stringify(reader.checkpoint());
      const found = new Map<string, string>();
      const round = async (): Promise<void> => {
        for (const r of (await reader.read()).records) found.set(r.decisionId, `${r.invocation} ${r.protocol} ${r.verdict} ${r.reason}`);
      };
      const { writes, expected } = history(script);
      for (const { file, text } of pieces(writes, () => cuts.next().value!)) {
        const [, envoy] = /^access-(\d)/.exec(file) ?? [];
        await appendFile(envoy === undefined ? join(layout.egressRecords, file) : layout.accessLog(Number(envoy)), text);
        const act = acts.next().value!;
        if (act !== 'go on') await round();
        if (act === 'keep') kept = JSON.stringify(reader.checkpoint());
        if (act === 'kill') {
          await reader[Symbol.asyncDispose]();
          reader = start(JSON.parse(kept));
        }
        now += 1;
      }
      for (let n = 0; n < 4; n++, now += 31_000) await round();
      expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected));
      expect([reader.malformed, reader.oversized]).toEqual([0, 0]);
      await reader[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    }),
    { numRuns: 60 },
  );
}, 60_000);

test('bad lines are counted and cost nothing else, and a torn one gives back what follows it', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-reader-'));
  const layout = workerLayout(dir, dir, '0');
  for (const own of [layout.egressRecords, layout.envoyRecords(0)]) await mkdir(own, { recursive: true });
  let now = T;
  await using reader = new RecordReader({ layout, worker: '0', clock: { now: () => now, monotonic: () => now } });
  const line = (id: string) => JSON.stringify({ time: new Date(T).toISOString(), id, chain: 'http', gateway: 'g', source: '1.2.3.4', usage: {} });
  await appendFile(
    layout.accessLog(0),
    `${line('a')}\nnonsense\n{"a":1}\n\u0000\u0000\n${'x'.repeat(MAX_LINE + 1)}\n${line('lost').slice(0, 30)}${line('b')}\n${line('c')}\n`,
  );
  await appendFile(layout.bindings, '[]\nnull\n');
  await appendFile(layout.egressLog, '"x"\n');
  const records: string[] = [];
  for (let round = 0; round < 4; round++) {
    records.push(...(await reader.read()).records.map((r) => r.decisionId)); // some of a file at a time
    now += 2_000;
  }
  expect(records).toEqual(['a', 'b', 'c']);
  expect([reader.malformed, reader.oversized]).toEqual([7, 1]);
  await rm(dir, { recursive: true, force: true });
});
