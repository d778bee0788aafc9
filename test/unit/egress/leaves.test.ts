import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { createAuthority, loadSigner } from '#lib/x509';
import { isLeafName, Leaves } from '../../../src/egress/leaves.ts';

const HOUR = 3_600_000;
let now = Date.now();
const clock = { now: () => now, monotonic: () => now };
const valid = { notBefore: new Date(now - HOUR), notAfter: new Date(now + 96 * HOUR) };
const root = await createAuthority({ subject: 'CN=root', ca: { pathLength: 1 }, ...valid });
const intermediateOf = async (name: string) => (await loadSigner(root)).issue({ subject: `CN=${name}`, ca: { pathLength: 0 }, ...valid });
const intermediate = await intermediateOf('one');

const make = (names: Record<string, 'admitted' | 'denied'>, max?: number) => {
  const evicted: string[] = [];
  const leaves = new Leaves({ clock, admit: (name) => names[name], onEvict: (name) => evicted.push(name), ...(max ? { max } : {}) });
  leaves.use(intermediate);
  return { leaves, evicted };
};

test('a leaf names exactly its host, lasts a day and chains to the root', async () => {
  const { leaves } = make({ 'api.example.com': 'admitted' });
  const leaf = (await leaves.get('api.example.com'))!;
  const [own, issuer] = leaf.chainPem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g)!.map((pem) => new X509Certificate(pem));
  expect(own!.subjectAltName).toBe('DNS:api.example.com');
  expect(own!.subject).toBeFalsy();
  expect(own!.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']); // serverAuth
  expect(own!.ca).toBe(false);
  expect(own!.serialNumber).toMatch(/^[1-7]/);
  expect(own!.checkIssued(issuer!) && own!.verify(issuer!.publicKey)).toBe(true);
  expect(issuer!.checkIssued(new X509Certificate(root.certPem))).toBe(true);
  const [from, to] = [Date.parse(own!.validFrom), Date.parse(own!.validTo)];
  expect(now - from).toBeGreaterThanOrEqual(HOUR - 1000);
  expect(to - from).toBeLessThanOrEqual(24 * HOUR + 1000);
  expect(own!.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
});

test('nothing but an admitted or denied canonical name has a leaf', async () => {
  const everything = new Leaves({ clock, admit: () => 'admitted', onEvict: () => {} });
  expect(await everything.get('api.example.com')).toBeUndefined(); // without an intermediate
  everything.use(intermediate);
  const bad = [
    'API.example.com',
    'api.example.com.',
    'no-sni.invalid',
    '203.0.113.1',
    '0x7f.1',
    '[::1]',
    'a_b.example',
    'a b',
    'cred:x/y',
    'ca:upstream',
    '',
    `${'a.'.repeat(127)}com`,
    'api.example.com:443',
    'ex\u00e4mple.com',
  ];
  for (const name of bad) {
    expect([name, isLeafName(name)]).toEqual([name, false]);
    expect(await everything.get(name)).toBeUndefined();
  }
  const { leaves } = make({});
  expect(await leaves.get('other.example')).toBeUndefined();
});

test('one leaf for concurrent questions, and a new one before the old ends', async () => {
  const { leaves } = make({ 'a.example': 'admitted' });
  const [one, two] = await Promise.all([leaves.get('a.example'), leaves.get('a.example')]);
  expect(one).toBe(two);
  expect(leaves.isCurrent('a.example', one!.version)).toBe(true);
  now += 22 * HOUR;
  expect(leaves.isCurrent('a.example', one!.version)).toBe(false);
  expect((await leaves.get('a.example'))!.version).not.toBe(one!.version);
});

test('too many: denied names go first, then the oldest', async () => {
  const { leaves, evicted } = make({ 'a.example': 'admitted', 'b.example': 'denied', 'c.example': 'admitted', 'd.example': 'admitted' }, 2);
  for (const name of ['a.example', 'b.example', 'c.example', 'd.example']) await leaves.get(name);
  expect(evicted).toEqual(['b.example', 'a.example']);
});

test('a new intermediate drops what the old one signed', async () => {
  const { leaves, evicted } = make({ 'a.example': 'admitted' });
  const old = (await leaves.get('a.example'))!;
  leaves.use(await intermediateOf('two'));
  expect(evicted).toEqual(['a.example']);
  expect(leaves.isCurrent('a.example', old.version)).toBe(false);
  expect((await leaves.get('a.example'))!.chainPem).not.toContain(intermediate.certPem);
});

test('after the clock was set no leaf that is not valid is given out, and Envoy forgets it', async () => {
  const set = now;
  for (const by of [-2 * HOUR, 30 * HOUR]) {
    now = set;
    const { leaves, evicted } = make({ 'a.example': 'admitted', 'b.example': 'admitted' });
    const [a, b] = [(await leaves.get('a.example'))!, (await leaves.get('b.example'))!];
    leaves.check();
    expect(evicted).toEqual([]);
    now = set + by;
    expect(leaves.isCurrent('a.example', a.version)).toBe(false);
    const again = (await leaves.get('a.example'))!;
    expect(again.version).not.toBe(a.version);
    const [own] = again.chainPem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g)!.map((pem) => new X509Certificate(pem));
    expect(own!.validFromDate.getTime()).toBeLessThan(now);
    expect(own!.validToDate.getTime()).toBeGreaterThan(now);
    leaves.check();
    expect(evicted).toEqual(['b.example']);
    expect((await leaves.get('b.example'))!.version).not.toBe(b.version);
  }
});

test('leaves Envoy had from before a restart of ours are checked, too', async () => {
  const before = make({ 'a.example': 'admitted' });
  const { version } = (await before.leaves.get('a.example'))!;
  const after = make({ 'a.example': 'admitted' });
  expect(after.leaves.isCurrent('a.example', version)).toBe(true);
  now += 40 * HOUR;
  after.leaves.check();
  expect(after.evicted).toEqual(['a.example']);
});
