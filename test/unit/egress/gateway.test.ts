import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger, systemClock } from '#lib';
import { workerLayout, type DesiredGateway, type PolicySet } from '#model';
import type { DeltaDiscoveryRequest, DeltaResponse } from '#wire/xds';
import { Gateway } from '../../../src/egress/gateway.ts';
import { UdpRelays } from '../../../src/egress/steering/index.ts';
import { hourOf } from '../../../src/egress/verdicts/key.ts';
import { TYPE } from '../../../src/egress/xds/snapshot.ts';

const setOf = (revision: string, hosts: readonly string[]): PolicySet => ({
  gateway: { namespace: 'n', name: 'gw' },
  revision,
  defaultPolicy: 'deny-all',
  listeners: [{ name: 'tcp', shape: 'tcp' }],
  requestTimeoutMs: 1_000,
  lookupFamily: 'V4Only',
  hostAliases: [],
  trustBundle: '',
  aiRoutes: [],
  l4Routes: [{ route: { namespace: 'n', name: 'db' }, createdAt: 1, listeners: ['tcp'], rules: [{ index: 0, matches: [{ hosts }] }] }],
  mcpRoutes: [],
});
const pem = (text: string): string => `-----BEGIN CERTIFICATE-----\n${Buffer.from(text).toString('base64')}\n-----END CERTIFICATE-----\n`;
const desired = (set: PolicySet, more: Partial<DesiredGateway> = {}): DesiredGateway => ({
  gateway: 'n/gw',
  policySet: JSON.stringify(set),
  rootPem: pem('root'),
  intermediatePem: pem('intermediate'),
  intermediateKeyPem: 'key',
  credentials: [],
  ...more,
});

let gateway: Gateway;
let failing: boolean;
/** Why no name leads anywhere; undefined = nobody answers. */
let silent: string | undefined;
let told: (() => void) | undefined;
let sent: DeltaResponse[];
beforeEach(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'gw-'));
  const at = workerLayout(dir, dir, '0');
  mkdirSync(at.names, { recursive: true });
  const relays = await UdpRelays.open(join(dir, 'relays.json'));
  failing = false;
  silent = told = undefined;
  gateway = await Gateway.open({
    name: 'n/gw',
    index: 0,
    at,
    roots: '',
    upstream: {
      watch: (_host, _wanted, listener) => {
        if (silent !== undefined) listener([], silent, 'NameNotFound');
        return { [Symbol.dispose]() {} };
      },
    },
    agentOf: () => 'n/agent',
    relays: {
      assign: async (...args: Parameters<UdpRelays['assign']>) => {
        if (failing) throw new Error('no room on the disk');
        return relays.assign(...args);
      },
      of: (...args: Parameters<UdpRelays['of']>) => relays.of(...args),
    } as UdpRelays,
    steer: async () => {},
    clock: systemClock,
    log: silentLogger,
    changed: () => told?.(),
    flooded: () => {},
    revoked: () => {},
  });
  sent = [];
});
afterEach(() => gateway[Symbol.dispose]());

test('what is wanted already is not worked out again; any part of it that differs is, and so is what failed', async () => {
  const first = desired(setOf('r1', ['db.example']));
  await gateway.apply(first);
  const { policy } = gateway;
  await gateway.apply({ ...first });
  expect(gateway.policy).toBe(policy);
  for (const other of [
    desired(setOf('r2', ['db.example', 'db2.example'])),
    { ...first, rootPem: pem('another root') },
    { ...first, intermediatePem: pem('another') },
    { ...first, intermediateKeyPem: 'another' },
    { ...first, credentials: [{ name: 'cred:n/c', value: 'rotated' }] },
    first,
  ]) {
    const before = gateway.policy;
    await gateway.apply(other);
    expect(gateway.policy).not.toBe(before);
  }
  failing = true;
  const next = desired(setOf('r3', []));
  await expect(gateway.apply(next)).rejects.toThrow('no room');
  const failed = gateway.policy;
  failing = false;
  await gateway.apply(next);
  expect(gateway.policy).not.toBe(failed);
  // Half of another one was taken: the one before is not what is there.
  failing = true;
  await expect(gateway.apply(first)).rejects.toThrow('no room');
  failing = false;
  await gateway.apply(next);
  expect(gateway.policy).toMatchObject({ revision: 'r3' });
});

test('a credential that is not there yet is told with the state', async () => {
  const inject = { kind: 'GCPServiceAccount' } as const;
  const set: PolicySet = { ...setOf('r1', []), credential: { policy: 'n/c', credential: 'cred:n/c', inject } };
  const key = { email: 'a', privateKey: 'k', tokenUri: 'https://oauth2.googleapis.com/token' };
  await gateway.apply(desired(set, { credentials: [{ name: 'cred:n/c', value: JSON.stringify(key) }] }));
  expect(gateway.state).toMatchObject({ gateway: 'n/gw', unavailable: [{ credential: 'cred:n/c', reason: 'TokenPending' }] });
  await gateway.apply(desired(setOf('r2', [])));
  expect(gateway.state.unavailable).toEqual([]);
  // Where nobody can be asked, that is said as soon as it is known.
  silent = 'there is no such name';
  await new Promise<void>((resolve) => {
    told = () => gateway.state.unavailable?.[0]?.reason === 'TokenUnavailable' && resolve();
    void gateway.apply(desired({ ...set, revision: 'r3' }, { credentials: [{ name: 'cred:n/c', value: JSON.stringify(key) }] }));
  });
});

test('a verdict that is another one is sent before the rest of the revision is worked out', async () => {
  await gateway.apply(desired(setOf('r1', ['db.example'])));
  const connection = gateway.node.connect((response) => sent.push(response));
  const ask = (typeUrl: string, ...names: readonly string[]): void =>
    connection.handle({
      typeUrl,
      resourceNamesSubscribe: [...names],
      resourceNamesUnsubscribe: [],
      initialResourceVersions: {},
      responseNonce: '',
    } as unknown as DeltaDiscoveryRequest);
  const address = (await gateway.addressOf('db.example', 'demo/reader'))!;
  const key = `tcp/100.64.0.0/20/${address}:5432/-/${hourOf(Date.now())}`;
  ask(TYPE.cluster, key);
  sent.length = 0;

  failing = true; // the rest never comes
  await expect(gateway.apply(desired(setOf('r2', ['other.example'])))).rejects.toThrow('no room');
  expect(sent.flatMap(({ typeUrl, resources }) => (resources ?? []).map(({ name }) => [typeUrl, name]))).toEqual([[TYPE.cluster, key]]);
  expect(gateway.node.state.revision).toBe('');
});
