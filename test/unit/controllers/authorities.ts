import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { type CertifiedKey } from '#lib/x509';
import type { Secret } from '#api';

/** Authorities of all kinds, as people bring them; the product itself makes P-256 ones only. */

const DAY = 86_400_000;

export const ALGORITHMS = {
  'P-256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'P-384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'P-521': { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' },
  RSA: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
  'RSA-1024': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]) },
  Ed25519: { name: 'Ed25519' },
} as const;

export interface TestAuthority extends CertifiedKey {
  readonly certificate: x509.X509Certificate;
  readonly privateKey: webcrypto.CryptoKey;
  readonly kind: keyof typeof ALGORITHMS;
}

export interface AuthorityOptions {
  readonly kind?: keyof typeof ALGORITHMS;
  readonly issuer?: TestAuthority;
  /** `null` = any number of authorities below. */
  readonly pathLength?: number | null;
  readonly ca?: boolean;
  readonly usages?: number;
  readonly extended?: readonly string[];
  /** The name, with the encodings of a foreign authority. */
  readonly subject?: string | x509.Name;
  /** A key identifier that is no hash of the key. */
  readonly keyId?: string;
  readonly notBefore?: number;
  readonly notAfter?: number;
}

let serial = 1;

/** A name whose parts are UTF8Strings, as OpenSSL writes them; the library here prefers PrintableString. */
export const utf8Name = (...parts: readonly Readonly<Record<string, string>>[]): x509.Name =>
  new x509.Name(parts.map((part) => Object.fromEntries(Object.entries(part).map(([type, text]) => [type, [{ utf8String: text }]]))) as never);

export const authorityOf = async (options: AuthorityOptions = {}): Promise<TestAuthority> => {
  const {
    kind = 'P-256',
    issuer,
    pathLength = null,
    ca = true,
    usages = x509.KeyUsageFlags.keyCertSign,
    extended,
    subject = `CN=authority ${serial}`,
  } = options;
  const keys = (await webcrypto.subtle.generateKey(ALGORITHMS[kind], true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const name = typeof subject === 'string' ? new x509.Name(subject) : subject;
  const issuerKeyId = issuer?.certificate.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `0${(serial++).toString(16)}`.slice(-2),
    subject: name,
    issuer: issuer ? issuer.certificate.subjectName : name,
    publicKey: keys.publicKey as never,
    signingKey: (issuer?.privateKey ?? keys.privateKey) as never,
    signingAlgorithm: ALGORITHMS[issuer?.kind ?? kind] as never,
    notBefore: new Date(options.notBefore ?? Date.now() - DAY),
    notAfter: new Date(options.notAfter ?? Date.now() + 3_650 * DAY),
    extensions: [
      new x509.BasicConstraintsExtension(ca, pathLength ?? undefined, true),
      new x509.KeyUsagesExtension(usages, true),
      ...(extended ? [new x509.ExtendedKeyUsageExtension([...extended])] : []),
      options.keyId ? new x509.SubjectKeyIdentifierExtension(options.keyId) : await x509.SubjectKeyIdentifierExtension.create(keys.publicKey as never),
      ...(issuerKeyId ? [new x509.AuthorityKeyIdentifierExtension(issuerKeyId)] : []),
    ],
  });
  const keyPem = x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { certificate, privateKey: keys.privateKey, kind, certPem: `${certificate.toString('pem')}\n`, keyPem };
};

export const caSecret = (name: string, data: Readonly<Record<string, string>>): Secret => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { namespace: 'default', name },
  data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
});
