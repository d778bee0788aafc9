import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { gatewayCaSecret, type EgressGateway, type Secret } from '#api';
import { createClient } from '#kube';
import { silentLogger, type Clock } from '#lib';
import { createAuthority } from '#lib/x509';
import { Authorities } from '../../../src/controllers/gateway/authority.ts';
import { AuthorityUnusable } from '../../../src/controllers/gateway/ca-secret.ts';

const DAY = 86_400_000;
const start = Date.parse('2026-01-01T00:00:00Z');
const gateway = { metadata: { namespace: 'default', name: 'gw', uid: 'u' }, spec: { listeners: [] } } as unknown as EgressGateway;

const secretWith = (certPem: string, keyPem: string): Secret => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { namespace: 'default', name: gatewayCaSecret('gw') },
  data: { 'tls.crt': Buffer.from(certPem).toString('base64'), 'tls.key': Buffer.from(keyPem).toString('base64') },
});
const newRoot = () =>
  createAuthority({ subject: 'CN=root', ca: { pathLength: 1 }, notBefore: new Date(start - 365 * DAY), notAfter: new Date(start + 3_650 * DAY) });

const authoritiesAt = (clock: Clock): Authorities =>
  // The Secret is always given, so the API server is never asked.
  new Authorities({ client: createClient({ server: 'http://127.0.0.1:1' }), clock, log: silentLogger });

test('an intermediate is kept for half of its 7 days and then replaced; a new root means new intermediates', async () => {
  let now = start;
  const authorities = authoritiesAt({ now: () => now, monotonic: () => now });
  const root = await newRoot();
  const secret = secretWith(root.certPem, root.keyPem);
  const issue = async (worker: string, from = secret) => (await (await authorities.of(gateway, () => from)).intermediate(worker)).certPem;
  const first = await issue('0');
  expect(await issue('1')).not.toBe(first);
  now += 3.4 * DAY;
  expect(await issue('0')).toBe(first);
  now += 0.2 * DAY;
  const second = await issue('0');
  expect(second).not.toBe(first);
  expect(new X509Certificate(second).validToDate.getTime()).toBe(now + 7 * DAY);
  expect(new X509Certificate(second).validFromDate.getTime()).toBe(now - 3_600_000);

  const other = await newRoot();
  const third = new X509Certificate(await issue('0', secretWith(other.certPem, other.keyPem)));
  expect(third.verify(new X509Certificate(other.certPem).publicKey)).toBe(true);
});

test('a clock that is set back before an intermediate began means a new one', async () => {
  let now = start;
  const authorities = authoritiesAt({ now: () => now, monotonic: () => 0 });
  const root = await newRoot();
  const issue = async () => (await (await authorities.of(gateway, () => secretWith(root.certPem, root.keyPem))).intermediate('0')).certPem;
  const first = await issue();
  now -= DAY;
  const second = new X509Certificate(await issue());
  expect(second.toString()).not.toBe(new X509Certificate(first).toString());
  expect(second.validFromDate.getTime()).toBeLessThan(now);
});

test('a Secret that holds no matching authority is refused', async () => {
  const authorities = authoritiesAt({ now: () => start, monotonic: () => 0 });
  const [a, b] = [await newRoot(), await newRoot()];
  await expect(authorities.of(gateway, () => secretWith(a.certPem, b.keyPem))).rejects.toThrow(AuthorityUnusable);
  await expect(authorities.of(gateway, () => secretWith('', ''))).rejects.toThrow(/tls\.crt and tls\.key/);
  await expect(authorities.of(gateway, () => secretWith('x', 'y'))).rejects.toThrow(AuthorityUnusable);
});
