// lib/x509: consumes names and keys; produces certificates. A front door of its own, so that only programs that sign load it.
// Heavy dependency owned here: @peculiar/x509 (which needs reflect-metadata first).
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
x509.cryptoProvider.set(webcrypto as unknown as Crypto);

/** A P-256 certificate and its key, as PEM. */
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
  readonly certPem: string;
  issue(request: CertificateRequest): Promise<CertifiedKey>;
}

const newKey = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);

/** Positive and never with a leading zero byte, 128 bits (RFC 5280, 4.1.2.2). */
const serialNumber = (): string =>
  `4${Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)))
    .toString('hex')
    .slice(1)}`;

const extensionsOf = async (request: CertificateRequest, subjectKey: webcrypto.CryptoKey, issuerKey: webcrypto.CryptoKey): Promise<x509.Extension[]> => {
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
    await x509.AuthorityKeyIdentifierExtension.create(issuerKey as never),
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
    extensions: await extensionsOf(request, keys.publicKey, keys.publicKey),
  });
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: await toKeyPem(keys.privateKey) };
};

/** Loads an authority (PEM certificate and PKCS#8 key) for signing. */
export const loadSigner = async (authority: CertifiedKey): Promise<Signer> => {
  const certificate = new x509.X509Certificate(authority.certPem);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(authority.keyPem), ALGORITHM, false, ['sign']);
  const issuerPublicKey = (await certificate.publicKey.export()) as unknown as webcrypto.CryptoKey;
  return {
    certPem: authority.certPem,
    async issue(request) {
      const keys = await newKey();
      const issued = await x509.X509CertificateGenerator.create({
        serialNumber: serialNumber(),
        subject: request.subject,
        issuer: certificate.subject,
        publicKey: keys.publicKey as never,
        signingKey: signingKey as never,
        notBefore: request.notBefore,
        notAfter: request.notAfter,
        signingAlgorithm: ALGORITHM,
        extensions: await extensionsOf(request, keys.publicKey, issuerPublicKey),
      });
      return { certPem: `${issued.toString('pem')}\n`, keyPem: await toKeyPem(keys.privateKey) };
    },
  };
};
