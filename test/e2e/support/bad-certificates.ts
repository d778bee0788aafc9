import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '#lib';
import { createAuthority, loadSigner, type CertifiedKey } from '#lib/x509';

const DAY = 86_400_000;
const days = (from: number, to: number) => ({ notBefore: new Date(Date.now() + from * DAY), notAfter: new Date(Date.now() + to * DAY) });

/** Names whose upstream has a certificate that must not be taken, and what the refusal says of it. */
export const BAD_CERTIFICATES: Readonly<Record<string, RegExp>> = {
  'expired.bad.example': /has expired/,
  'future.bad.example': /not valid yet/,
  'name.bad.example': /for another name/,
  // Envoy quotes the names of a certificate.
  'words.bad.example': /for another name/,
  'unknown.bad.example': /from no authority this gateway trusts/,
  'self.bad.example': /from no authority this gateway trusts/,
};

/** Names whose upstream has a key of this kind below the trusted root: those that are weak do not get as far as their certificate. */
export const KEYS: Readonly<Record<string, { readonly key: readonly string[]; readonly weak?: true }>> = {
  'rsa1024.key.example': { key: ['rsa:1024'], weak: true },
  'rsa2048.key.example': { key: ['rsa:2048'] },
  'p224.key.example': { key: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-224'], weak: true },
  'p384.key.example': { key: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'] },
  'ed25519.key.example': { key: ['ed25519'] },
};

const writeKeys = async (dir: string, root: CertifiedKey): Promise<void> => {
  const ca = join(dir, 'ca-of-keys');
  await writeFile(`${ca}.pem`, root.certPem);
  await writeFile(`${ca}.key`, root.keyPem);
  for (const [name, { key }] of Object.entries(KEYS)) {
    const file = join(dir, name);
    await writeFile(`${file}.ext`, `subjectAltName=DNS:${name}\n`);
    await run('openssl', ['req', '-new', '-newkey', ...key, '-nodes', '-keyout', `${file}.key`, '-out', `${file}.csr`, '-subj', '/CN=x']);
    const issuer = ['-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-set_serial', '7'];
    await run('openssl', ['x509', '-req', '-in', `${file}.csr`, ...issuer, '-days', '1', '-extfile', `${file}.ext`, '-out', `${file}.pem`]);
  }
};

/** Writes the certificates where `upstreams.ts` looks for them; returns the root above some, as PEM. */
export const writeBadCertificates = async (dir: string): Promise<string> => {
  const authority = (name: string) => createAuthority({ subject: `CN=${name}`, ca: { pathLength: 0 }, ...days(-9, 9) });
  const root = await authority('bad');
  const [trusted, unknown] = [await loadSigner(root), await loadSigner(await authority('unknown'))];
  const server = (name: string) => ({ subject: '', usage: 'server' as const, dns: [name] });
  const certificates: Readonly<Record<string, CertifiedKey>> = {
    expired: await trusted.issue({ ...server('expired.bad.example'), ...days(-8, -1) }),
    future: await trusted.issue({ ...server('future.bad.example'), ...days(1, 8) }),
    name: await trusted.issue({ ...server('other.bad.example'), ...days(-1, 1) }),
    words: await trusted.issue({ ...server('certificate has expired'), ...days(-1, 1) }),
    unknown: await unknown.issue({ ...server('unknown.bad.example'), ...days(-1, 1) }),
  };
  for (const [name, { certPem, keyPem }] of Object.entries(certificates)) {
    await writeFile(join(dir, `${name}.bad.example.pem`), certPem);
    await writeFile(join(dir, `${name}.bad.example.key`), keyPem);
  }
  const self = join(dir, 'self.bad.example');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${self}.key`];
  await run('openssl', ['req', '-x509', ...key, '-out', `${self}.pem`, '-days', '1', '-subj', '/CN=x', '-addext', 'subjectAltName=DNS:self.bad.example']);
  await writeKeys(dir, root);
  return root.certPem;
};
