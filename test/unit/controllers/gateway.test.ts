import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  aiProviderRoutes,
  credentialInjectionPolicies,
  egressGateways,
  findCondition,
  gatewayCaSecret,
  secrets,
  type Condition,
  type EgressGateway,
} from '#api';
import { certificatesIn } from '#lib/x509';
import type { DesiredGateway, PolicySet } from '#model';
import { authorityOf } from './authorities.ts';
import { startCluster, type Cluster, type Recorder } from './cluster.ts';
import { conditionOf, eventually, gateway, policy, route, secret } from './objects.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await startCluster();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const served = (desired: Recorder, worker = '0'): DesiredGateway | undefined =>
  desired.egresses.get(worker)?.gateways.find((entry) => entry.gateway === 'default/gw');
const setOf = (entry: DesiredGateway): PolicySet => JSON.parse(entry.policySet) as PolicySet;
const states = (conditions: readonly Condition[] | undefined): string[] => (conditions ?? []).map(({ type, status, reason }) => `${type}=${status}/${reason}`);

test('whatever comes last, everything converges: policy, route, worker, gateway, Secret', async () => {
  const { client, desired } = cluster;
  await client.create(credentialInjectionPolicies, policy('cred', 'openai', 'key'));
  await eventually(client, credentialInjectionPolicies, 'cred', (object) =>
    states(object.status?.ancestors?.[0]?.conditions).includes('Accepted=False/TargetNotFound'),
  );
  await client.create(aiProviderRoutes, route('openai', 'gw'));
  await eventually(client, aiProviderRoutes, 'openai', (object) => states(object.status?.parents?.[0]?.conditions).includes('Accepted=False/NoMatchingParent'));
  desired.worker('0', {});
  await desired.until(() => desired.egresses.get('0'));
  expect(desired.egresses.get('0')).toEqual({ gateways: [] });

  await client.create(egressGateways, gateway('gw'));
  const first = await desired.until(() => served(desired));
  expect(setOf(first).aiRoutes[0]).toMatchObject({ route: { name: 'openai' }, credential: { missing: 'SecretNotFound', inject: { header: 'authorization' } } });
  expect(first.credentials).toEqual([]);
  const attached = await eventually(client, aiProviderRoutes, 'openai', (object) =>
    states(object.status?.parents?.[0]?.conditions).includes('Accepted=True/Accepted'),
  );
  expect(attached.status!.parents).toMatchObject([{ controllerName: 'clrk.apoxy.dev/egress-controller', parentRef: { name: 'gw' } }]);
  const unresolved = await eventually(client, credentialInjectionPolicies, 'cred', (object) =>
    states(object.status?.ancestors?.[0]?.conditions).includes('Accepted=True/Accepted'),
  );
  expect(states(unresolved.status!.ancestors![0]!.conditions)).toContain('ResolvedRefs=False/SecretNotFound');

  await client.create(secrets, secret('key', { token: 'Bearer real' }));
  const armed = await desired.until(() => (served(desired)?.credentials.length ? served(desired) : undefined));
  expect(armed.credentials).toEqual([{ name: 'cred:default/cred', value: 'Bearer real' }]);
  expect(armed.policySet).not.toContain('real');
  await eventually(client, credentialInjectionPolicies, 'cred', (object) =>
    states(object.status?.ancestors?.[0]?.conditions).includes('ResolvedRefs=True/ResolvedRefs'),
  );
  // A new value of the Secret alone is published at once.
  await client.patch(secrets, 'default', 'key', { stringData: { token: 'Bearer rotated' } });
  await desired.until(() => served(desired)?.credentials[0]?.value === 'Bearer rotated' || undefined);
});

test('a credential that a worker cannot inject is told by its policy, with the reason, until it can', async () => {
  const { client, desired } = cluster;
  await client.create(secrets, secret('key', { token: 'Bearer real' }));
  await client.create(aiProviderRoutes, route('openai', 'gw'));
  await client.create(credentialInjectionPolicies, policy('cred', 'openai', 'key'));
  const told = (state: string) =>
    eventually(client, credentialInjectionPolicies, 'cred', (object) => states(object.status?.ancestors?.[0]?.conditions).includes(`ResolvedRefs=${state}`));
  await told('True/ResolvedRefs');
  const say = (worker: string, ...reasons: readonly string[]) =>
    desired.egress(worker, [
      {
        gateway: 'default/gw',
        revision: '',
        since: 0,
        error: '',
        unavailable: [{ credential: 'cred:default/other', reason: 'TokenRefused' }, ...reasons.map((reason) => ({ credential: 'cred:default/cred', reason }))],
      },
    ]);
  say('0');
  say('1', 'TokenRefused');
  const { message } = findCondition((await told('False/TokenRefused')).status!.ancestors![0]!.conditions, 'ResolvedRefs')!;
  expect(message).toContain('worker 1 at gateway default/gw');
  say('1', 'TokenUnavailable');
  await told('False/TokenUnavailable');
  // It is being asked for: that passes.
  say('1', 'TokenPending');
  await told('True/ResolvedRefs');
  say('1', 'TokenRefused');
  await told('False/TokenRefused');
  desired.egress('1', undefined);
  await told('True/ResolvedRefs');
});

test('a gateway is Ready when every worker has acknowledged the wanted revision, and says so when one has not', async () => {
  const { client, desired } = cluster;
  await client.create(egressGateways, gateway('gw'));
  await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/GatewayNotProgrammed');
  desired.worker('0', {});
  const { revision } = setOf(await desired.until(() => served(desired)));
  const since = Date.parse('2026-01-02T03:04:05Z');
  desired.egress('0', [{ gateway: 'default/gw', revision, since, error: '' }]);
  const up = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'True/Programmed');
  expect(up.status).toMatchObject({
    listenerCount: 1,
    listeners: [{ name: 'tls', attachedRoutes: 0 }],
    programmed: [{ worker: '0', revision, time: '2026-01-02T03:04:05Z' }],
  });
  expect(conditionOf(up, 'Enforced')).toBe('True/Enforced');

  desired.egress('0', [{ gateway: 'default/gw', revision, since, error: 'Envoy does not run' }]);
  const down = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/GatewayNotProgrammed');
  expect(down.status!.conditions!.find(({ type }) => type === 'Ready')!.message).toContain('Envoy does not run');

  desired.egress('0', [{ gateway: 'default/gw', revision, since, error: '' }]);
  await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'True/Programmed');
  // A second worker that has not reported, then a new rule nobody has acknowledged, then a stream that ends.
  desired.worker('1', {});
  await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/GatewayNotProgrammed');
  desired.worker('1', undefined);
  await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'True/Programmed');
  desired.egress('0', undefined);
  const gone = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/GatewayNotProgrammed');
  expect(gone.status!.programmed).toEqual([]);
});

test('the root is made once, owned by its gateway; each worker gets an intermediate of its own that signs leaves only', async () => {
  const { client, desired } = cluster;
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', {});
  desired.worker('1', {});
  const [zero, one] = [await desired.until(() => served(desired, '0')), await desired.until(() => served(desired, '1'))];
  const stored = (await client.get(secrets, 'default', gatewayCaSecret('gw')))!;
  expect(stored.metadata.ownerReferences).toMatchObject([{ kind: 'EgressGateway', name: 'gw', controller: true }]);
  const root = new X509Certificate(zero.rootPem);
  expect(Buffer.from(stored.data!['tls.crt']!, 'base64').toString()).toBe(zero.rootPem);
  expect(one.rootPem).toBe(zero.rootPem);
  expect(one.intermediatePem).not.toBe(zero.intermediatePem);
  for (const { intermediatePem, intermediateKeyPem } of [zero, one]) {
    const intermediate = new X509Certificate(intermediatePem);
    expect(intermediate.ca && intermediate.verify(root.publicKey) && intermediate.checkIssued(root)).toBe(true);
    expect(intermediateKeyPem).toContain('BEGIN PRIVATE KEY');
    const days = (intermediate.validToDate.getTime() - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(6.9);
    expect(days).toBeLessThan(7.1);
    expect(intermediate.validFromDate.getTime()).toBeLessThan(Date.now() - 3_500_000);
  }
  const rootKey = Buffer.from(stored.data!['tls.key']!, 'base64').toString().split('\n')[1]!;
  expect(JSON.stringify([...desired.egresses.values(), ...desired.workers.values()])).not.toContain(rootKey);
  await desired.until(() => desired.workers.get('default/default')?.gateways[0]);
  expect(desired.workers.get('default/default')!.gateways).toEqual([{ gateway: 'default/gw', rootPems: [zero.rootPem] }]);

  // After a restart the same root serves, and the first snapshots are whole: a part would take things away.
  const again = await cluster.restart();
  await again.until(() => again.workers.get('default/default')?.gateways[0]);
  expect(again.workerHistory[0]!.gateways).toHaveLength(1);
  again.worker('0', {});
  const restarted = await again.until(() => again.egresses.get('0'));
  expect(again.history[0]).toBe(restarted);
  expect(restarted.gateways.map(({ rootPem }) => rootPem)).toEqual([zero.rootPem]);
});

test('a root Secret that is spoiled serves nothing, without hurting the other gateway', async () => {
  const { client, desired } = cluster;
  await client.create(secrets, { ...secret(gatewayCaSecret('bad'), { 'tls.crt': 'nonsense', 'tls.key': 'nonsense' }) });
  await client.create(egressGateways, gateway('bad'));
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', {});
  await desired.until(() => served(desired));
  await eventually(client, egressGateways, 'bad', (object) => conditionOf(object, 'Ready') === 'False/CertificateInvalid');
  expect(desired.egresses.get('0')!.gateways.map((entry) => entry.gateway)).toEqual(['default/gw']);
});

test('the trust bundle comes from its Secret; missing, it is a condition', async () => {
  const { client, desired } = cluster;
  await client.create(egressGateways, gateway('gw', { upstreamTLS: { additionalTrustBundleSecretRef: { name: 'extra' } } }));
  desired.worker('0', {});
  await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/SecretNotFound');
  const { rootPem } = await desired.until(() => served(desired));
  await client.create(secrets, secret('extra', { 'ca.crt': rootPem }));
  await desired.until(() => (setOf(served(desired)!).trustBundle.includes('BEGIN CERTIFICATE') ? true : undefined));
  await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/GatewayNotProgrammed');
});

test('fields of a gateway and a route that are not built are named, and admit nothing', async () => {
  const { client, desired } = cluster;
  await client.create(egressGateways, gateway('gw', { otlp: { endpoint: 'http://x' } }));
  await client.create(aiProviderRoutes, route('r', 'gw', { rules: [{ matches: [{ provider: 'openai' }], backendRefs: [{ name: 'x' }] }] }));
  desired.worker('0', {});
  await desired.until(() => {
    const entry = served(desired);
    const [only] = entry ? setOf(entry).aiRoutes : [];
    return only?.rules[0]?.notBuilt.includes('spec.rules[0].backendRefs') ? true : undefined;
  });
  const object = await eventually(client, egressGateways, 'gw', (candidate) => conditionOf(candidate, 'Enforced') === 'False/NotBuilt');
  expect(object.status!.conditions!.find(({ type }) => type === 'Enforced')!.message).toContain('spec.otlp');
  await eventually(client, aiProviderRoutes, 'r', (candidate) => states(candidate.status?.parents?.[0]?.conditions).includes('Enforced=False/NotBuilt'));
});

test('a deleted gateway is taken back at once; a status at rest is not written again', async () => {
  const { client, desired } = cluster;
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', {});
  const { revision } = setOf(await desired.until(() => served(desired)));
  desired.egress('0', [{ gateway: 'default/gw', revision, since: 1_000, error: '' }]);
  const { metadata } = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'True/Programmed');
  desired.egress('0', [{ gateway: 'default/gw', revision, since: 1_000, error: '' }]);
  desired.worker('0', { activeExecutions: 1 });
  await client.create(secrets, secret('unrelated', { a: 'b' }));
  await client.create(egressGateways, gateway('other'));
  await desired.until(() => (desired.egresses.get('0')!.gateways.length === 2 ? true : undefined));
  expect((await client.get(egressGateways, 'default', 'gw'))!.metadata.resourceVersion).toBe(metadata.resourceVersion);
  await client.delete(egressGateways, 'default', 'gw');
  await desired.until(() => (served(desired) === undefined ? true : undefined));
});

const listenerStates = (object: EgressGateway): Readonly<Record<string, string[]>> =>
  Object.fromEntries(
    (object.status?.listeners ?? []).map(({ name, conditions }) => [name, states(conditions).filter((state) => /^(?:ResolvedRefs|Conflicted)/.test(state))]),
  );
const terminating = (name: string, caCertRef?: object, port?: number) => ({
  name,
  protocol: 'TLS',
  ...(port && { port }),
  tls: { mode: 'Terminate', ...(caCertRef && { caCertRef }) },
});

test('an authority of the user signs for the gateway as soon as its Secret is there and usable; until then nothing is served', async () => {
  const { client, desired } = cluster;
  const root = await authorityOf({ kind: 'RSA' });
  const issuing = await authorityOf({ issuer: root });
  await client.create(egressGateways, gateway('gw', { listeners: [terminating('tls', { name: 'own' }), terminating('other', undefined, 8443)] }));
  desired.worker('0', {});
  const missing = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/SecretNotFound');
  expect(listenerStates(missing)).toEqual({
    tls: ['ResolvedRefs=False/SecretNotFound', 'Conflicted=False/NoConflicts'],
    other: ['ResolvedRefs=True/ResolvedRefs', 'Conflicted=False/NoConflicts'],
  });
  expect(desired.egresses.get('0')).toEqual({ gateways: [] });
  expect(desired.workers.get('default/default')?.gateways ?? []).toEqual([]);

  await client.create(secrets, secret('own', { 'tls.crt': issuing.certPem, 'tls.key': issuing.keyPem }));
  const spoiled = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/CertificateInvalid');
  expect(listenerStates(spoiled)['tls']).toContain('ResolvedRefs=False/CertificateInvalid');
  expect(findCondition(spoiled.status!.listeners![0]!.conditions, 'ResolvedRefs')!.message).toContain('ca.crt');
  expect(desired.egresses.get('0')).toEqual({ gateways: [] });

  await client.patch(secrets, 'default', 'own', { stringData: { 'ca.crt': root.certPem } });
  const { rootPem, intermediatePem } = await desired.until(() => served(desired));
  expect(new X509Certificate(rootPem).fingerprint256).toBe(new X509Certificate(root.certPem).fingerprint256);
  const chain = certificatesIn(intermediatePem).map((pem) => new X509Certificate(pem));
  expect(chain).toHaveLength(2);
  expect(chain[0]!.verify(chain[1]!.publicKey) && chain[1]!.verify(new X509Certificate(root.certPem).publicKey)).toBe(true);
  expect(await client.get(secrets, 'default', gatewayCaSecret('gw'))).toBeUndefined();
  const up = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/GatewayNotProgrammed');
  expect(listenerStates(up)['tls']).toEqual(['ResolvedRefs=True/ResolvedRefs', 'Conflicted=False/NoConflicts']);
});

test.each<[string, object, string]>([
  ['another namespace', { name: 'own', namespace: 'elsewhere' }, 'RefNotPermitted'],
  ['another kind', { name: 'own', kind: 'ConfigMap' }, 'InvalidKind'],
  ['another group', { name: 'own', group: 'clrk.apoxy.dev' }, 'InvalidKind'],
])('an authority of %s is refused', async (_, ref, reason) => {
  const { client, desired } = cluster;
  const root = await authorityOf();
  await client.create(secrets, secret('own', { 'tls.crt': root.certPem, 'tls.key': root.keyPem }));
  await client.create(egressGateways, gateway('gw', { listeners: [terminating('tls', ref)] }));
  desired.worker('0', {});
  const refused = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === `False/${reason}`);
  expect(listenerStates(refused)['tls']).toContain(`ResolvedRefs=False/${reason}`);
  expect(desired.egresses.get('0')).toEqual({ gateways: [] });
});

test('two authorities on one gateway are none, and the second listener names the first', async () => {
  const { client, desired } = cluster;
  for (const name of ['one', 'two']) {
    const root = await authorityOf();
    await client.create(secrets, secret(name, { 'tls.crt': root.certPem, 'tls.key': root.keyPem }));
  }
  const listeners = [
    terminating('a', { name: 'one' }),
    terminating('b', { name: 'two' }, 8443),
    { name: 'c', protocol: 'TLS', tls: { mode: 'Passthrough', caCertRef: { name: 'x' } } },
  ];
  await client.create(egressGateways, gateway('gw', { listeners }));
  desired.worker('0', {});
  const conflicted = await eventually(client, egressGateways, 'gw', (object) => conditionOf(object, 'Ready') === 'False/Conflicted');
  expect(listenerStates(conflicted)).toEqual({
    a: ['ResolvedRefs=True/ResolvedRefs', 'Conflicted=False/NoConflicts'],
    b: ['ResolvedRefs=True/ResolvedRefs', 'Conflicted=True/Conflicted'],
    c: ['ResolvedRefs=True/ResolvedRefs', 'Conflicted=False/NoConflicts'],
  });
  expect(findCondition(conflicted.status!.listeners![1]!.conditions, 'Conflicted')!.message).toContain('listener a names one');
  expect(desired.egresses.get('0')).toEqual({ gateways: [] });
  await client.patch(egressGateways, 'default', 'gw', {
    spec: { listeners: [listeners[0], { ...listeners[1], tls: { mode: 'Terminate', caCertRef: { name: 'one' } } }] },
  });
  await desired.until(() => served(desired));
});
