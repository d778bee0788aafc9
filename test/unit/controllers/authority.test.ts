import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { egressGateways, gatewayCaSecret, gatewaySigningSecret, ROTATE, secrets, type EgressGateway } from '#api';
import { silentLogger } from '#lib';
import { Authorities, type GatewayAuthority } from '../../../src/controllers/gateway/authority.ts';
import { AuthorityUnusable } from '../../../src/controllers/gateway/ca-secret.ts';
import { authorityOf, type AuthorityOptions } from './authorities.ts';
import { startCluster, type Cluster } from './cluster.ts';
import { gateway, secret } from './objects.ts';

/** Authorities against a real API server; who trusts what is said by the test. */

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let cluster: Cluster;
let now: number;
/** Fingerprints nobody waits for any more, as PEM. */
let trusted: Set<string>;
let signing: Set<string>;
let authorities: Authorities;

const start = (): void => {
  const waiting = (known: Set<string>) => (_: string, rootPem: string) =>
    known.has(rootPem) ? { sandboxes: 0, who: [] } : { sandboxes: 2, who: ['worker 0'] };
  const watch = { untrusting: waiting(trusted), unsigning: waiting(signing) };
  authorities = new Authorities({ client: cluster.client, clock: { now: () => now, monotonic: () => now }, log: silentLogger, watch });
};
beforeEach(async () => {
  cluster = await startCluster({ controllers: false });
  now = Date.now();
  [trusted, signing] = [new Set(), new Set()];
  start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const create = (spec: object = {}): Promise<EgressGateway> => cluster.client.create(egressGateways, gateway('gw', spec));
const ask = async (): Promise<GatewayAuthority> => {
  const object = (await cluster.client.get(egressGateways, 'default', 'gw'))!;
  const { items } = await cluster.client.list(secrets, { namespace: 'default' });
  return authorities.of(object, (name) => items.find(({ metadata }) => metadata.name === name));
};
const issue = async (worker = '0'): Promise<string> => (await (await ask()).intermediate(worker)).certPem;
const annotate = (value: string) => cluster.client.patch(egressGateways, 'default', 'gw', { metadata: { annotations: { [ROTATE]: value } } });
const isBelow = (certPem: string, rootPem: string): boolean => new X509Certificate(certPem).verify(new X509Certificate(rootPem).publicKey);
const setSecret = async (name: string, options: AuthorityOptions = {}): Promise<string> => {
  const root = await authorityOf(options);
  const data = secret(name, { 'tls.crt': root.certPem, 'tls.key': root.keyPem });
  await ((await cluster.client.get(secrets, 'default', name)) ? cluster.client.patch(secrets, 'default', name, data) : cluster.client.create(secrets, data));
  return new X509Certificate(root.certPem).toString();
};
const named = (name: string) => ({ listeners: [{ name: 'tls', protocol: 'TLS', tls: { mode: 'Terminate', caCertRef: { name } } }] });

/** From the old root to the new one, with a restart of controller-manager between any two steps. */
const followRotation = async (from: string, to: string): Promise<void> => {
  const expectPhase = async (phase: string | undefined, roots: readonly string[], signs: string): Promise<void> => {
    for (const restarted of [false, true]) {
      if (restarted) start();
      const state = await ask();
      expect(state.rotation?.phase).toBe(phase);
      expect(state.trusted).toEqual(roots);
      expect(state.rootPem).toBe(signs);
      expect(isBelow((await state.intermediate('0')).certPem, signs)).toBe(true);
    }
  };
  await expectPhase('Trusting', [from, to], from);
  expect((await ask()).rotation).toMatchObject({ to, sandboxes: 2, who: ['worker 0'] });
  trusted.add(to);
  await expectPhase('Signing', [from, to], to);
  signing.add(to);
  await expectPhase(undefined, [to], to);
};

test('an intermediate is kept for half of its 7 days and then replaced, below the same root', async () => {
  await create();
  const { rootPem } = await ask();
  const first = await issue();
  expect(await issue('1')).not.toBe(first);
  now += 3.4 * DAY;
  expect(await issue()).toBe(first);
  now += 0.2 * DAY;
  const second = new X509Certificate(await issue());
  expect(second.toString()).not.toBe(new X509Certificate(first).toString());
  expect(Math.abs(second.validToDate.getTime() - (now + 7 * DAY))).toBeLessThan(1_000);
  expect(Math.abs(second.validFromDate.getTime() - (now - HOUR))).toBeLessThan(1_000);
  expect(isBelow(second.toString(), rootPem)).toBe(true);
});

test('a clock that is set back before an intermediate began means a new one', async () => {
  await create();
  const first = await issue();
  now -= DAY;
  const second = new X509Certificate(await issue());
  expect(second.toString()).not.toBe(new X509Certificate(first).toString());
  expect(second.validFromDate.getTime()).toBeLessThan(now);
});

test('the annotation makes new intermediates at once, each value once; the root stays', async () => {
  await create();
  const [{ rootPem }, first] = [await ask(), await issue()];
  await annotate('monday');
  const second = await issue();
  expect(second).not.toBe(first);
  expect(await issue()).toBe(second);
  expect(await ask()).toMatchObject({ rootPem, trusted: [rootPem] });
  expect(isBelow(second, rootPem)).toBe(true);
});

test('the annotation with root- makes a new root, in phases; each value once', async () => {
  await create();
  const { rootPem } = await ask();
  await annotate('root-1');
  const { rotation } = await ask();
  await followRotation(rootPem, rotation!.to);
  expect((await ask()).rootPem).toBe(rotation!.to);
  expect((await cluster.client.get(secrets, 'default', gatewayCaSecret('gw')))!.metadata.annotations).toEqual({ [ROTATE]: 'root-1' });
  // The old key is nowhere any more.
  const { items } = await cluster.client.list(secrets, { namespace: 'default' });
  expect(items.map(({ metadata, data }) => [metadata.name, Object.keys(data!)])).toEqual([
    [gatewayCaSecret('gw'), ['tls.crt', 'tls.key']],
    [gatewaySigningSecret('gw'), ['tls.crt', 'tls.key', 'ca.crt']],
  ]);
});

test('a root Secret that is deleted, or replaced by a root of somebody else, changes the root in phases', async () => {
  await create();
  const first = (await ask()).rootPem;
  await cluster.client.delete(secrets, 'default', gatewayCaSecret('gw'));
  const second = (await ask()).rotation!.to;
  await followRotation(first, second);
  await followRotation(second, await setSecret(gatewayCaSecret('gw'), { kind: 'P-384' }));
});

test('so does another authority in the Secret of caCertRef, another caCertRef, and none', async () => {
  const first = await setSecret('one');
  await create(named('one'));
  expect((await ask()).rootPem).toBe(first);
  const second = await setSecret('one', { kind: 'RSA' });
  await followRotation(first, second);
  const third = await setSecret('two');
  await cluster.client.patch(egressGateways, 'default', 'gw', { spec: named('two') });
  await followRotation(second, third);
  await cluster.client.patch(egressGateways, 'default', 'gw', { spec: gateway('gw').spec as object });
  await followRotation(third, (await ask()).rotation!.to);
});

test('another key below the same root signs at once; a change that is taken back before anything signs is none', async () => {
  const root = await authorityOf();
  const put = async (issuing: { certPem: string; keyPem: string }): Promise<void> => {
    const data = secret('own', { 'tls.crt': issuing.certPem, 'tls.key': issuing.keyPem, 'ca.crt': root.certPem });
    await cluster.client.delete(secrets, 'default', 'own');
    await cluster.client.create(secrets, data);
  };
  const first = await authorityOf({ issuer: root });
  await put(first);
  await create(named('own'));
  const { rootPem } = await ask();
  await put(await authorityOf({ issuer: root }));
  const changed = await ask();
  expect(changed).toMatchObject({ rootPem, trusted: [rootPem] });
  expect(changed.rotation).toBeUndefined();
  expect(isBelow(await issue(), first.certPem)).toBe(false);

  const other = await authorityOf();
  await cluster.client.patch(secrets, 'default', 'own', { stringData: { 'tls.crt': other.certPem, 'tls.key': other.keyPem } });
  expect((await ask()).rotation?.phase).toBe('Trusting');
  await put(first);
  expect((await ask()).rotation).toBeUndefined();
  expect(isBelow(await issue(), first.certPem)).toBe(true);
});

test('a root of ours is replaced in its last 30 days; one that is void already, at once', async () => {
  await create();
  const { rootPem, notAfter } = await ask();
  now = notAfter - 31 * DAY;
  expect((await ask()).rotation).toBeUndefined();
  now = notAfter - 29 * DAY;
  const { rotation } = await ask();
  await followRotation(rootPem, rotation!.to);

  // Nobody confirms anything, but the root in force is over: its own sandboxes do not believe it any more either.
  now += 3_651 * DAY;
  const late = await ask();
  expect(late.rootPem).not.toBe(rotation!.to);
  expect(late.rotation?.phase).toBe('Signing');
});

test('intermediates never outlive what is above them', async () => {
  const notAfter = Math.floor((now + 2 * DAY) / 1000) * 1000;
  await setSecret('own', { notAfter });
  await create(named('own'));
  const first = await issue();
  expect(new X509Certificate(first).validToDate.getTime()).toBe(notAfter);
  now += 1.1 * DAY;
  expect(await issue()).not.toBe(first);
  now += DAY;
  await expect(ask()).rejects.toThrow(/ran out at/);
});

test('a Secret that goes away or is spoiled is said, and what signed goes on; without anything before, nothing signs', async () => {
  await create(named('own'));
  await expect(ask()).rejects.toMatchObject({ reason: 'SecretNotFound' });
  await cluster.client.create(secrets, secret('own', { 'tls.crt': 'x', 'tls.key': 'y' }));
  await expect(ask()).rejects.toThrow(AuthorityUnusable);
  const rootPem = await setSecret('own');
  const first = await issue();
  await cluster.client.patch(secrets, 'default', 'own', { stringData: { 'tls.key': 'y' } });
  expect(await ask()).toMatchObject({ rootPem, trusted: [rootPem], problem: { reason: 'CertificateInvalid' } });
  await cluster.client.delete(secrets, 'default', 'own');
  expect(await ask()).toMatchObject({ rootPem, problem: { reason: 'SecretNotFound' } });
  expect(await issue()).toBe(first);
  start();
  expect(await ask()).toMatchObject({ rootPem, problem: { reason: 'SecretNotFound' } });
  await expect(issue()).resolves.not.toBe(first);
  // What can never be is not served with what was before.
  await cluster.client.patch(egressGateways, 'default', 'gw', {
    spec: { listeners: [...named('own').listeners, { ...named('two').listeners[0], name: 'b' }] },
  });
  await expect(ask()).rejects.toMatchObject({ reason: 'Conflicted' });
});

test('what cannot be kept does not sign', async () => {
  await create();
  const { rootPem } = await ask();
  await cluster.client.delete(secrets, 'default', gatewayCaSecret('gw'));
  const to = (await ask()).rotation!.to;
  trusted.add(to);
  // Nobody can change it.
  const signingSecret = (await cluster.client.get(secrets, 'default', gatewaySigningSecret('gw')))!;
  await cluster.client.patch(secrets, 'default', gatewaySigningSecret('gw'), { immutable: true });
  const stuck = await ask();
  expect(stuck.rootPem).toBe(rootPem);
  expect(stuck.error).toBeDefined();
  await cluster.client.delete(secrets, 'default', signingSecret.metadata.name);
  expect(await ask()).toMatchObject({ rootPem: to, rotation: { phase: 'Signing' } });
});
