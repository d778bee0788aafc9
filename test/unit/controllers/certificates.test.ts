import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { egressGateways, findCondition, gatewayCaSecret, ROTATE, secrets } from '#api';
import { fingerprintOf, systemClock } from '#lib';
import type { DesiredGateway, TrustState } from '#model';
import { LOST_MS } from '../../../src/controllers/gateway/trust-watch.ts';
import { startCluster, type Cluster, type Recorder } from './cluster.ts';
import { conditionOf, eventually, gateway } from './objects.ts';

/** A change of a gateway's root as workers and users see it: the real controllers against a real API server. */

let cluster: Cluster;
/** Set ahead so that nobody has to wait for workers that may be there. */
let ahead: number;
beforeEach(async () => {
  ahead = 0;
  cluster = await startCluster({ clock: { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() + ahead } });
});
afterEach(() => cluster[Symbol.asyncDispose]());

const served = (desired: Recorder): DesiredGateway | undefined => desired.egresses.get('0')?.gateways.find((entry) => entry.gateway === 'default/gw');
const rootsOf = (desired: Recorder): readonly string[] | undefined =>
  desired.workers.get('default/default')?.gateways.find((entry) => entry.gateway === 'default/gw')?.rootPems;
const trust = (roots: readonly string[], sandboxes: number, current: boolean): TrustState => ({
  gateway: 'default/gw',
  roots: roots.map(fingerprintOf),
  sandboxes,
  current,
});
const isBelow = ({ intermediatePem, rootPem }: DesiredGateway): boolean => new X509Certificate(intermediatePem).verify(new X509Certificate(rootPem).publicKey);
const state = (type: string) => (object: Parameters<typeof conditionOf>[0]) => conditionOf(object, 'CertificateRotating') === type;

test('a new root is trusted first and signs when no older sandbox is left, over a restart of controller-manager', async () => {
  const { client } = cluster;
  let { desired } = cluster;
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', {});
  const { rootPem: old, policySet } = await desired.until(() => served(desired));
  const { revision } = JSON.parse(policySet) as { revision: string };
  const egress = (root: string): void => desired.egress('0', [{ gateway: 'default/gw', revision, since: 1_000, error: '', root: fingerprintOf(root) }]);
  await desired.until(() => rootsOf(desired));
  expect(rootsOf(desired)).toEqual([old]);
  await eventually(client, egressGateways, 'gw', state('False/RootInForce'));
  egress(old);
  desired.worker('0', { trust: [trust([old], 2, true)] });
  ahead += LOST_MS;

  await client.delete(secrets, 'default', gatewayCaSecret('gw'));
  const both = await desired.until(() => (rootsOf(desired)!.length === 2 ? rootsOf(desired) : undefined));
  expect(both[0]).toBe(old);
  const next = both[1]!;
  expect(served(desired)!.rootPem).toBe(old);
  desired.worker('0', { trust: [trust(both, 1, true), trust([old], 2, false)] });
  const waiting = await eventually(client, egressGateways, 'gw', (object) =>
    /2 older sandboxes/.test(findCondition(object.status?.conditions, 'CertificateRotating')?.message ?? ''),
  );
  expect(state('True/NewRootTrusted')(waiting)).toBe(true);
  expect(findCondition(waiting.status!.conditions, 'CertificateRotating')!.message).toContain(fingerprintOf(next).slice(0, 16));
  // What was enforced goes on being so.
  expect(conditionOf(waiting, 'Ready')).toBe('True/Programmed');

  desired = await cluster.restart();
  expect((await desired.until(() => rootsOf(desired)))!).toEqual(both);
  desired.worker('0', { trust: [trust(both, 1, true)] });
  egress(old);
  expect((await desired.until(() => served(desired)))!.rootPem).toBe(old);
  // A worker that has not found its way back may have older sandboxes.
  await eventually(client, egressGateways, 'gw', (object) =>
    /not reported/.test(findCondition(object.status?.conditions, 'CertificateRotating')?.message ?? ''),
  );
  expect(served(desired)!.rootPem).toBe(old);
  ahead += LOST_MS;
  const signs = await desired.until(() => (served(desired)!.rootPem === next ? served(desired) : undefined));
  expect(isBelow(signs)).toBe(true);
  expect(rootsOf(desired)).toEqual(both);
  await eventually(client, egressGateways, 'gw', state('True/NewRootSigning'));
  egress(next);
  await desired.until(() => (rootsOf(desired)!.length === 1 ? true : undefined));
  expect(rootsOf(desired)).toEqual([next]);
  const over = await eventually(client, egressGateways, 'gw', state('False/RootInForce'));
  expect(findCondition(over.status!.conditions, 'CertificateRotating')!.message).toContain(fingerprintOf(next));
});

test('the annotation is heard of without a change of the spec', async () => {
  const { client, desired } = cluster;
  await client.create(egressGateways, gateway('gw'));
  desired.worker('0', {});
  const first = await desired.until(() => served(desired));
  await client.patch(egressGateways, 'default', 'gw', { metadata: { annotations: { [ROTATE]: 'now' } } });
  const second = await desired.until(() => (served(desired)!.intermediatePem === first.intermediatePem ? undefined : served(desired)));
  expect(second.rootPem).toBe(first.rootPem);
  await client.patch(egressGateways, 'default', 'gw', { metadata: { annotations: { [ROTATE]: 'root-now' } } });
  await desired.until(() => (rootsOf(desired)?.length === 2 ? true : undefined));
  expect(cluster.requests('system:clrk:controller-manager').has('update secrets')).toBe(true);
});
