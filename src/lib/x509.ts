// lib/x509: consumes names and keys; produces certificates. A front door of its own, so that only programs that sign load it.
// Heavy dependency owned here: @peculiar/x509 (which needs reflect-metadata first).
import 'reflect-metadata';
import { createPrivateKey, webcrypto, type KeyObject } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
x509.cryptoProvider.set(webcrypto as unknown as Crypto);

/** A certificate and its key, as PEM; those made here are P-256. */
export interface CertifiedKey {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface CertificateRequest {
  /** Distinguished name (`CN=…, O=…`); empty = the subject is in `dns` alone, which is then critical. */
  readonly subject: string;
  /** A certificate authority; `pathLength` 0 may sign leaves only. */
  readonly ca?: { readonly pathLength: number };
  readonly usage?: 'server' | 'client';
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Something that signs: a loaded authority. Loading parses PEM once; keep it. */
export interface Signer {
  /** What it was loaded from: the certificate that signs, and the chain above it where there is one. */
  readonly certPem: string;
  issue(request: CertificateRequest): Promise<CertifiedKey>;
}

const newKey = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

/** Positive and never with a leading zero byte, 128 bits (RFC 5280, 4.1.2.2). */
const serialNumber = (): string =>
  `4${Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)))
    .toString('hex')
    .slice(1)}`;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** The certificates of a PEM text, each as PEM; whatever else is in it is left out. */
export const certificatesIn = (pem: string): string[] => (pem.match(CERTIFICATE) ?? []).map((block) => `${block}\n`);

/** What a certificate lets its key sign: no certificates, or certificates with this many authorities below it (undefined = any number). */
export const signingScope = (certPem: string): { readonly signsCertificates: boolean; readonly pathLength: number | undefined } => {
  const certificate = new x509.X509Certificate(certPem);
  const constraints = certificate.getExtension(x509.BasicConstraintsExtension);
  const usages = certificate.getExtension(x509.KeyUsagesExtension);
  const signs = usages === null || (usages.usages & x509.KeyUsageFlags.keyCertSign) !== 0;
  return { signsCertificates: constraints?.ca === true && signs, pathLength: constraints?.pathLength };
};

/** How a key signs; undefined for kinds of keys that not every TLS client verifies. */
const signingAlgorithmOf = ({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject) => {
  if (type === 'rsa') return (details?.modulusLength ?? 0) >= 2048 ? ({ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const) : undefined;
  if (type !== 'ec') return undefined;
  switch (details?.namedCurve) {
    case 'prime256v1':
      return ALGORITHM;
    case 'secp384r1':
      return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' } as const;
    case 'secp521r1':
      return { name: 'ECDSA', namedCurve: 'P-521', hash: 'SHA-512' } as const;
    default:
      return undefined;
  }
};

/** Whether an authority can sign with this private key: RSA of 2048 bits or more, or EC on P-256, P-384 or P-521. */
export const canSignWith = (key: KeyObject): boolean => signingAlgorithmOf(key) !== undefined;

const extensionsOf = async (request: CertificateRequest, subjectKey: webcrypto.CryptoKey, authorityKey: x509.Extension): Promise<x509.Extension[]> => {
  const names: x509.JsonGeneralNames = [
    ...(request.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(request.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
  ];
  const keyUsage = request.ca ? x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign : x509.KeyUsageFlags.digitalSignature;
  const extended = request.usage === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
  return [
    new x509.BasicConstraintsExtension(request.ca !== undefined, request.ca?.pathLength, true),
    new x509.KeyUsagesExtension(keyUsage, true),
    ...(request.usage ? [new x509.ExtendedKeyUsageExtension([extended])] : []),
    ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names, request.subject === '')] : []),
    await x509.SubjectKeyIdentifierExtension.create(subjectKey as never),
    authorityKey,
  ];
};

const toKeyPem = async (key: webcrypto.CryptoKey): Promise<string> =>
  `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`;

/** A new self-signed authority. */
export const createAuthority = async (request: CertificateRequest & { ca: { pathLength: number } }): Promise<CertifiedKey> => {
  const keys = await newKey();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: request.subject,
    keys: keys as never,
    notBefore: request.notBefore,
    notAfter: request.notAfter,
    signingAlgorithm: ALGORITHM,
    extensions: await extensionsOf(request, keys.publicKey, await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey as never)),
  });
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: await toKeyPem(keys.privateKey) };
};

/** Names the key of an issuer the way its own certificate does: verifiers compare the two. */
const authorityKeyOf = async (issuer: x509.X509Certificate): Promise<x509.Extension> => {
  const own = issuer.getExtension(x509.SubjectKeyIdentifierExtension);
  return own ? new x509.AuthorityKeyIdentifierExtension(own.keyId) : x509.AuthorityKeyIdentifierExtension.create(await issuer.publicKey.export());
};

/** Loads an authority for signing: the first certificate of `certPem`, and its key in any PEM form (PKCS#8, PKCS#1, SEC 1). */
export const loadSigner = async (authority: CertifiedKey): Promise<Signer> => {
  const certificate = new x509.X509Certificate(certificatesIn(authority.certPem)[0] ?? '');
  const key = createPrivateKey(authority.keyPem);
  const algorithm = signingAlgorithmOf(key);
  if (!algorithm) throw new Error(`cannot sign with a key of kind ${key.asymmetricKeyType}`);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', key.export({ format: 'der', type: 'pkcs8' }), algorithm, false, ['sign']);
  const authorityKey = await authorityKeyOf(certificate);
  return {
    certPem: authority.certPem,
    async issue(request) {
      const keys = await newKey();
      const issued = await x509.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: request.subject,
        // As it is encoded there, not as text: some verifiers compare the bytes.
        issuer: certificate.subjectName,
        publicKey: keys.publicKey as never,
        signingKey: signingKey as never,
        notBefore: request.notBefore,
        notAfter: request.notAfter,
        signingAlgorithm: algorithm,
        extensions: await extensionsOf(request, keys.publicKey, authorityKey),
      });
      return { certPem: `${issued.toString('pem')}\n`, keyPem: await toKeyPem(keys.privateKey) };
    },
  };
};
