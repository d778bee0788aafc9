import { expect, test } from 'vitest';
import type { Clock } from '#lib';
import type { PolicySet } from '#model';
import { fromBinary } from '@bufbuild/protobuf';
import { ClusterSchema } from '../../../src/wire/gen/xds/envoy/config/cluster/v3/cluster_pb.js';
import { judge, type JudgeContext } from '../../../src/egress/verdicts/judge.ts';
import { hourOf, isVerdictName, keyFormat, parseVerdictKey, type VerdictKey } from '../../../src/egress/verdicts/key.ts';
import { Verdicts } from '../../../src/egress/verdicts/verdicts.ts';

const HOUR = 3_600_000;
const NOON = Date.UTC(2026, 10, 26, 12);

const policyOf = (change: Partial<PolicySet> = {}): PolicySet => ({
  gateway: { namespace: 'default', name: 'gw' },
  revision: 'r1',
  defaultPolicy: 'deny-all',
  listeners: [
    { name: 'tls', shape: 'tls-terminate', port: 443 },
    { name: 'web', shape: 'http', port: 80 },
    { name: 'pass', shape: 'tls-passthrough', port: 8443 },
    { name: 'tcp', shape: 'tcp' },
  ],
  requestTimeoutMs: 1000,
  lookupFamily: 'V4Only',
  hostAliases: [],
  trustBundle: '',
  aiRoutes: [],
  l4Routes: [
    {
      route: { namespace: 'default', name: 'db' },
      createdAt: 1,
      listeners: ['tls', 'web', 'pass', 'tcp'],
      rules: [{ index: 0, matches: [{ hosts: ['db.example.com'] }, { cidrs: ['203.0.113.0/24', '198.51.100.0/24'], ports: [{ from: 5432, to: 5432 }] }] }],
    },
  ],
  mcpRoutes: [],
  ...change,
});

const context = (policy: PolicySet = policyOf()): JudgeContext => ({
  policy,
  credentials: { values: new Map(), unavailable: new Map() },
  own: ['198.51.100.1'],
  agentOf: (block) => (block === '100.64.0.0/20' ? 'default/agent' : undefined),
  isSynthetic: (address) => address.startsWith('198.18.'),
  nameOf: (address) => (address === '198.18.0.1' ? 'db.example.com' : undefined),
});

const keyOf = (change: Partial<VerdictKey>): VerdictKey => ({
  kind: 'tcp',
  block: '100.64.0.0/20',
  address: '198.18.0.1',
  port: 5432,
  name: '',
  hour: '202633012',
  ...change,
});

test('a key is read as Envoy writes it, whatever a client puts into its name', () => {
  expect(parseVerdictKey('tls/100.64.16.0/20/198.18.0.5:443/api.example.com/202633012')).toEqual({
    kind: 'tls',
    block: '100.64.16.0/20',
    address: '198.18.0.5',
    port: 443,
    name: 'api.example.com',
    hour: '202633012',
  });
  expect(parseVerdictKey('tcp/100.64.16.0/20/198.18.0.5:5432/-/202633012')).toMatchObject({ kind: 'tcp', name: '' });
  // A name with slashes stays in the name.
  expect(parseVerdictKey('pass/100.64.16.0/20/198.18.0.5:443/x/100.64.0.0/20/1.2.3.4:1/y/202633012')).toMatchObject({
    block: '100.64.16.0/20',
    name: 'x/100.64.0.0/20/1.2.3.4:1/y',
  });
  for (const bad of [
    'tls',
    'ai/default/route/api.openai.com',
    'tls/100.64.16.0/20/198.18.0.5:443/x',
    'tls/100.64.16.0/20/999.18.0.5:443/x/202633012',
    'tls/100.64.16.0/20/1.2.3.4:99999/x/202633012',
  ])
    expect(parseVerdictKey(bad)).toBeUndefined();
  expect(isVerdictName('ai/x')).toBe(false);
  expect(keyFormat('tcp', '-')).toMatch(/^tcp\//);
});

test('the hour is that of Envoy: year, day of the year, hour, in UTC', () => {
  expect(hourOf(NOON)).toBe('202633012');
  expect(hourOf(Date.UTC(2026, 0, 1, 0, 59))).toBe('202600100');
});

test('allowed: to a name by our resolver, to an address as it was dialled, and inside TLS with the name to prove', () => {
  expect(judge(keyOf({}), context())).toMatchObject({ decision: { verdict: 'Allowed', handling: 'tcp' }, upstream: { host: 'db.example.com', port: 5432 } });
  expect(judge(keyOf({ address: '203.0.113.9' }), context())).toMatchObject({
    decision: { verdict: 'Allowed' },
    upstream: { address: '203.0.113.9', port: 5432 },
  });
  expect(judge(keyOf({ kind: 'tls', port: 443, name: 'db.example.com' }), context())).toMatchObject({
    decision: { verdict: 'Allowed', handling: 'terminate' },
    serverName: 'db.example.com',
  });
  expect(judge(keyOf({ kind: 'pass', port: 8443, name: 'db.example.com' }), context())).toMatchObject({
    decision: { verdict: 'Allowed', handling: 'passthrough' },
  });
  expect(judge(keyOf({ kind: 'http', port: 80, name: 'db.example.com' }), context())).toMatchObject({ decision: { verdict: 'Allowed', handling: 'http' } });
});

test.each([
  ['a block nobody has', keyOf({ block: '100.64.16.0/20' }), 'NotClaimed'],
  ['an address of ours that was never given out', keyOf({ address: '198.18.0.9' }), 'UnknownAddress'],
  ['a Host that is not the name of the address', keyOf({ kind: 'http', port: 80, name: 'other.example.com' }), 'HostMismatch'],
  ['a Host that is another spelling of it', keyOf({ kind: 'http', port: 80, name: 'db.example.com:81' }), 'HostMismatch'],
  ['no server name', keyOf({ kind: 'tls', port: 443 }), 'AddressMismatch'],
  ['another server name', keyOf({ kind: 'tls', port: 443, name: 'evil.example.com' }), 'AddressMismatch'],
  ['another server name, passed through', keyOf({ kind: 'pass', port: 8443, name: 'evil.example.com' }), 'ServerNameMismatch'],
  ['a server name that is none', keyOf({ kind: 'pass', port: 8443, name: 'db.example.com\u0000.evil' }), 'InvalidName'],
  ['a server name that is an address', keyOf({ kind: 'pass', port: 8443, name: '203.0.113.9' }), 'InvalidName'],
  ['the worker itself', keyOf({ address: '198.51.100.1' }), 'ForbiddenAddress'],
  ['an address nothing names', keyOf({ address: '203.0.113.9', port: 22 }), 'NoRoute'],
  ['the chain of another listener', keyOf({ kind: 'tcps', port: 443, name: 'db.example.com' }), 'ListenerMismatch'],
])('denied: %s', (_, key, reason) => {
  const judged = judge(key, context());
  expect(judged.decision).toMatchObject({ verdict: 'Denied', reason });
  expect(judged.upstream).toBeUndefined();
});

const floods: string[] = [];
const flooded = (block: string): void => void floods.push(block);

const clockAt = (now: () => number): Clock => ({ now, monotonic: now });

const metadataOf = (resource: { readonly body: { readonly value: Uint8Array } }): Record<string, unknown> =>
  fromBinary(ClusterSchema, resource.body.value).metadata!.filterMetadata['clrk'] as Record<string, unknown>;

const TCP = 'tcp/100.64.0.0/20/198.18.0.1:5432/-/202633012';

test('a change of policy changes the verdicts that differ, keeps the revision of the others, and says who lost something', () => {
  let policy = policyOf();
  const verdicts = new Verdicts({
    context: () => context(policy),
    forbidden: () => '',
    serviceOf: ({ host, port }) => `up/${host}:${port}`,
    flooded: () => {},
    clock: clockAt(() => NOON),
  });
  const http = 'http/100.64.0.0/20/198.18.0.1:80/db.example.com/202633012';
  const before = verdicts.ask(TCP)!;
  verdicts.ask(http);
  expect(before.service).toBe('up/db.example.com:5432');
  expect(metadataOf(before)).toMatchObject({ verdict: 'Allowed', revision: 'r1', route: 'EgressL4Route/default/db', host: 'db.example.com' });
  policy = policyOf({ revision: 'r2' });
  expect(verdicts.rejudge()).toEqual({ changed: [], revoked: new Map() });
  expect(verdicts.ask(TCP)).toBe(before);
  policy = policyOf({ revision: 'r3', listeners: policy.listeners.filter(({ name }) => name !== 'tcp') });
  const { changed, revoked } = verdicts.rejudge();
  expect(changed.map(({ name }) => name)).toEqual([TCP]);
  expect(revoked).toEqual(new Map([['100.64.0.0/20', new Set(['198.18.0.1:5432'])]]));
  expect(changed[0]!.resource.service).toBeUndefined();
  expect(metadataOf(changed[0]!.resource)).toMatchObject({ verdict: 'Denied', revision: 'r3', status: '403' });
});

test('verdicts of an agent are bounded, those of an hour that is over are forgotten, and without policy there is none', () => {
  let now = NOON;
  let policy: PolicySet | undefined = policyOf();
  const verdicts = new Verdicts({
    context: () => policy && context(policy),
    forbidden: () => '',
    serviceOf: ({ host }) => `up/${host}`,
    flooded,
    clock: clockAt(() => now),
    maxOfBlock: 2,
  });
  const at = (port: number, hour = '202633012') => `tcp/100.64.0.0/20/198.18.0.1:${port}/-/${hour}`;
  expect(verdicts.ask(at(1))).toBeDefined();
  expect(verdicts.ask(at(2))).toBeDefined();
  floods.length = 0;
  expect(verdicts.ask(at(3))).toBeUndefined();
  expect(floods).toEqual(['100.64.0.0/20']);
  expect(verdicts.ask(at(1))).toBeDefined();
  now += HOUR + 30_000;
  expect(verdicts.expire()).toEqual([]);
  now += 60_000;
  expect([...verdicts.expire()].sort()).toEqual([at(1), at(2)]);
  expect(verdicts.ask(at(3, '202633013'))).toBeDefined();
  expect(verdicts.ask('tcp/not a key')).toBeUndefined();
  policy = undefined;
  expect(verdicts.ask(at(4, '202633013'))).toBeUndefined();
});

const deniedAll = (): PolicySet => policyOf({ revision: 'r2', l4Routes: [] });

test('what was let through in an hour that is over is lost by a denial like everything else, once', () => {
  let [now, policy] = [NOON, policyOf()];
  const verdicts = new Verdicts({
    flooded,
    context: () => context(policy),
    forbidden: () => '',
    serviceOf: ({ host }) => `up/${host}`,
    clock: clockAt(() => now),
  });
  verdicts.ask(TCP);
  verdicts.ask('tcp/100.64.0.0/20/203.0.113.9:22/-/202633012'); // denied, so nothing of it is open
  now += HOUR + 90_000;
  expect(verdicts.expire()).toHaveLength(2);
  expect(verdicts.rejudge().revoked).toEqual(new Map());
  policy = deniedAll();
  expect(verdicts.rejudge({ block: '100.64.16.0/20' }).revoked).toEqual(new Map());
  expect(verdicts.rejudge().revoked).toEqual(new Map([['100.64.0.0/20', new Set(['198.18.0.1:5432'])]]));
  expect(verdicts.rejudge().revoked).toEqual(new Map());
});

test('so is what an earlier egress let through, and what its address stood for when that is another name now', () => {
  let policy = policyOf();
  let name = 'db.example.com';
  const verdicts = new Verdicts({
    context: () => ({ ...context(policy), nameOf: () => name }),
    forbidden: () => '',
    serviceOf: ({ host }) => `up/${host}`,
    flooded,
    clock: clockAt(() => NOON),
  });
  verdicts.resume([TCP, 'tcp/100.64.0.0/20/198.18.0.2:5432/-/202633001', 'tcp/100.64.0.0/20/203.0.113.9:22/-/202633012', 'not a key']);
  // Denied from the first, and no reason to end what is allowed to the same destination.
  verdicts.resume(['tcps/100.64.0.0/20/198.18.0.1:5432/evil.example/202633012']);
  expect(verdicts.lost()).toEqual(new Map([['100.64.0.0/20', new Set(['203.0.113.9:22'])]]));
  name = 'other.example.com';
  expect(verdicts.lost()).toEqual(new Map([['100.64.0.0/20', new Set(['198.18.0.1:5432', '198.18.0.2:5432'])]]));
  policy = deniedAll();
  expect(verdicts.rejudge().revoked).toEqual(new Map());
});

test('a key of another hour has no verdict: it would take the place of one that is used', () => {
  const verdicts = new Verdicts({ flooded, context, forbidden: () => '', serviceOf: ({ host }) => `up/${host}`, clock: clockAt(() => NOON), maxOfBlock: 1 });
  expect(verdicts.ask(TCP.replace('/202633012', '/202633010'))).toBeUndefined();
  expect(verdicts.ask(TCP)).toBeDefined();
});

test('an address that stands for another name now: its verdicts change, and what is open goes to the wrong one', () => {
  let name = 'db.example.com';
  const l4Routes = [{ ...policyOf().l4Routes[0]!, rules: [{ index: 0, matches: [{ hosts: ['*.example.com'] }] }] }];
  const verdicts = new Verdicts({
    context: () => ({ ...context(policyOf({ l4Routes })), nameOf: () => name }),
    forbidden: () => '',
    serviceOf: ({ host }) => `up/${host}`,
    flooded,
    clock: clockAt(() => NOON),
  });
  expect(verdicts.ask(TCP)!.service).toBe('up/db.example.com');
  name = 'other.example.com';
  expect(verdicts.rejudge({ address: '198.18.0.2' })).toEqual({ changed: [], revoked: new Map() });
  const { changed, revoked } = verdicts.rejudge({ address: '198.18.0.1' });
  expect(changed).toMatchObject([{ name: TCP, resource: { service: 'up/other.example.com' } }]);
  expect(revoked).toEqual(new Map([['100.64.0.0/20', new Set(['198.18.0.1:5432'])]]));
});

test('a verdict that holds trusted roots counts for eight, for its agent and for all', () => {
  const options = {
    context: () => context(),
    forbidden: () => '',
    serviceOf: ({ host }: { host: string }) => `up/${host}`,
    flooded,
    clock: clockAt(() => NOON),
  };
  const key = (kind: string, block: string, port: number) => `${kind}/${block}/198.18.0.1:${port}/db.example.com/202633012`;
  const agent = new Verdicts({ ...options, maxOfBlock: 17 });
  expect([1, 2, 3].map((port) => agent.ask(key('tls', '100.64.0.0/20', port)) !== undefined)).toEqual([true, true, false]);
  expect([1, 2].map((port) => agent.ask(key('pass', '100.64.0.0/20', port)) !== undefined)).toEqual([true, false]);
  const all = new Verdicts({ ...options, max: 9 });
  expect(['100.64.0.0/20', '100.64.16.0/20'].map((block) => all.ask(key('tls', block, 1)) !== undefined)).toEqual([true, false]);
  expect(all.ask(key('pass', '100.64.16.0/20', 1))).toBeDefined();
});
