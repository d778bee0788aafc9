import { X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists, writeFileAtomic } from '#lib';
import { createAuthority, loadSigner, type CertificateRequest, type CertifiedKey } from '#lib/x509';

/** Who gets a client certificate of the API: file name, common name, organisation (= group). */
const CLIENTS = [
  { file: 'admin', subject: 'CN=admin, O=system:masters' },
  { file: 'viewer', subject: 'CN=viewer, O=clrk:viewers' },
  { file: 'controller-manager', subject: 'CN=system:clrk:controller-manager, O=clrk:components' },
  { file: 'dispatcher', subject: 'CN=system:clrk:dispatcher, O=clrk:components' },
] as const;

const DAY = 86_400_000;
const valid = (days: number) => ({ notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + days * DAY) });

/** Renewed when fewer than 30 days are left, so that a stack that restarts now and then never meets an expired one. */
const fresh = async (path: string): Promise<boolean> => {
  const pem = await readIfExists(path);
  return pem !== undefined && new X509Certificate(pem).validToDate.getTime() - Date.now() > 30 * DAY;
};

/** Makes what is missing of the API's CA, server certificate and client certificates under `dir` (mode 0700, keys 0600). */
export const ensurePki = async (dir: string): Promise<void> => {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const at = (file: string): string => join(dir, file);
  const put = async (file: string, made: CertifiedKey): Promise<void> => {
    await writeFileAtomic(at(`${file}.key`), made.keyPem);
    await writeFileAtomic(at(`${file}.crt`), made.certPem, 0o644);
  };
  const renewed = !(await fresh(at('ca.crt')));
  if (renewed) await put('ca', await createAuthority({ subject: 'CN=clrk API CA', ca: { pathLength: 0 }, ...valid(3650) }));
  const signer = await loadSigner({ certPem: await readFile(at('ca.crt'), 'utf8'), keyPem: await readFile(at('ca.key'), 'utf8') });
  const ensure = async (file: string, request: CertificateRequest): Promise<void> => {
    if (renewed || !(await fresh(at(`${file}.crt`)))) await put(file, await signer.issue(request));
  };
  await ensure('server', { subject: 'CN=clrk API server', usage: 'server', dns: ['localhost'], ips: ['127.0.0.1'], ...valid(730) });
  for (const { file, subject } of CLIENTS) await ensure(file, { subject, usage: 'client', ...valid(730) });
};
