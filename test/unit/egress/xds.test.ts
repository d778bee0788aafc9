import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AsyncQueue, silentLogger, systemClock } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { connect, createRpcServer, status, type Client, type RpcServer } from '#wire';
import { AggregatedDiscoveryService, DeltaDiscoveryRequestSchema, type DeltaDiscoveryResponse } from '#wire/xds';
import type { PolicySet } from '#model';
import { Leaves } from '../../../src/egress/leaves.ts';
import { any } from '../../../src/egress/translate/envoy.ts';
import { Upstreams } from '../../../src/egress/upstreams.ts';
import type { JudgeContext } from '../../../src/egress/verdicts/judge.ts';
import { hourOf } from '../../../src/egress/verdicts/key.ts';
import { Verdicts } from '../../../src/egress/verdicts/verdicts.ts';
import { XdsNode, type NodeState } from '../../../src/egress/xds/node.ts';
import { xdsService } from '../../../src/egress/xds/server.ts';
import { snapshotOf, TYPE, type Snapshot } from '../../../src/egress/xds/snapshot.ts';

const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000 * 3) };
const root = await createAuthority({ subject: 'CN=root', ca: { pathLength: 1 }, ...valid });
const intermediate = await (await loadSigner(root)).issue({ subject: 'CN=int', ca: { pathLength: 0 }, ...valid });

/** A snapshot with a cluster and a credential for each name. */
const snapshot = (revision: string, names: readonly string[], value = 'secret', trustedCa = ''): Snapshot =>
  snapshotOf(
    revision,
    {
      clusters: names.map((name) => any('envoy.config.cluster.v3.Cluster', { name })),
      listeners: [any('envoy.config.listener.v3.Listener', { name: 'egress' })],
      routes: [any('envoy.config.route.v3.RouteConfiguration', { name: 'l7', response_headers_to_remove: names })],
      secrets: names.map((name) => `cred:${name}`),
    },
    { credentials: new Map(names.map((name) => [`cred:${name}`, value])), trustedCa },
  );

type Request = Parameters<
  AsyncQueue<{
    typeUrl?: string;
    node?: { id: string };
    resourceNamesSubscribe?: string[];
    resourceNamesUnsubscribe?: string[];
    initialResourceVersions?: Record<string, string>;
    responseNonce?: string;
    errorDetail?: { code: number; message: string };
  }>['push']
>[0];

/** An Envoy of the test, on a real stream. */
class FakeEnvoy {
  readonly #client: Client<typeof AggregatedDiscoveryService>;
  readonly #up = new AsyncQueue<Request>();
  readonly #abort = new AbortController();
  readonly #down: AsyncIterator<DeltaDiscoveryResponse>;
  constructor(socket: string) {
    const client = connect(AggregatedDiscoveryService, socket);
    this.#client = client;
    const down = new AsyncQueue<DeltaDiscoveryResponse>();
    this.#down = down[Symbol.asyncIterator]();
    // A call begins when its answers are read.
    void (async () => {
      for await (const response of client.deltaAggregatedResources(this.#up, { signal: this.#abort.signal })) down.push(response);
    })();
  }
  send(request: Request): void {
    this.#up.push(request);
  }
  async next() {
    const { value } = (await this.#down.next()) as { value: DeltaDiscoveryResponse };
    return {
      type: value.typeUrl,
      nonce: value.nonce,
      names: value.resources.map(({ name }) => name),
      versions: Object.fromEntries(value.resources.map(({ name, version }) => [name, version])),
      removed: value.removedResources,
      ttl: value.resources[0]?.ttl?.seconds,
    };
  }
  ack({ type, nonce }: { type: string; nonce: string }): void {
    this.send({ typeUrl: type, responseNonce: nonce });
  }
  nack({ type, nonce }: { type: string; nonce: string }, message: string): void {
    this.send({ typeUrl: type, responseNonce: nonce, errorDetail: { code: 13, message } });
  }
  close(): void {
    this.#abort.abort();
    this.#client.close();
  }
}

let server: RpcServer;
let socket: string;
let node: XdsNode;
let states: NodeState[];
let names: Record<string, 'admitted' | 'denied'>;
let leaves: Leaves;
let verdicts: Verdicts;
let policy: PolicySet | undefined;
/** The upstream resolver: tells the one who watches last. */
let resolve: ((...addresses: string[]) => void) | undefined;
/** The same, of a name that leads to nothing but forbidden addresses. */
let forbid: (problem: string) => void;
let disposed: string[];
const envoys: FakeEnvoy[] = [];

/** One agent, one name, one listener; `routes` = whether the name is admitted. */
const policyOf = (revision: string, admitted: boolean): PolicySet => ({
  gateway: { namespace: 'n', name: 'gw' },
  revision,
  defaultPolicy: 'deny-all',
  listeners: [{ name: 'tcp', shape: 'tcp' }],
  requestTimeoutMs: 1_000,
  lookupFamily: 'V4Only',
  hostAliases: [],
  trustBundle: '',
  aiRoutes: [],
  l4Routes: admitted
    ? [{ route: { namespace: 'n', name: 'db' }, createdAt: 1, listeners: ['tcp'], rules: [{ index: 0, matches: [{ hosts: ['db.example'] }] }] }]
    : [],
  mcpRoutes: [],
});
const contextOf = (set: PolicySet): JudgeContext => ({
  policy: set,
  credentials: { values: new Map(), unavailable: new Map() },
  own: [],
  agentOf: () => 'n/agent',
  isSynthetic: () => true,
  nameOf: () => 'db.example',
});
const keyAt = (port: number): string => `tcp/100.64.0.0/20/198.18.0.1:${port}/-/${hourOf(Date.now())}`;

beforeEach(async () => {
  const heard: NodeState[] = (states = []); // an earlier test's stream may end in this one
  names = {};
  leaves = new Leaves({ clock: systemClock, admit: (name) => names[name], onEvict: (name) => node.evict(name) });
  leaves.use(intermediate);
  resolve = undefined;
  const upstreams = new Upstreams((host, _, listener) => {
    resolve = (...addresses) => listener(addresses, '', '');
    forbid = (problem) => listener([], problem, 'ForbiddenAddress');
    return { [Symbol.dispose]: () => void disposed.push(host) };
  });
  disposed = [];
  policy = undefined;
  verdicts = new Verdicts({
    context: () => policy && contextOf(policy),
    serviceOf: (upstream) => upstreams.serviceOf(upstream),
    forbidden: (service) => upstreams.forbidden(service),
    flooded: () => {},
    clock: systemClock,
  });
  node = new XdsNode({
    leaves,
    verdicts,
    upstreams,
    turned: (service) => void node.change(verdicts.turned(service)),
    admitted: (name) => names[name] === 'admitted',
    onState: (state) => heard.push(state),
    clock: systemClock,
    log: silentLogger,
  });
  socket = join(mkdtempSync(join(tmpdir(), 'clrk-')), 'x.sock');
  server = createRpcServer().add(
    AggregatedDiscoveryService,
    xdsService((id) => (id === 'n/gw' ? node : undefined)),
  );
  await server.listen(socket);
});
afterEach(async () => {
  node[Symbol.dispose]();
  for (const envoy of envoys.splice(0)) envoy.close();
  await server[Symbol.asyncDispose]();
});

const start = (): FakeEnvoy => {
  const envoy = new FakeEnvoy(socket);
  envoys.push(envoy);
  return envoy;
};

/** Takes a first snapshot of one cluster as Envoy does. */
const takeAll = async (envoy: FakeEnvoy, cluster: string) => {
  envoy.send({ typeUrl: TYPE.cluster, node: { id: 'n/gw' } });
  const clusters = await envoy.next();
  expect(clusters).toMatchObject({ type: TYPE.cluster, names: [cluster], removed: [] });
  envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: [`cred:${cluster}`] });
  envoy.ack(clusters);
  const secrets = await envoy.next();
  expect(secrets).toMatchObject({ type: TYPE.secret, names: [`cred:${cluster}`] });
  envoy.send({ typeUrl: TYPE.listener });
  envoy.ack(secrets);
  const listeners = await envoy.next();
  expect(listeners).toMatchObject({ type: TYPE.listener, names: ['egress'] });
  envoy.ack(listeners);
  expect(states).toEqual([]);
  envoy.send({ typeUrl: TYPE.route, resourceNamesSubscribe: ['l7'] });
  const routes = await envoy.next();
  envoy.ack(routes);
  return { clusters, secrets, listeners, routes };
};

const state = async (wanted: Partial<NodeState>): Promise<void> => {
  while (!(node.state.revision === (wanted.revision ?? node.state.revision) && node.state.error.includes(wanted.error ?? ''))) await new Promise(setImmediate);
};

test('a revision is in force when everything of it is acknowledged, and not before', async () => {
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  await state({ revision: 'r1' });
  expect(states).toEqual([{ revision: 'r1', error: '' }]);
});

test('an update makes before it breaks: clusters and their secrets, then routes, then removals; only what changed is sent', async () => {
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  await state({ revision: 'r1' });
  node.set(snapshot('r2', ['b']));
  const clusters = await envoy.next();
  expect(clusters).toMatchObject({ type: TYPE.cluster, names: ['b'], removed: [] });
  envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: ['cred:b'] });
  envoy.ack(clusters);
  const secrets = await envoy.next();
  expect(secrets).toMatchObject({ type: TYPE.secret, names: ['cred:b'], removed: [] });
  envoy.ack(secrets);
  const routes = await envoy.next();
  expect(routes).toMatchObject({ type: TYPE.route, names: ['l7'] });
  envoy.ack(routes);
  const removal = await envoy.next();
  expect(removal).toMatchObject({ type: TYPE.cluster, names: [], removed: ['a'] });
  expect(node.state.revision).toBe('r1');
  envoy.ack(removal);
  await state({ revision: 'r2' });
});

test('what verdicts verify upstreams with is there when Envoy asks for it, also where no other cluster needs it, and from then on waited for', async () => {
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  await state({ revision: 'r1' });
  envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: ['ca:upstream'] });
  const asked = await envoy.next();
  expect(asked).toMatchObject({ type: TYPE.secret, names: ['ca:upstream'], removed: [] });
  envoy.ack(asked);
  node.set(snapshot('r2', ['a'], 'secret', 'another CA'));
  const changed = await envoy.next();
  expect(changed).toMatchObject({ type: TYPE.secret, names: ['ca:upstream'], removed: [] });
  expect(node.state.revision).toBe('r1');
  envoy.ack(changed);
  await state({ revision: 'r2' });
});

test('a rotated credential alone is one secret', async () => {
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  node.set(snapshot('r1', ['a'], 'rotated'));
  const secrets = await envoy.next();
  expect(secrets).toMatchObject({ type: TYPE.secret, names: ['cred:a'] });
});

test('a rejection is reported with its words, is not repeated, and a good version heals it; the old revision stays in force', async () => {
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  await state({ revision: 'r1' });
  node.set(snapshot('r2', ['a', 'bad']));
  const clusters = await envoy.next();
  envoy.nack(clusters, 'no such thing');
  await state({ revision: 'r1', error: 'bad: no such thing' });
  // Routes still go out: a change that denies must not wait for one that is broken.
  const routes = await envoy.next();
  expect(routes).toMatchObject({ type: TYPE.route, names: ['l7'] });
  envoy.ack(routes);
  node.set(snapshot('r3', ['a']));
  const healed = await envoy.next();
  expect(healed).toMatchObject({ type: TYPE.route });
  envoy.ack(healed);
  const removal = await envoy.next();
  expect(removal).toMatchObject({ type: TYPE.cluster, removed: ['bad'] });
  envoy.ack(removal);
  await state({ revision: 'r3', error: '' });
});

test('after a reconnect nothing Envoy has is sent again', async () => {
  node.set(snapshot('r1', ['a']));
  const first = start();
  const sent = await takeAll(first, 'a');
  await state({ revision: 'r1' });
  first.close();
  await state({ revision: '' });
  const again = start();
  again.send({ typeUrl: TYPE.cluster, node: { id: 'n/gw' }, initialResourceVersions: sent.clusters.versions });
  again.send({ typeUrl: TYPE.listener, initialResourceVersions: sent.listeners.versions });
  again.send({ typeUrl: TYPE.route, resourceNamesSubscribe: ['l7'], initialResourceVersions: sent.routes.versions });
  again.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: ['cred:a'], initialResourceVersions: sent.secrets.versions });
  await state({ revision: 'r1' });
  node.set(snapshot('r2', ['a', 'b']));
  expect(await again.next()).toMatchObject({ type: TYPE.cluster, names: ['b'] });
});

test('leaves: made when asked, refused at once, dropped on rejection and eviction, kept over a reconnect', async () => {
  names = { 'a.example': 'admitted', 'evil.example': 'denied' };
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: ['a.example'] });
  const leaf = await envoy.next();
  expect(leaf).toMatchObject({ type: TYPE.secret, names: ['a.example'] });
  expect(Number(leaf.ttl)).toBeGreaterThan(20 * 3600);
  envoy.ack(leaf);
  envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: ['evil.example'] });
  expect(Number((await envoy.next()).ttl)).toBe(3600);
  for (const name of ['other.example', 'A.EXAMPLE', 'cred:other/one', 'no-sni.invalid']) {
    envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: [name] });
    expect(await envoy.next()).toMatchObject({ names: [], removed: [name] });
  }
  // Asked again after a refusal: allowed by now.
  names['other.example'] = 'admitted';
  envoy.send({ typeUrl: TYPE.secret, resourceNamesSubscribe: ['other.example'] });
  const other = await envoy.next();
  expect(other).toMatchObject({ names: ['other.example'] });
  envoy.nack(other, 'bad certificate');
  expect(await envoy.next()).toMatchObject({ removed: ['other.example'] });
  node.evict('a.example');
  expect(await envoy.next()).toMatchObject({ removed: ['a.example'] });

  const again = start();
  names = { 'a.example': 'admitted', 'x.example': 'admitted' };
  const known = { 'a.example': leaf.versions['a.example']!, 'x.example': 'of-another-issuer.1' };
  again.send({ typeUrl: TYPE.secret, node: { id: 'n/gw' }, resourceNamesSubscribe: Object.keys(known), initialResourceVersions: known });
  expect(await again.next()).toMatchObject({ names: ['x.example'] });
});

test('verdicts: made when asked, with endpoints as the name resolves; a change of policy is in force when Envoy has the verdicts it changed', async () => {
  policy = policyOf('r1', true);
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  await state({ revision: 'r1' });
  const key = keyAt(5432);
  envoy.send({ typeUrl: TYPE.cluster, resourceNamesSubscribe: [key] });
  const verdict = await envoy.next();
  expect(verdict).toMatchObject({ type: TYPE.cluster, names: [key], removed: [] });
  envoy.ack(verdict);
  envoy.send({ typeUrl: TYPE.endpoint, resourceNamesSubscribe: ['up/db.example:5432'] });
  while (!resolve) await new Promise(setImmediate);
  resolve('192.0.2.1');
  const endpoints = await envoy.next();
  expect(endpoints).toMatchObject({ type: TYPE.endpoint, names: ['up/db.example:5432'] });
  envoy.ack(endpoints);
  resolve('192.0.2.1'); // the same: nothing is sent
  resolve('192.0.2.2');
  envoy.ack(await envoy.next());

  policy = policyOf('r2', false);
  const judged = verdicts.rejudge();
  expect([...judged.revoked]).toEqual([['100.64.0.0/20', new Set(['198.18.0.1:5432'])]]);
  void node.change(judged);
  node.set(snapshot('r2', ['a']));
  const denied = await envoy.next();
  expect(denied).toMatchObject({ type: TYPE.cluster, names: [key] });
  expect(node.state.revision).toBe('r1');
  envoy.ack(denied);
  await state({ revision: 'r2' });
  envoy.send({ typeUrl: TYPE.endpoint, resourceNamesUnsubscribe: ['up/db.example:5432'] });
  while (disposed.length === 0) await new Promise(setImmediate);

  // What cannot be judged is answered all the same: Envoy would wait for it.
  policy = undefined;
  envoy.send({ typeUrl: TYPE.cluster, resourceNamesSubscribe: [keyAt(1)] });
  expect(await envoy.next()).toMatchObject({ type: TYPE.cluster, names: [], removed: [keyAt(1)] });
});

test('a name that leads to forbidden addresses only: its verdict comes anew and says so before its endpoints, also later and back', async () => {
  policy = policyOf('r1', true);
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  const key = keyAt(5432);
  const service = 'up/db.example:5432';
  envoy.send({ typeUrl: TYPE.cluster, resourceNamesSubscribe: [key] });
  envoy.ack(await envoy.next());
  envoy.send({ typeUrl: TYPE.endpoint, resourceNamesSubscribe: [service] });
  while (!resolve) await new Promise(setImmediate);
  const both = async () => {
    const [verdict, endpoints] = [await envoy.next(), await envoy.next()];
    expect([verdict, endpoints]).toMatchObject([
      { type: TYPE.cluster, names: [key] },
      { type: TYPE.endpoint, names: [service] },
    ]);
    envoy.ack(verdict);
    envoy.ack(endpoints);
    return [verdict.versions[key], endpoints.versions[service]];
  };
  forbid('db.example resolves to 169.254.169.254');
  const first = await both();
  expect(verdicts.ask(key)!.version).toBe(first[0]);
  resolve('192.0.2.1');
  const allowed = await both();
  forbid('db.example resolves to 169.254.169.254');
  expect(await both()).toEqual(first);
  expect(allowed[0]).not.toBe(first[0]);
  // What is open goes to an address that was checked.
  expect(verdicts.rejudge()).toEqual({ changed: [], revoked: new Map() });
});

test('verdicts are no part of a snapshot: a change does not remove them, and after a reconnect those that still hold are not sent again', async () => {
  policy = policyOf('r1', true);
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  const sent = await takeAll(envoy, 'a');
  await state({ revision: 'r1' });
  const [held, changed] = [keyAt(1), keyAt(2)];
  envoy.send({ typeUrl: TYPE.cluster, resourceNamesSubscribe: [held, changed] });
  const both = await envoy.next();
  expect(both.names).toEqual([held, changed]);
  envoy.ack(both);
  node.set(snapshot('r2', ['b']));
  const clusters = await envoy.next();
  expect(clusters).toMatchObject({ names: ['b'], removed: [] });
  envoy.close();
  await state({ revision: '' });
  const again = start();
  const known = { ...sent.clusters.versions, ...both.versions, [changed]: 'older' };
  again.send({ typeUrl: TYPE.cluster, node: { id: 'n/gw' }, resourceNamesSubscribe: ['*', held, changed], initialResourceVersions: known });
  expect((await again.next()).names).toEqual([changed]);
  expect((await again.next()).names).toEqual(['b']);
});

test('an Envoy nobody knows is turned away', async () => {
  const client = connect(AggregatedDiscoveryService, socket);
  const up = new AsyncQueue<Request>();
  up.push({ typeUrl: TYPE.cluster, node: { id: 'n/other' } });
  await expect(client.deltaAggregatedResources(up)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: status.NOT_FOUND });
  client.close();
});

test('a verdict that Envoy refuses is taken away from it: the one before must not stay in force', async () => {
  policy = policyOf('r1', true);
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  await takeAll(envoy, 'a');
  envoy.send({ typeUrl: TYPE.cluster, resourceNamesSubscribe: [keyAt(5432)] });
  envoy.nack(await envoy.next(), 'no such thing');
  expect(await envoy.next()).toMatchObject({ type: TYPE.cluster, names: [], removed: [keyAt(5432)] });
});

test('after a restart of ours, what Envoy asked for before and is denied now is lost', async () => {
  policy = policyOf('r1', false);
  node.set(snapshot('r1', ['a']));
  const envoy = start();
  const key = keyAt(5432);
  envoy.send({ typeUrl: TYPE.cluster, node: { id: 'n/gw' }, resourceNamesSubscribe: [key], initialResourceVersions: { [key]: 'allowed' } });
  expect(await envoy.next()).toMatchObject({ type: TYPE.cluster, names: [key] });
  expect(verdicts.lost()).toEqual(new Map([['100.64.0.0/20', new Set(['198.18.0.1:5432'])]]));
});

test('a name that is no UTF-8, as a client can send it, is one of many: the others are read', () => {
  const request = { resourceNamesSubscribe: ['a.example', 'zz'], initialResourceVersions: { zz: '1' }, errorDetail: { message: 'zz' } };
  const bytes = toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, request));
  const sent = Buffer.from(Buffer.from(bytes).toString('latin1').replaceAll('zz', '\xff\xfe'), 'latin1');
  const read = fromBinary(DeltaDiscoveryRequestSchema, sent);
  expect(read).toMatchObject({ resourceNamesSubscribe: ['a.example', '\ufffd\ufffd'], initialResourceVersions: { '\ufffd\ufffd': '1' } });
});
