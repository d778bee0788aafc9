import 'reflect-metadata';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:tls';
import { expect, test } from 'vitest';
import { loadSigner } from '#lib/x509';
import { authorityIn, AuthorityUnusable } from '../../../src/controllers/gateway/ca-secret.ts';
import { authorityOf, caSecret, utf8Name, type TestAuthority } from './authorities.ts';

const HOUR = 3_600_000;
const valid = () => ({ notBefore: new Date(Date.now() - HOUR), notAfter: new Date(Date.now() + HOUR) });
const read = (data: Readonly<Record<string, string>>) => authorityIn(caSecret('ca', data));

/** A real handshake with a leaf as `egress` makes it: intermediate of the worker, then the leaf. */
const handshake = async (secret: Readonly<Record<string, string>>): Promise<string> => {
  const authority = read(secret);
  const intermediate = await (await loadSigner(authority)).issue({ subject: 'CN=worker', ca: { pathLength: 0 }, ...valid() });
  const signer = await loadSigner({ certPem: intermediate.certPem + authority.chainPem, keyPem: intermediate.keyPem });
  const leaf = await signer.issue({ subject: '', usage: 'server', dns: ['api.example.com'], ...valid() });
  const server = createServer({ cert: leaf.certPem + signer.certPem, key: leaf.keyPem }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', servername: 'api.example.com', ca: authority.rootPem });
    await once(socket, 'secureConnect');
    const { subject } = socket.getPeerCertificate(true).issuerCertificate;
    socket.destroy();
    return String(subject.CN);
  } finally {
    server.close();
  }
};

const sec1 = (keyPem: string): string => createPrivateKey(keyPem).export({ format: 'pem', type: 'sec1' }) as string;
const pkcs1 = (keyPem: string): string => createPrivateKey(keyPem).export({ format: 'pem', type: 'pkcs1' }) as string;

test.each(['P-256', 'P-384', 'P-521', 'RSA'] as const)('a root with a %s key signs what a TLS client verifies, whatever the form of its key', async (kind) => {
  const root = await authorityOf({ kind });
  expect(await handshake({ 'tls.crt': root.certPem, 'tls.key': root.keyPem })).toBe('worker');
  const old = kind === 'RSA' ? pkcs1(root.keyPem) : sec1(root.keyPem);
  expect(old).toContain(kind === 'RSA' ? 'BEGIN RSA PRIVATE KEY' : 'BEGIN EC PRIVATE KEY');
  expect(await handshake({ 'tls.crt': root.certPem, 'tls.key': old })).toBe('worker');
});

test('below a root of somebody else: the chain in tls.crt, or the root in ca.crt; the root alone is trusted, the rest is shown', async () => {
  // Names and key identifiers as other programs make them.
  const root = await authorityOf({
    kind: 'RSA',
    subject: utf8Name({ O: 'Example, Inc.' }, { CN: 'Root' }),
    keyId: '0102030405',
  });
  const policy = await authorityOf({ kind: 'P-384', issuer: root, subject: utf8Name({ CN: 'Policy' }), keyId: '0a0b0c', pathLength: 2 });
  const issuing = await authorityOf({ issuer: policy, pathLength: 1, keyId: 'ff00ff' });
  const key = { 'tls.key': issuing.keyPem };
  const whole = { ...key, 'tls.crt': issuing.certPem + policy.certPem + root.certPem };
  const apart = { ...key, 'tls.crt': issuing.certPem + policy.certPem, 'ca.crt': (await authorityOf()).certPem + root.certPem };
  for (const secret of [whole, apart]) {
    const { rootPem, chainPem, certPem } = read(secret);
    expect(new X509Certificate(rootPem).fingerprint256).toBe(new X509Certificate(root.certPem).fingerprint256);
    expect(certPem).toBe(new X509Certificate(issuing.certPem).toString());
    expect(chainPem.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(await handshake(secret)).toBe('worker');
  }
  expect(read(whole).source).toBe(read(apart).source);
});

test('an intermediate names its issuer in the bytes of that one', async () => {
  const root = await authorityOf({ subject: utf8Name({ CN: 'Encoded' }), keyId: 'abcdef' });
  const made = await (await loadSigner(root)).issue({ subject: 'CN=x', ca: { pathLength: 0 }, ...valid() });
  const name = Buffer.from(root.certificate.subjectName.toArrayBuffer());
  expect(new X509Certificate(made.certPem).raw.includes(name)).toBe(true);
  // Tag of UTF8String, not of PrintableString.
  expect(name.includes(Buffer.from([0x0c, 7, ...Buffer.from('Encoded')]))).toBe(true);
});

const both = ({ certPem, keyPem }: TestAuthority) => ({ 'tls.crt': certPem, 'tls.key': keyPem });

test.each<[string, () => Promise<Readonly<Record<string, string>>>, RegExp]>([
  ['nothing', async () => ({}), /must have tls\.crt and tls\.key/],
  ['no PEM', async () => ({ 'tls.crt': 'x', 'tls.key': 'y' }), /tls\.crt holds no certificate/],
  [
    'a broken certificate',
    async () => ({ ...both(await authorityOf()), 'tls.crt': '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }),
    /not an X\.509 certificate/,
  ],
  ['a broken key', async () => ({ ...both(await authorityOf()), 'tls.key': 'y' }), /unencrypted private key/],
  ['the key of another', async () => ({ ...both(await authorityOf()), 'tls.key': (await authorityOf()).keyPem }), /does not belong to the first certificate/],
  ['a leaf', async () => both(await authorityOf({ ca: false })), /is no authority/],
  ['an authority that signs no certificates', async () => both(await authorityOf({ usages: 1 })), /is no authority/],
  ['one that signs leaves only', async () => both(await authorityOf({ pathLength: 0 })), /path length 0, and 1 is needed/],
  ['one for client certificates', async () => both(await authorityOf({ extended: ['1.3.6.1.5.5.7.3.2'] })), /server authentication is not among them/],
  ['a short RSA key', async () => both(await authorityOf({ kind: 'RSA-1024' })), /RSA of 2048 bits/],
  ['an Ed25519 key', async () => both(await authorityOf({ kind: 'Ed25519' })), /RSA of 2048 bits or more, or EC/],
  ['a chain without its root', async () => both(await authorityOf({ issuer: await authorityOf() })), /root above .* is missing/],
  [
    'the root of another',
    async () => ({ ...both(await authorityOf({ issuer: await authorityOf() })), 'ca.crt': (await authorityOf()).certPem }),
    /root above .* is missing/,
  ],
  [
    'a chain in the wrong order',
    async () => {
      const root = await authorityOf();
      const issuing = await authorityOf({ issuer: root });
      return { 'tls.crt': root.certPem + issuing.certPem, 'tls.key': root.keyPem };
    },
    /is not issued by the certificate after it/,
  ],
  [
    'a root that allows too short a path',
    async () => {
      const root = await authorityOf({ pathLength: 1 });
      return { ...both(await authorityOf({ issuer: root })), 'ca.crt': root.certPem };
    },
    /path length 1, and 2 is needed/,
  ],
])('refused with the reason: %s', async (_, make, why) => {
  const secret = await make();
  expect(() => read(secret)).toThrow(AuthorityUnusable);
  expect(() => read(secret)).toThrow(why);
});

test('what was read of a Secret holds for the content it was read from', async () => {
  const [root, other] = [await authorityOf(), await authorityOf()];
  const data: Record<string, string> = {};
  const secret = { ...caSecret('ca', {}), data };
  const put = ({ certPem, keyPem }: TestAuthority): void => {
    data['tls.crt'] = Buffer.from(certPem).toString('base64');
    data['tls.key'] = Buffer.from(keyPem).toString('base64');
  };
  expect(() => authorityIn(secret)).toThrow(AuthorityUnusable);
  put(root);
  const first = authorityIn(secret);
  expect(authorityIn(secret)).toBe(first);
  put(other);
  expect(authorityIn(secret).source).not.toBe(first.source);
  data['tls.key'] = Buffer.from(root.keyPem).toString('base64');
  for (const again of [1, 2]) expect(() => authorityIn(secret), String(again)).toThrow('does not belong');
});
