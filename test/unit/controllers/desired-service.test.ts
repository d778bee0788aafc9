import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AsyncQueue } from '#lib';
import type { DesiredPort, EgressReport, WorkerReport } from '#model';
import { connect, createRpcServer, Desired, type Client } from '#wire';
import { createDesiredService } from '../../../src/cmd/controller-manager/desired-service.ts';

let stack: AsyncDisposableStack;
let port: DesiredPort;
let client: Client<typeof Desired>;
let reports: AsyncQueue<[string, string | undefined]>;
let egressReports: AsyncQueue<[string, boolean]>;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const { port: made, service } = createDesiredService();
  port = made;
  await stack.use(createRpcServer().add(Desired, service)).listen(join(dir, 's.sock'));
  client = connect(Desired, join(dir, 's.sock'));
  stack.defer(() => client.close());
  reports = new AsyncQueue();
  egressReports = new AsyncQueue();
  port.onWorker((worker, report) => reports.push([worker, report?.pool]));
  port.onEgress((worker, report) => egressReports.push([worker, report !== undefined]));
});
afterEach(() => stack.disposeAsync());

const next = async <T>(iterator: AsyncIterator<T>): Promise<T> => {
  const { value, done } = await iterator.next();
  if (done) throw new Error('ended');
  return value as T;
};
const workerReport = (worker: string, pool = 'default/default'): WorkerReport => ({
  worker,
  pool,
  maxExecutions: 1,
  activeExecutions: 0,
  images: [],
  draining: false,
  warm: [],
  trust: [{ gateway: 'default/gw', roots: ['r'], sandboxes: 1, current: true }],
});
const template = (revision: string) => ({
  namespace: 'default',
  agent: 'a',
  revision,
  image: 'x',
  command: ['c'],
  args: [],
  env: [],
  gateways: [],
  cpus: 1,
  memoryBytes: 2 ** 20,
  storageBytes: 2 ** 20,
});
const revision = (name: string) => ({ template: template(name), proven: false });
/** A connected peer of the worker stream: what it says, what it hears, and how it goes. */
const worker = (name: string) => {
  const up = new AsyncQueue<WorkerReport>();
  const gone = new AbortController();
  const down = client.worker(up as AsyncIterable<never>, { signal: gone.signal })[Symbol.asyncIterator]();
  up.push(workerReport(name));
  return { up, down, leave: () => gone.abort() };
};

test('a worker hears what its pool should have, the newest first when it comes late, and every change', async () => {
  port.setWorkerDesired('default/default', { revisions: [revision('old')], gateways: [], warm: [] });
  port.setWorkerDesired('default/default', { revisions: [revision('a-00001')], gateways: [{ gateway: 'default/gw', rootPems: ['R'] }], warm: [] });
  port.setWorkerDesired('other/pool', { revisions: [revision('no')], gateways: [], warm: [] });
  const { down } = worker('0');
  expect(await next(down)).toMatchObject({ revisions: [{ template: { revision: 'a-00001', command: ['c'] } }], gateways: [{ rootPems: ['R'] }], warm: [] });
  port.setWorkerDesired('default/default', { revisions: [], gateways: [], warm: [] });
  expect(await next(down)).toMatchObject({ revisions: [] });
});

test('reports and the end of a stream are heard; the late end of an older stream is not', async () => {
  port.setWorkerDesired('default/default', { revisions: [], gateways: [], warm: [] });
  const heard = reports[Symbol.asyncIterator]();
  const first = worker('0');
  await next(first.down);
  expect(await next(heard)).toEqual(['0', 'default/default']);
  const second = worker('0');
  await next(second.down);
  expect(await next(heard)).toEqual(['0', 'default/default']);
  first.leave();
  const third = worker('1');
  await next(third.down);
  // The end of the first stream would have come before this.
  expect(await next(heard)).toEqual(['1', 'default/default']);
  second.leave();
  expect(await next(heard)).toEqual(['0', undefined]);
});

test('an egress gets its own gateways with their credentials', async () => {
  const gateway = { gateway: 'default/gw', policySet: '{}', rootPem: 'R', intermediatePem: 'I', intermediateKeyPem: 'K' };
  port.setEgressDesired('0', { gateways: [{ ...gateway, credentials: [{ name: 'cred:default/c', value: 'v' }] }] });
  port.setEgressDesired('1', { gateways: [] });
  const up = new AsyncQueue<EgressReport>();
  const down = client.egress(up as AsyncIterable<never>)[Symbol.asyncIterator]();
  up.push({ worker: '0', gateways: [] });
  expect(await next(down)).toMatchObject({ gateways: [{ gateway: 'default/gw', credentials: [{ name: 'cred:default/c', value: 'v' }] }] });
  const heard = egressReports[Symbol.asyncIterator]();
  expect(await next(heard)).toEqual(['0', true]);
  up.end();
  expect(await next(heard)).toEqual(['0', false]);
});

test('nothing is sent before there is something: an empty snapshot would take everything away', async () => {
  const first = next(worker('0').down);
  expect(await next(reports[Symbol.asyncIterator]())).toEqual(['0', 'default/default']);
  port.setWorkerDesired('default/default', { revisions: [revision('a-00001')], gateways: [], warm: [] });
  expect(await first).toMatchObject({ revisions: [{ template: { revision: 'a-00001' } }] });
});

test('`clrk dev` hears how many workers to run', async () => {
  const wanted = client.workers({})[Symbol.asyncIterator]();
  port.setWorkers({ pools: [{ pool: 'default/default', replicas: 1 }] });
  expect(await next(wanted)).toMatchObject({ pools: [{ pool: 'default/default', replicas: 1 }] });
  port.setWorkers({ pools: [{ pool: 'default/default', replicas: 2 }] });
  expect(await next(wanted)).toMatchObject({ pools: [{ replicas: 2 }] });
});
