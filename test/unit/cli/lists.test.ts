import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runCli } from '#cli';
import { agent, ROOT, startServer, type TestClient, type TestServer } from '../apiserver/harness.ts';
import { capture } from './capture.ts';

/** Commands that list and show objects, against a real API server. */

let server: TestServer;
let admin: TestClient;
let kubeconfig: string;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
  kubeconfig = await server.kubeconfig();
  const create = (path: string, object: object) => admin.call('POST', path, object);
  const type = (kind: string) => ({ apiVersion: 'clrk.apoxy.dev/v1alpha1', kind });
  await create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } });
  await create(`${ROOT}/taskagents`, agent('beta', { egressRefs: [{ gatewayRef: 'out' }] }, { labels: { tier: 'one' } }));
  await create(`${ROOT}/taskagents`, agent('alpha'));
  await create(`${ROOT}/taskagents`, agent('both'));
  await create(ROOT.replace('default', 'team') + '/taskagents', agent('gamma'));
  await create(`${ROOT}/daemonagents`, {
    ...type('DaemonAgent'),
    metadata: { name: 'both' },
    spec: { workerPoolRef: 'p', template: { spec: { image: 'd:1' } } },
  });
  await create(`${ROOT}/workerpools`, { ...type('WorkerPool'), metadata: { name: 'p' }, spec: { replicas: 2, warmPool: 1, template: { image: 'w:1' } } });
  const status = { readyReplicas: 1, activeExecutions: 3, capacity: { maxExecutions: 16, availableExecutions: 13 } };
  await admin.call('PATCH', `${ROOT}/workerpools/p/status`, { status }, { type: 'application/merge-patch+json' });
});
afterAll(() => server[Symbol.asyncDispose]());

const clrk = async (...argv: string[]) => {
  const { io, seen } = capture();
  const code = await runCli([...argv, '--kubeconfig', kubeconfig], io);
  return { code, ...seen };
};
/** A table with ages made alike and runs of spaces folded. */
const shape = (text: string): string => text.replace(/\d+s\b/g, 'AGE').replace(/ {2,}/g, '  ');

test('agents list: two blocks by namespace and name, more with wide, in each output', async () => {
  expect(shape((await clrk('agents', 'list')).out)).toBe(
    [
      'DAEMONAGENTS',
      'NAME  POOL  LATEST READY  PHASE  RESTARTS  AGE',
      'both  p  -  -  0  AGE',
      '',
      'TASKAGENTS',
      'NAME  POOL  LATEST READY  ACTIVE  WARM  AGE',
      'alpha  default  -  0  0  AGE',
      'beta  default  -  0  0  AGE',
      'both  default  -  0  0  AGE',
      '',
    ].join('\n'),
  );
  const wide = shape((await clrk('agents', 'ls', '-A', '-o', 'wide', '-l', 'tier=one')).out);
  expect(wide).toBe('TASKAGENTS\nNAMESPACE  NAME  POOL  LATEST READY  ACTIVE  WARM  AGE  IMAGE  GATEWAYS\ndefault  beta  default  -  0  0  AGE  a/b:1  out\n');
  expect((await clrk('agents', 'list', '-n', 'team', '-o', 'name')).out).toBe('taskagent.clrk.apoxy.dev/gamma\n');
  const yaml = parse((await clrk('agents', 'list', '-A', '-o', 'yaml')).out) as {
    kind: string;
    items: { kind: string; metadata: { name: string; managedFields?: unknown } }[];
  };
  expect([yaml.kind, yaml.items.map(({ kind, metadata }) => `${kind} ${metadata.name}`)]).toEqual([
    'List',
    ['DaemonAgent both', 'TaskAgent alpha', 'TaskAgent beta', 'TaskAgent both', 'TaskAgent gamma'],
  ]);
  expect(yaml.items[0]!.metadata.managedFields).toBeUndefined();
  expect(await clrk('agents', 'list', '-n', 'clrk')).toEqual({ code: 0, out: '', err: 'No agents in namespace clrk.\n' });
});

test('agents get: labelled lines; a name that both kinds have, and one that none has', async () => {
  const { out } = await clrk('agents', 'get', 'beta');
  expect(out).toMatch(/^Kind: +TaskAgent\nName: +beta\nNamespace: +default\nPool: +default\nImage: +a\/b:1\n[^]*EgressRefs: +out\n[^]*Status:\n +none yet/);
  expect(parse((await clrk('agents', 'get', 'beta', '-o', 'yaml')).out)).toMatchObject({ kind: 'TaskAgent', metadata: { name: 'beta' } });
  expect((await clrk('agents', 'get', 'both')).err).toMatch(/There are a TaskAgent and a DaemonAgent default\/both/);
  expect((await clrk('agents', 'get', 'nobody')).err).toMatch(/There is no .*default\/nobody[^]*clrk agents list/);
});

test('pools list and get', async () => {
  expect(shape((await clrk('pools', 'list')).out)).toBe('NAME  REPLICAS  READY  ACTIVE  AGE\np  2  1  3  AGE\n');
  expect(shape((await clrk('pool', 'ls', '-A', '-o', 'wide')).out)).toBe(
    'NAMESPACE  NAME  REPLICAS  READY  ACTIVE  AGE  FREE / MAX  WARM  IMAGE\ndefault  p  2  1  3  AGE  13 / 16  1  w:1\n',
  );
  expect((await clrk('pools', 'get', 'p')).out).toMatch(
    /^Kind: +WorkerPool\n[^]*Replicas: +2 desired \/ 1 ready\nMax\/Worker: +16 \(default\)\nWarmPool: +1\n[^]*ActiveExecutions: +3\n +Capacity: +13 \/ 16 available \/ max\n/,
  );
  expect((await clrk('pools', 'get', 'q')).err).toMatch(/There is no WorkerPool default\/q\.[^]*clrk pools list -A/);
  expect((await clrk('pools', 'list', '-n', 'team')).err).toBe('No pools in namespace team.\n');
});

test('get: kinds by any of their names, columns of the server, several kinds, every output', async () => {
  for (const word of ['ta', 'taskagent', 'taskagents', 'TaskAgent', 'taskagents.clrk.apoxy.dev', 'ta.clrk.apoxy.dev'])
    expect(shape((await clrk('get', word, 'alpha')).out)).toBe('NAME  POOL  LATEST READY  ACTIVE  WARM  AGE\nalpha  default  -  -  -  AGE\n');
  expect(shape((await clrk('get', 'ta,wp', '-A')).out)).toMatch(
    /^NAMESPACE  NAME  POOL[^]*team  taskagent\/gamma[^]*\n\nNAMESPACE  NAME  REPLICAS[^]*default  workerpool\/p  2/,
  );
  expect(shape((await clrk('get', 'taskagent/alpha', 'workerpool/p', '-o', 'wide')).out)).toMatch(/taskagent\/alpha[^]*workerpool\/p/);
  expect((await clrk('get', 'ta', '-o', 'name', '-l', 'tier=one')).out).toBe('taskagent.clrk.apoxy.dev/beta\n');
  expect(JSON.parse((await clrk('get', 'ta', 'alpha', '-o', 'json')).out)).toMatchObject({ kind: 'TaskAgent' });
  expect(JSON.parse((await clrk('get', 'ns', '-o', 'json')).out)).toMatchObject({ kind: 'List', items: [{ kind: 'Namespace', apiVersion: 'v1' }, {}, {}] });
  expect(await clrk('get', 'egressgateways')).toEqual({ code: 0, out: '', err: 'No egressgateways in namespace default.\n' });
  // This server has no runtime API: all means what there is, and asking for what there is not is told.
  expect((await clrk('get', 'all', '-o', 'name')).out.split('\n')).toContain('workerpool.clrk.apoxy.dev/p');
  expect((await clrk('get', 'invocations')).err).toBe('Error: The API server does not have invocations of runtime.clrk.apoxy.dev.\n');
});

test('get says what is wrong', async () => {
  expect((await clrk('get', 'taskagnet')).err).toBe('Error: There is no kind taskagnet.\nDid you mean taskagent?\n');
  expect((await clrk('get', 'zzzzzzzz')).err).toMatch(/There is no kind zzzzzzzz\.\nKinds of clrk: taskagents, /);
  expect((await clrk('get', 'ta', 'nope')).err).toContain('taskagents.clrk.apoxy.dev "nope" not found');
  expect((await clrk('get', 'ta', 'alpha', '-A')).err).toMatch(/either named, or selected/);
  expect((await clrk('get', 'ta,wp', 'alpha')).err).toMatch(/for one kind only/);
  expect((await clrk('get', 'ta', '-o', 'table')).err).toMatch(/-o table is none of json, yaml, wide, name/);
  expect((await clrk('get', 'ta', '-l', '((')).code).toBe(1);
});
