import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import type { Secret } from '#api';
import { sha256Hex } from '#lib';
import { canSignWith, certificatesIn, signingScope, type CertifiedKey } from '#lib/x509';

/** A gateway's authority cannot be used. The gateway serves nothing new with it; `reason` is that of a condition. */
export class AuthorityUnusable extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** A certificate authority as a Secret holds it. */
export interface CaAuthority extends CertifiedKey {
  /** What servers show above the certificate that signs, itself included and the root left out: PEM, empty when the root signs. */
  readonly chainPem: string;
  /** The certificate sandboxes trust. */
  readonly rootPem: string;
  /** When all of its certificates are valid, in milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Hash of all of it. */
  readonly source: string;
}

const SERVER_AUTH = ['1.3.6.1.5.5.7.3.1', '2.5.29.37.0'];

/** Value of a key of a Secret, as text. */
export const textOf = (secret: Secret, key: string): string => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();

const parse = (pem: string, key: string): X509Certificate[] =>
  certificatesIn(pem).map((block) => {
    try {
      return new X509Certificate(block);
    } catch {
      throw new Error(`${key} holds something that is not an X.509 certificate in PEM`);
    }
  });

const keyOf = (pem: string): KeyObject => {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new Error('tls.key must be an unencrypted private key in PEM (PKCS#8, PKCS#1 or SEC 1)');
  }
  if (!canSignWith(key)) throw new Error('tls.key must be RSA of 2048 bits or more, or EC on P-256, P-384 or P-521');
  return key;
};

const nameOf = ({ subject }: X509Certificate): string => `"${subject.replaceAll('\n', ', ')}"`;
const isIssuedBy = (child: X509Certificate, issuer: X509Certificate): boolean => child.checkIssued(issuer) && child.verify(issuer.publicKey);

/** `below`: how many authorities stand between this one and the leaves. */
const checkAuthority = (certificate: X509Certificate, below: number): void => {
  const { signsCertificates, pathLength } = signingScope(certificate.toString());
  if (!signsCertificates) throw new Error(`${nameOf(certificate)} is no authority: it needs basic constraint CA and, where it has key usages, keyCertSign`);
  if (pathLength !== undefined && pathLength < below)
    throw new Error(
      `${nameOf(certificate)} has path length ${pathLength}, and ${below} is needed: each worker signs with an intermediate authority of its own`,
    );
  // Node.js calls extended key usages so; an authority that has some hands down only these.
  const usages = certificate.keyUsage as readonly string[] | undefined;
  if (usages && !usages.some((usage) => SERVER_AUTH.includes(usage)))
    throw new Error(`${nameOf(certificate)} has extended key usages, and server authentication is not among them`);
};

/** From the certificate that signs to the root. */
const pathOf = (chain: readonly X509Certificate[], anchors: readonly X509Certificate[]): readonly X509Certificate[] => {
  for (const [index, certificate] of chain.entries()) {
    const issuer = chain[index + 1];
    if (issuer && !isIssuedBy(certificate, issuer)) throw new Error(`in tls.crt, ${nameOf(certificate)} is not issued by the certificate after it`);
  }
  const last = chain.at(-1)!;
  if (isIssuedBy(last, last)) return chain;
  const anchor = anchors.find((candidate) => isIssuedBy(candidate, candidate) && isIssuedBy(last, candidate));
  if (!anchor) throw new Error(`the root above ${nameOf(last)} is missing: put it at the end of tls.crt, or into ca.crt`);
  return [...chain, anchor];
};

/** What a Secret was found to hold, with what it held then. */
interface Read {
  readonly data: readonly string[];
  readonly found: CaAuthority | AuthorityUnusable;
}
const known = new WeakMap<Secret, Read>();

/** As `readAuthority`, which verifies signatures, for the same content of the same Secret once. */
export const authorityIn = (secret: Secret): CaAuthority => {
  const data = [secret.metadata.name, ...['tls.crt', 'tls.key', 'ca.crt'].map((key) => secret.data?.[key] ?? '')];
  let read = known.get(secret);
  if (!read?.data.every((value, index) => value === data[index])) known.set(secret, (read = { data, found: readAuthority(secret) }));
  if (read.found instanceof AuthorityUnusable) throw read.found;
  return read.found;
};

/**
 * The authority in a Secret of type kubernetes.io/tls: `tls.crt` begins with the certificate that signs, its issuers may
 * follow; `tls.key` is its key; the self-signed root is the last certificate of `tls.crt`, or in `ca.crt`.
 * Otherwise what is wrong (`CertificateInvalid`).
 */
const readAuthority = (secret: Secret): CaAuthority | AuthorityUnusable => {
  const [certPem, keyPem] = [textOf(secret, 'tls.crt'), textOf(secret, 'tls.key')];
  try {
    if (!certPem || !keyPem) throw new Error('it must have tls.crt and tls.key');
    const chain = parse(certPem, 'tls.crt');
    const [signing] = chain;
    if (!signing) throw new Error('tls.crt holds no certificate in PEM');
    if (!signing.checkPrivateKey(keyOf(keyPem))) throw new Error('tls.key does not belong to the first certificate of tls.crt');
    chain.forEach((certificate, index) => checkAuthority(certificate, index + 1));
    const path = pathOf(chain, parse(textOf(secret, 'ca.crt'), 'ca.crt'));
    if (path.length > chain.length) checkAuthority(path.at(-1)!, path.length);
    const root = path.at(-1)!;
    const served = path.slice(0, -1).map((certificate) => certificate.toString());
    const rootPem = root.toString();
    return {
      certPem: signing.toString(),
      keyPem,
      chainPem: served.join(''),
      rootPem,
      notBefore: Math.max(...path.map(({ validFromDate }) => validFromDate.getTime())),
      notAfter: Math.min(...path.map(({ validToDate }) => validToDate.getTime())),
      source: sha256Hex([...served, rootPem, keyPem].join('')),
    };
  } catch (error) {
    return new AuthorityUnusable('CertificateInvalid', `Secret ${secret.metadata.name} holds no authority to sign with: ${(error as Error).message}.`);
  }
};
