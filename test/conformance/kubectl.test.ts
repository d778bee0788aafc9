import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { invocations, type ExtraGroup, type ExtraResource, type Invocation } from '#api';
import { run } from '#lib';
import { startServer, type TestClient, type TestServer } from '../unit/apiserver/harness.ts';

/** The real kubectl against the embedded server. */

/** One run, as a handler of the runtime API would give it. */
const run1: Invocation = {
  apiVersion: 'runtime.clrk.apoxy.dev/v1alpha1',
  kind: 'Invocation',
  metadata: { name: 'run-1', namespace: 'default', resourceVersion: '5', creationTimestamp: new Date().toISOString() },
  spec: { parentRef: { kind: 'TaskAgent', name: 'summary' }, trigger: { type: 'CLI' } },
  status: { phase: 'Succeeded' },
};
const runs: ExtraResource = {
  name: 'invocations',
  singular: 'invocation',
  kind: 'Invocation',
  namespaced: true,
  shortNames: ['inv'],
  verbs: ['get', 'list'],
  columns: invocations.columns,
  schema: invocations.schema,
  handle: ({ verb }) => Promise.resolve(verb === 'list' ? { list: [run1] } : { object: run1 }),
};
const invoke: ExtraResource = {
  name: 'taskagents',
  singular: 'taskagent',
  kind: 'TaskAgent',
  namespaced: true,
  shortNames: [],
  verbs: [],
  subresources: [{ name: 'invoke', kind: 'Invocation', verbs: ['create'] }],
  handle: ({ name, body }) =>
    Promise.resolve({
      stream: {
        status: 200,
        headers: { 'content-type': 'text/plain' },
        body: (async function* () {
          yield new TextEncoder().encode(`${name} got ${Buffer.from(body).toString()}`);
        })(),
      },
    }),
};
const RUNTIME: ExtraGroup[] = [
  { group: 'runtime.clrk.apoxy.dev', version: 'v1alpha1', resources: [runs, invoke] },
  { group: 'clrk.apoxy.dev', version: 'v1alpha1', resources: [runs] },
];

let server: TestServer;
let admin: TestClient;
let home: string;
let environment: NodeJS.ProcessEnv;
let viewer: NodeJS.ProcessEnv;
const children: ChildProcess[] = [];

beforeAll(async () => {
  server = await startServer({ extraGroups: RUNTIME });
  admin = await server.client();
  home = mkdtempSync(join(tmpdir(), 'clrk-kubectl-'));
  const { PATH } = process.env;
  environment = { PATH, HOME: home, KUBECONFIG: await server.kubeconfig() };
  viewer = { PATH, HOME: home, KUBECONFIG: await server.kubeconfig('CN=viewer, O=clrk:viewers') };
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await server[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

const kubectl = async (args: readonly string[], input = '', env = environment): Promise<string> =>
  (await run('kubectl', args, { env, input, timeoutMs: 15_000 })).stdout;
/** What it said when it failed; fails when it did not. */
const refused = async (args: readonly string[], input = '', env = environment): Promise<string> => {
  const outcome = await kubectl(args, input, env).then(
    (stdout) => ({ stdout, message: undefined }),
    (error: unknown) => ({ stdout: '', message: String(error) }),
  );
  expect(outcome.stdout).toBe('');
  return outcome.message ?? '';
};

const agent = (name: string, concurrent: number): string => `
apiVersion: clrk.apoxy.dev/v1alpha1
kind: TaskAgent
metadata:
  name: ${name}
  labels: {app: ${name}}
spec:
  workerPoolRef: default
  maxConcurrent: ${concurrent}
  template:
    spec:
      image: agents/${name}:1
      env: [{name: LEVEL, value: info}]
`;

test('api-resources and version', async () => {
  const resources = await kubectl(['api-resources']);
  for (const [plural, short] of [
    ['taskagents', 'ta'],
    ['agentsandboxrevisions', 'asr'],
    ['workerpools', 'wp'],
    ['egressgateways', 'egw'],
    ['aiproviderroutes', 'aipr'],
    ['credentialinjectionpolicies', 'cip'],
  ]) {
    expect(resources).toMatch(new RegExp(`^${plural} +${short} +clrk\\.apoxy\\.dev/v1alpha1 +true`, 'm'));
  }
  expect(await kubectl(['version'])).toContain('Server Version: v1.32');
});

test('apply: created, unchanged, configured', async () => {
  expect(await kubectl(['apply', '-f', '-'], agent('client', 1))).toBe('taskagent.clrk.apoxy.dev/client created\n');
  expect(await kubectl(['apply', '-f', '-'], agent('client', 1))).toBe('taskagent.clrk.apoxy.dev/client unchanged\n');
  expect(await kubectl(['apply', '-f', '-'], agent('client', 2))).toBe('taskagent.clrk.apoxy.dev/client configured\n');
  expect(await kubectl(['get', 'ta', 'client', '-o', 'jsonpath={.spec.maxConcurrent} {.metadata.generation}'])).toBe('2 2');
});

test('apply --server-side: managed fields, conflict, force', async () => {
  const apply = (name: string, value: number, ...more: string[]) =>
    [['apply', '--server-side', '--field-manager', name, '-f', '-', ...more], agent('server', value)] as const;
  expect(await kubectl(...apply('one', 1))).toContain('taskagent.clrk.apoxy.dev/server serverside-applied');
  const conflict = await refused(...apply('two', 2));
  expect(conflict).toContain('Apply failed with 1 conflict: conflict with "one": .spec.maxConcurrent');
  await kubectl(...apply('two', 2, '--force-conflicts'));
  const fields = await kubectl(['get', 'ta', 'server', '-o', 'json', '--show-managed-fields']);
  const { metadata } = JSON.parse(fields) as {
    metadata: { managedFields: { manager: string; operation: string; fieldsV1: Record<string, Record<string, unknown>> }[] };
  };
  expect(metadata.managedFields.map(({ manager, operation }) => `${manager} ${operation}`).sort()).toEqual(['one Apply', 'two Apply']);
  const owns = (name: string): boolean => 'f:maxConcurrent' in metadata.managedFields.find(({ manager }) => manager === name)!.fieldsV1['f:spec']!;
  expect([owns('one'), owns('two')]).toEqual([false, true]);
});

test('apply of several documents, and of one with an unknown field or a bad value', async () => {
  const pool = 'apiVersion: clrk.apoxy.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: several}\nspec: {template: {image: worker}}\n';
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: several}\nstringData: {token: abc}\n';
  expect(await kubectl(['apply', '-f', '-'], `${pool}---\n${secret}`)).toBe('workerpool.clrk.apoxy.dev/several created\nsecret/several created\n');
  expect(await kubectl(['get', 'secret', 'several', '-o', 'jsonpath={.data.token}'])).toBe('YWJj');
  expect(await refused(['apply', '-f', '-'], pool.replace('spec: {', 'spec: {colour: red, '))).toContain('unknown field "spec.colour"');
  expect(await refused(['apply', '-f', '-'], pool.replace('spec: {', 'spec: {replicas: -1, '))).toContain(
    'spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0',
  );
  expect(await refused(['apply', '-f', '-'], pool.replace('WorkerPool', 'WorkerPond'))).toContain('no matches for kind "WorkerPond"');
});

test('get in every output', async () => {
  await kubectl(['apply', '-f', '-'], agent('shown', 3));
  await kubectl([
    'patch',
    'ta',
    'shown',
    '--subresource=status',
    '--type=merge',
    '-p',
    '{"status":{"activeExecutions":4,"latestReadyRevisionName":"shown-00001"}}',
  ]);
  expect(await kubectl(['get', 'ta', 'shown'])).toMatch(/^NAME +POOL +LATEST READY +ACTIVE +WARM +AGE\nshown +default +shown-00001 +4 +\d+s\n$/);
  expect(await kubectl(['get', 'taskagent', 'shown', '-o', 'wide'])).toContain('agents/shown:1');
  expect(await kubectl(['get', 'ta', 'shown', '-o', 'name'])).toBe('taskagent.clrk.apoxy.dev/shown\n');
  expect(await kubectl(['get', 'ta', 'shown', '-o', 'yaml'])).toContain('workerPoolRef: default');
  expect(JSON.parse(await kubectl(['get', 'ta', 'shown', '-o', 'json']))).toMatchObject({ kind: 'TaskAgent', spec: { timeout: '100s' } });
  expect(await kubectl(['get', 'ta', '-o', 'custom-columns=N:.metadata.name,C:.spec.maxConcurrent', '--no-headers', '-l', 'app=shown'])).toMatch(
    /^shown +3\n$/,
  );
  expect(await kubectl(['get', 'ta', '-A', '--field-selector', 'metadata.name=shown'])).toMatch(/^NAMESPACE.*\ndefault +shown/);
  expect(await kubectl(['get', 'ns', 'clrk', 'default'])).toMatch(/clrk +Active/);
  expect(await refused(['get', 'ta', 'none'])).toContain('Error from server (NotFound): taskagents.clrk.apoxy.dev "none" not found');
});

/** A kubectl that goes on: `saw` resolves with its whole output once it has the text. */
const background = (args: readonly string[]): { saw(text: string): Promise<string>; stop(): void } => {
  const child = spawn('kubectl', args, { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return {
    async saw(text) {
      while (!output.includes(text)) await once(child.stdout, 'data', { signal: AbortSignal.timeout(10_000) });
      return output;
    },
    stop: () => child.kill('SIGKILL'),
  };
};

test('get -w shows changes as they come', async () => {
  await kubectl(['apply', '-f', '-'], agent('watched', 1));
  const watching = background(['get', 'ta', 'watched', '-w', '--output-watch-events', '-o', 'json']);
  await watching.saw('"maxConcurrent":1,');
  await kubectl(['patch', 'ta', 'watched', '--type', 'merge', '-p', '{"spec":{"maxConcurrent":77}}']);
  expect(await watching.saw('"maxConcurrent":77,')).toContain('"type":"MODIFIED"');
  watching.stop();
});

test('get -w as a table', async () => {
  const watching = background(['get', 'wp', '-w']);
  await watching.saw('several');
  await kubectl(
    ['apply', '-f', '-'],
    'apiVersion: clrk.apoxy.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: tabled}\nspec: {replicas: 3, template: {image: worker}}\n',
  );
  expect(await watching.saw('tabled')).toMatch(/several +1 .*\ntabled +3 /);
  watching.stop();
});

test('wait for a condition, a value and a deletion', async () => {
  await kubectl(['apply', '-f', '-'], agent('waited', 1));
  expect(await refused(['wait', '--for=condition=Ready', 'ta/waited', '--timeout=1s'])).toContain('timed out');
  const condition = kubectl(['wait', '--for=condition=Ready', 'ta/waited', '--timeout=10s']);
  const value = kubectl(['wait', '--for=jsonpath={.status.activeExecutions}=2', 'ta/waited', '--timeout=10s']);
  const gone = kubectl(['wait', '--for=delete', 'ta/waited', '--timeout=10s']);
  const status = {
    activeExecutions: 2,
    conditions: [{ type: 'Ready', status: 'True', reason: 'RevisionReady', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' }],
  };
  await admin.call('PATCH', '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents/waited/status', { status }, { type: 'application/merge-patch+json' });
  expect(await condition).toContain('condition met');
  expect(await value).toContain('condition met');
  await kubectl(['delete', 'ta', 'waited']);
  await gone;
});

test('patch, label, annotate, describe, replace', async () => {
  await kubectl(['create', '-f', '-'], agent('edited', 1));
  expect(await kubectl(['patch', 'ta', 'edited', '--type', 'merge', '-p', '{"spec":{"timeout":"5s"}}'])).toContain('patched');
  expect(await refused(['patch', 'ta', 'edited', '--type', 'merge', '-p', '{"spec":{"timeout":"0s"}}'])).toContain(
    'spec.timeout: Invalid value: "0s": must be greater than zero',
  );
  await kubectl(['label', 'ta', 'edited', 'team=finance']);
  await kubectl(['annotate', 'ta', 'edited', 'note=hello']);
  const described = await kubectl(['describe', 'ta', 'edited']);
  for (const part of ['team=finance', 'note: hello', 'Timeout:          5s', 'Worker Pool Ref:  default']) expect(described).toContain(part);
  const json = JSON.parse(await kubectl(['get', 'ta', 'edited', '-o', 'json'])) as { spec: { maxConcurrent: number } };
  json.spec.maxConcurrent = 8;
  expect(await kubectl(['replace', '-f', '-'], JSON.stringify(json))).toContain('replaced');
  expect(await kubectl(['explain', 'taskagent.spec.template.spec'])).toContain('image');
});

test('delete waits until the object is gone', async () => {
  await kubectl(['apply', '-f', '-'], agent('deleted', 1));
  expect(await kubectl(['delete', 'ta', 'deleted'])).toContain('taskagent.clrk.apoxy.dev "deleted" deleted');
  await kubectl(['apply', '-f', '-'], agent('foreground', 1));
  await kubectl(['delete', 'ta', 'foreground', '--cascade=foreground']);
  await kubectl(['apply', '-f', '-'], agent('labelled', 1));
  expect(await kubectl(['delete', 'ta', '-l', 'app=labelled'])).toContain('"labelled" deleted');
  expect(await kubectl(['get', 'ta', '-l', 'app=labelled', '-o', 'name'])).toBe('');
});

test('a namespace can be applied, filled and deleted', async () => {
  await kubectl(['apply', '-f', '-'], 'apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n');
  await kubectl(['apply', '-n', 'team', '-f', '-'], agent('inside', 1));
  expect(await refused(['apply', '-n', 'nowhere', '-f', '-'], agent('inside', 1))).toContain('namespaces "nowhere" not found');
  await kubectl(['delete', 'namespace', 'team']);
  expect(await kubectl(['get', 'ta', '-A', '-o', 'name'])).not.toContain('inside');
});

test('a viewer may look, but not at secrets, and not change anything', async () => {
  expect(await kubectl(['get', 'ta', '-o', 'name'], '', viewer)).toContain('taskagent');
  expect(await refused(['get', 'secrets'], '', viewer)).toContain('User "viewer" cannot list resource "secrets" in API group "" in the namespace "default"');
  expect(await refused(['delete', 'ta', '--all'], '', viewer)).toContain('Error from server (Forbidden)');
});

test('the runtime API: runs are listed, agents invoked, nothing is written', async () => {
  expect(await kubectl(['get', 'inv'])).toMatch(/^NAME +AGENT +PHASE +TRIGGER +AGE\nrun-1 +summary +Succeeded +CLI +\d+s\n$/);
  expect(JSON.parse(await kubectl(['get', 'invocations', 'run-1', '-o', 'json']))).toMatchObject({
    apiVersion: 'clrk.apoxy.dev/v1alpha1',
    status: { phase: 'Succeeded' },
  });
  expect(JSON.parse(await kubectl(['get', 'invocations.runtime.clrk.apoxy.dev', 'run-1', '-o', 'json']))).toMatchObject({
    apiVersion: 'runtime.clrk.apoxy.dev/v1alpha1',
  });
  expect(await refused(['create', '-f', '-'], JSON.stringify({ ...run1, apiVersion: 'clrk.apoxy.dev/v1alpha1' }))).toContain('MethodNotAllowed');
  const path = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents/summary/invoke';
  expect(await kubectl(['create', '--raw', path, '-f', '-'], '{"text":1}')).toBe('summary got {"text":1}');
  expect(await refused(['create', '--raw', path, '-f', '-'], '{}', viewer)).toContain('cannot create resource "taskagents/invoke"');
  expect(await kubectl(['api-resources', '--api-group=runtime.clrk.apoxy.dev', '-o', 'name'])).toBe('invocations.runtime.clrk.apoxy.dev\n');
  expect(await kubectl(['explain', 'invocation.status'])).toContain('phase');
});

test('Events: get, events --for, describe; leases', async () => {
  await kubectl(['apply', '-f', '-'], agent('told', 1));
  const { metadata } = JSON.parse(await kubectl(['get', 'ta', 'told', '-o', 'json'])) as { metadata: { uid: string } };
  const event = (name: string, involved: string, reason: string): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name },
      involvedObject: {
        apiVersion: 'clrk.apoxy.dev/v1alpha1',
        kind: 'TaskAgent',
        namespace: 'default',
        name: involved,
        ...(involved === 'told' && { uid: metadata.uid }),
      },
      reason,
      message: `because of ${reason}`,
      type: 'Warning',
      source: { component: 'test' },
      firstTimestamp: new Date().toISOString(),
      lastTimestamp: new Date().toISOString(),
      count: 3,
    });
  await kubectl(['create', '-f', '-'], event('told.1', 'told', 'OutOfLuck'));
  await kubectl(['create', '-f', '-'], event('other.1', 'other', 'Elsewhere'));
  const table = await kubectl(['get', 'events']);
  expect(table).toMatch(/^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n/);
  expect(table).toMatch(/^\d+s +Warning +OutOfLuck +taskagent\/told +because of OutOfLuck$/m);
  expect(await kubectl(['get', 'ev', '-o', 'wide'])).toMatch(/COUNT +NAME\n[^]* 3 +told\.1$/m);
  expect(await kubectl(['get', 'events.events.k8s.io', '--field-selector', 'regarding.name=told', '-o', 'name'])).toBe('event.events.k8s.io/told.1\n');
  const forOne = await kubectl(['events', '--for', 'taskagent/told']);
  expect(forOne).toContain('OutOfLuck');
  expect(forOne).not.toContain('Elsewhere');
  const described = await kubectl(['describe', 'ta', 'told']);
  expect(described).toMatch(/Events:\n +Type +Reason +Age +From +Message\n[^]*Warning +OutOfLuck +\S+ \(x3 over \S+\) +test +because of OutOfLuck/);
  expect(described).not.toContain('Elsewhere');
  const lease = 'apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: held}\nspec: {holderIdentity: one, leaseDurationSeconds: 15}\n';
  expect(await kubectl(['apply', '-f', '-'], lease)).toBe('lease.coordination.k8s.io/held created\n');
  expect(await kubectl(['get', 'lease'])).toMatch(/^NAME +HOLDER +AGE\nheld +one +\d+s\n$/);
});

test('malformed YAML names its line', async () => {
  const path = join(home, 'bad.yaml');
  writeFileSync(path, 'apiVersion: v1\nkind: ConfigMap\n\tmetadata: {}\n');
  expect(await refused(['apply', '-f', path])).toContain('line 3');
});

test('create namespace, secret and configmap, which kubectl sends as protobuf', async () => {
  expect(await kubectl(['create', 'namespace', 'made'])).toBe('namespace/made created\n');
  expect(await kubectl(['create', 'secret', 'generic', 'key', '--from-literal=token=s3cret', '-n', 'made'])).toBe('secret/key created\n');
  expect(await kubectl(['get', 'secret', 'key', '-n', 'made', '-o', 'jsonpath={.data.token}'])).toBe(Buffer.from('s3cret').toString('base64'));
  expect(await kubectl(['create', 'configmap', 'map', '--from-literal=a=1', '--from-literal=b=2', '-n', 'made'])).toBe('configmap/map created\n');
  expect(JSON.parse(await kubectl(['get', 'cm', 'map', '-n', 'made', '-o', 'json']))).toMatchObject({ data: { a: '1', b: '2' } });
  expect(await refused(['create', 'namespace', 'made'])).toContain('namespaces "made" already exists');
  await kubectl(['delete', 'namespace', 'made']);
});

test('auth can-i and whoami', async () => {
  expect(await kubectl(['auth', 'can-i', 'create', 'taskagents'])).toBe('yes\n');
  expect(await refused(['auth', 'can-i', 'create', 'taskagents'], '', viewer)).toContain('exit code 1'); // which is its no
  expect(await kubectl(['auth', 'can-i', 'list', 'taskagents'], '', viewer)).toBe('yes\n');
  expect(await kubectl(['auth', 'can-i', '--list'], '', viewer)).toContain('[get list watch]');
  expect(await kubectl(['auth', 'whoami'], '', viewer)).toMatch(/Username +viewer\n/);
});

test('scale, patch --type json, and apply on the server over an apply on the client', async () => {
  const pool = 'apiVersion: clrk.apoxy.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: wp}\nspec: {template: {image: i}}\n';
  await kubectl(['apply', '-f', '-'], pool);
  expect(await kubectl(['scale', 'workerpools/wp', '--replicas=3'])).toContain('workerpool.clrk.apoxy.dev/wp scaled\n');
  expect(await kubectl(['get', 'wp', 'wp', '-o', 'jsonpath={.spec.replicas}'])).toBe('3');
  expect(await refused(['scale', 'workerpools/wp', '--current-replicas=9', '--replicas=1'])).toContain('Expected replicas to be 9, was 3');
  expect(await kubectl(['patch', 'wp', 'wp', '--type', 'json', '-p', '[{"op":"replace","path":"/spec/replicas","value":2}]'])).toContain('wp patched');
  expect(await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], pool)).toContain('wp serverside-applied');
  const managed = JSON.parse(await kubectl(['get', 'wp', 'wp', '-o', 'json', '--show-managed-fields'])) as {
    metadata: { managedFields: { manager: string }[] };
  };
  expect(managed.metadata.managedFields.map(({ manager }) => manager)).not.toContain('kubectl-client-side-apply');
});

test('every kind can be made, listed by its short name and explained', async () => {
  const target = { group: 'clrk.apoxy.dev', kind: 'MCPRoute', name: 'r' };
  const parentRefs = [{ kind: 'EgressGateway', name: 'g' }];
  const specs: Readonly<Record<string, readonly [short: string, spec: object]>> = {
    DaemonAgent: ['da', { workerPoolRef: 'p', template: { spec: { image: 'i' } } }],
    MCPRoute: ['mcpr', { parentRefs, rules: [{}] }],
    EgressL4Route: ['el4r', { parentRefs, rules: [{ matches: [{ destinationCIDRs: ['10.0.0.0/8'] }] }] }],
    RateLimitPolicy: ['rlp', { requests: 1, window: '1s' }],
    EgressDenyPolicy: ['edp', { targetRef: target }],
    LoggingPolicy: ['lp', {}],
  };
  for (const [kind, [short, spec]] of Object.entries(specs)) {
    await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'clrk.apoxy.dev/v1alpha1', kind, metadata: { name: 'one' }, spec }));
    expect(await kubectl(['get', short, '-o', 'name'])).toContain(`${kind.toLowerCase()}.clrk.apoxy.dev/one`);
    expect(await kubectl(['explain', `${kind.toLowerCase()}.spec`])).toContain('FIELDS:');
  }
  expect(await kubectl(['get', 'rlp'])).toMatch(/^NAME +REQUESTS +WINDOW +SCOPE +AGE\none +1 +1s +PerAgent +\d+s\n$/);
});
