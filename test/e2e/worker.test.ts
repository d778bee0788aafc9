import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import type { ChildProcess } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { buildImage } from '#image';
import { AsyncQueue, exited, poll, readyReport, READY_STDIO, stopChild } from '#lib';
import { layout } from '#model';
import { connect, createRpcServer, Desired, Host, status, Work, type FromWorker, type RpcServer, type ToWorker } from '#wire';
import { mountsOf, processesOf } from './support/leftovers.ts';
import { createPlace, UIDS, type TestPlace } from './support/place.ts';

/** The worker program with its real children; dispatcher and controller-manager are servers of the test. */

const TOOLS = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(process.env['HOME']!, '.clrk'), 'tools');
const AGENT = `
const mode = process.argv[2];
if (mode === 'echo') process.stdout.write(require('node:fs').readFileSync(0));
else { console.log('up'); setTimeout(() => process.exit(3), mode === 'brief' ? 1500 : 1e9); }
`;

let state: string;
let run: string;
let at: ReturnType<ReturnType<typeof layout>['worker']>;
let place: TestPlace;
const cleanup: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'clrk-e2e-'));
  await mkdir(join(state, 'app'));
  await writeFile(join(state, 'app', 'index.js'), AGENT);
  await buildImage({ store: join(state, 'images'), name: 'test/agent', dir: join(state, 'app'), runtime: 'node', nodeBinary: process.execPath });
});
afterAll(() => rm(state, { recursive: true, force: true }));

beforeEach(async () => {
  run = await mkdtemp('/run/clrk-e2e-');
  at = layout(state, run).worker('0');
  place = await createPlace(run, { state, tools: TOOLS });
});

afterEach(async () => {
  for (const end of cleanup.splice(0).reverse()) await end();
  expect(await processesOf(run)).toEqual([]);
  expect(await mounts()).toEqual([]);
  await place[Symbol.asyncDispose]();
  await rm(run, { recursive: true, force: true });
});

/** Mounts of a worker, beside those it is started with. */
const mounts = async (): Promise<string[]> => (await mountsOf(place.pid, run)).filter((point) => point.startsWith(`${at.dir}/`));

/** A dispatcher as a worker sees it: everything that came up, and a way down. */
interface Dispatcher {
  readonly server: RpcServer;
  readonly seen: FromWorker['message'][];
  send(message: ToWorker['message']): void;
  /** The first message, of now or later, that `pick` takes. */
  next<T>(pick: (message: FromWorker['message']) => T | undefined): Promise<T>;
}

const startDispatcher = async (): Promise<Dispatcher> => {
  const seen: FromWorker['message'][] = [];
  const wake = new Set<() => void>();
  let down = new AsyncQueue<{ message: ToWorker['message'] }>();
  const server = createRpcServer().add(Work, {
    async *attach(messages, { signal }) {
      const mine = (down = new AsyncQueue());
      signal.addEventListener('abort', () => mine.end());
      void (async () => {
        for await (const { message } of messages) {
          seen.push(message);
          for (const check of wake) check();
        }
        mine.end();
      })();
      yield* mine as AsyncIterable<never>;
    },
  });
  await server.listen(layout(state, run).workSocket);
  cleanup.push(async () => server[Symbol.asyncDispose]());
  return {
    server,
    seen,
    send: (message) => down.push({ message }),
    next: (pick) =>
      new Promise((resolve) => {
        const check = (): void => {
          const found = seen.map(pick).find((value) => value !== undefined);
          if (found === undefined) return;
          wake.delete(check);
          resolve(found);
        };
        wake.add(check);
        check();
      }),
  };
};

const startManager = async (
  reports: AsyncQueue<{ images: readonly { revision: string; ready: boolean; reason: string; digest: string }[] }>,
): Promise<void> => {
  const server = createRpcServer().add(Desired, {
    async *workers() {},
    async *worker(incoming, { signal }) {
      yield {
        revisions: ['test/agent', 'test/later'].map((image) => ({
          template: { namespace: 'default', revision: image.replace('/', '-'), agent: 'a', image, cpus: 1, memoryBytes: 2 ** 28, storageBytes: 2 ** 24 },
          proven: false,
        })),
        gateways: [],
      };
      void (async () => {
        for await (const report of incoming) reports.push(report);
      })();
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    },
    async *egress(_, { signal }) {
      yield { gateways: [] };
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    },
  });
  await server.listen(layout(state, run).desiredSocket);
  cleanup.push(async () => server[Symbol.asyncDispose]());
};

const startWorker = async (): Promise<ChildProcess> => {
  const args = ['--state', place.state, '--run', run, '--tools', place.tools, '--name', '0', '--pool', 'default/default', '--uids', String(UIDS)];
  const worker = place.start('worker', args, { stdio: READY_STDIO });
  let stderr = '';
  worker.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  cleanup.push(async () => {
    if (worker.exitCode === null && worker.signalCode === null) await stopChild(worker, 20_000);
    if (process.env['CLRK_TEST_VERBOSE']) console.error(stderr);
  });
  await Promise.race([readyReport(worker), exited(worker).then(() => Promise.reject(new Error(`the worker ended: ${stderr}`)))]);
  return worker;
};

const assignment = (mode: string): Extract<ToWorker['message'], { case: 'assignment' }> => ({
  case: 'assignment',
  value: {
    $typeName: 'clrk.control.v1.Assignment',
    invocation: randomUUID(),
    namespace: 'default',
    agent: 'a',
    revision: 'test-agent',
    image: 'test/agent',
    command: ['node', 'index.js', mode],
    args: [],
    env: [],
    timeoutMs: 60_000,
    cpus: 2,
    memoryBytes: 2 ** 29,
    storageBytes: 2 ** 26,
    traceId: 'a'.repeat(32),
    spanId: 'b'.repeat(16),
    gateways: [],
    event: Buffer.from('the event'),
  },
});

const terminal = (invocation: string) => (message: FromWorker['message']) =>
  message.case === 'update' && message.value.invocation === invocation && message.value.phase !== 'Running' ? message.value : undefined;
const outputOf = (dispatcher: Dispatcher, invocation: string): string =>
  Buffer.concat(
    dispatcher.seen.flatMap((message) => (message.case === 'stdout' && message.value.invocation === invocation ? [message.value.data] : [])),
  ).toString();
/** Resolves when the run has written `up`, so that it is in the middle of its work. */
const up = (dispatcher: Dispatcher, invocation: string): Promise<unknown> =>
  dispatcher.next((message) => (message.case === 'stdout' && message.value.invocation === invocation ? true : undefined));

test('a run from assignment to end, and images as they are there', async () => {
  const reports = new AsyncQueue<{ images: readonly { revision: string; ready: boolean; reason: string; digest: string }[] }>();
  const dispatcher = await startDispatcher();
  await startManager(reports);
  await startWorker();
  expect(await dispatcher.next((message) => (message.case === 'hello' ? message.value : undefined))).toMatchObject({
    worker: '0',
    pool: 'default/default',
    running: [],
  });
  const run = assignment('echo');
  dispatcher.send(run);
  expect(await dispatcher.next(terminal(run.value.invocation))).toMatchObject({ phase: 'Succeeded', exitCode: 0, outputBytes: 9 });
  expect(outputOf(dispatcher, run.value.invocation)).toBe('the event');

  let built: string | undefined;
  for await (const { images } of reports) {
    const [agent, later] = ['default/test-agent', 'default/test-later'].map((revision) => images.find((image) => image.revision === revision));
    if (!built) {
      if (!agent?.ready || !later) continue;
      expect(later).toMatchObject({ ready: false, reason: 'ImageNotFound' });
      built = (await buildImage({ store: join(state, 'images'), name: 'test/later', dir: join(state, 'app'), runtime: 'node', nodeBinary: process.execPath }))
        .digest;
    } else if (later?.ready) {
      expect(later.digest).toBe(built);
      break;
    }
  }
});

test('a dispatcher that comes back hears of runs and of ends it missed', async () => {
  const first = await startDispatcher();
  await startManager(new AsyncQueue());
  await startWorker();
  await first.next((message) => (message.case === 'hello' ? true : undefined));
  const [kept, ended] = [assignment('stay'), assignment('brief')];
  first.send(kept);
  first.send(ended);
  await Promise.all([up(first, kept.value.invocation), up(first, ended.value.invocation)]);
  await first.server[Symbol.asyncDispose]();
  await poll(async () => ((await processesOf(ended.value.invocation)).length === 0 ? true : undefined), 20, AbortSignal.timeout(10_000));

  const second = await startDispatcher();
  const hello = await second.next((message) => (message.case === 'hello' ? message.value : undefined));
  expect(hello.running).toEqual(expect.arrayContaining([kept.value.invocation, ended.value.invocation]));
  expect(await second.next(terminal(ended.value.invocation))).toMatchObject({ phase: 'Failed', reason: 'ExitCode', exitCode: 3 });
  second.send({ case: 'cancel', value: { $typeName: 'clrk.control.v1.Cancel', invocation: kept.value.invocation, reason: 'Enough' } });
  expect(await second.next(terminal(kept.value.invocation))).toMatchObject({ phase: 'Failed', reason: 'Enough' });
});

test('an Envoy that dies is back at once, and its end is told', async () => {
  await startDispatcher();
  await startManager(new AsyncQueue());
  await startWorker();
  const host = connect(Host, at.hostSocket);
  cleanup.push(async () => host.close());
  const envoy = { index: 7, gateway: 'default/gw', bootstrap: JSON.stringify({ admin: { address: { pipe: { path: at.envoyAdmin(7) } } } }) };
  const running = async (): Promise<number | undefined> => (await processesOf('envoy-7.json')).find(({ argv }) => argv[0]!.endsWith('envoy'))?.pid;
  await host.startEnvoy(envoy);
  const first = await poll(running, 10, AbortSignal.timeout(5_000));
  const end = host.envoyEnds({})[Symbol.asyncIterator]().next();
  await host.startEnvoy(envoy); // the same changes nothing; answered, so the call before it is served, too
  expect(await running()).toBe(first);
  process.kill(first, 'SIGKILL');
  const since = performance.now();
  const second = await poll(async () => ((await running()) === first ? undefined : running()), 10, AbortSignal.timeout(5_000));
  expect(second).not.toBe(first);
  expect(performance.now() - since).toBeLessThan(1_000);
  expect((await end).value).toMatchObject({ index: 7, outcome: 'signal SIGKILL' });
  await host.stopEnvoy({ index: 7 });
  expect(await running()).toBeUndefined();
  await expect(host.setRoute({ map: 'route', source: 'x', destination: 'y', port: 1 })).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
});

test('SIGTERM ends runs truthfully and leaves nothing', async () => {
  const dispatcher = await startDispatcher();
  await startManager(new AsyncQueue());
  const worker = await startWorker();
  await dispatcher.next((message) => (message.case === 'hello' ? true : undefined));
  const run = assignment('stay');
  dispatcher.send(run);
  await up(dispatcher, run.value.invocation);
  worker.kill('SIGTERM');
  expect(await dispatcher.next(terminal(run.value.invocation))).toMatchObject({ phase: 'Failed', reason: 'WorkerStopping' });
  expect(await exited(worker)).toEqual({ code: 0, signal: null });
  expect(existsSync(at.dir)).toBe(false);
  // afterEach looks for processes and mounts; a namespace without either is gone
});

test('kill -9 takes everything down, and the next life sweeps and runs', async () => {
  const dispatcher = await startDispatcher();
  await startManager(new AsyncQueue());
  const first = await startWorker();
  await dispatcher.next((message) => (message.case === 'hello' ? true : undefined));
  const host = connect(Host, at.hostSocket);
  await host.startEnvoy({ index: 7, gateway: 'default/gw', bootstrap: JSON.stringify({ admin: { address: { pipe: { path: at.envoyAdmin(7) } } } }) });
  host.close();
  const lost = assignment('stay');
  dispatcher.send(lost);
  await up(dispatcher, lost.value.invocation);
  const names = (await processesOf(run)).map(({ argv }) => argv.join(' '));
  for (const part of ['runsc-sandbox', 'runsc-gofer', '/bin/envoy', 'cmd/egress.ts', 'cmd/recorder.ts']) expect(names.join('\n')).toContain(part);

  first.kill('SIGKILL');
  await exited(first);
  await poll(async () => ((await processesOf(run)).length === 0 ? true : undefined), 20, AbortSignal.timeout(5_000));
  expect(await mounts()).not.toEqual([]); // what the next life has to sweep

  await startWorker();
  await dispatcher.next(() => (dispatcher.seen.filter(({ case: kind }) => kind === 'hello').length === 2 ? true : undefined));
  expect(await readdir(at.sandboxes)).toEqual([]);
  const next = assignment('echo');
  dispatcher.send(next);
  expect(await dispatcher.next(terminal(next.value.invocation))).toMatchObject({ phase: 'Succeeded' });
  const last = (await processesOf(run)).find(({ argv }) => argv.some((arg) => arg.endsWith('cmd/worker.ts')));
  process.kill(last!.pid, 'SIGTERM');
  await poll(async () => ((await processesOf(run)).length === 0 ? true : undefined), 20, AbortSignal.timeout(10_000));
});
