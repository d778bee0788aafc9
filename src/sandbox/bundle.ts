import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleSpec, CA_BUNDLE_PATHS, HOSTS, RESOLV_CONF } from '#image';
import { sha256Hex, systemCode, writeFileAtomic } from '#lib';
import type { RunTemplate } from '#model';
import { TASKS } from './limits.ts';
import type { ReadyImage } from './images.ts';
import { RESERVED } from './ruleset.ts';

/** The public roots of this host (Debian's path; the same file Node.js and OpenSSL use there). */
const PUBLIC_ROOTS = '/etc/ssl/certs/ca-certificates.crt';

/** Variables by which TLS clients find their roots when they do not look where the distribution keeps them. */
const CA_VARIABLES = [
  'SSL_CERT_FILE',
  'NODE_EXTRA_CA_CERTS',
  'REQUESTS_CA_BUNDLE',
  'CURL_CA_BUNDLE',
  'AWS_CA_BUNDLE',
  'GIT_SSL_CAINFO',
  'DENO_CERT',
  'PIP_CERT',
];

const DEFAULT_ENV = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  ...Object.fromEntries(CA_VARIABLES.map((name) => [name, CA_BUNDLE_PATHS[0]])),
};

/** The file with the roots a sandbox trusts: the public ones and those of its gateways. One file for equal content. */
export const caBundle = async (dir: string, gatewayRoots: readonly string[]): Promise<string> => {
  const publicRoots = await readFile(PUBLIC_ROOTS, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return ''; // everything a sandbox reaches shows a certificate of its gateway anyway
    throw error;
  });
  const text = [publicRoots, ...gatewayRoots]
    .map((pem) => pem.trimEnd())
    .join('\n')
    .trimStart();
  const file = join(dir, `ca-${sha256Hex(text).slice(0, 16)}.pem`);
  if (!existsSync(file)) await writeFileAtomic(file, `${text}\n`, 0o644);
  return file;
};

export interface SandboxFiles {
  /** Directory of this sandbox. */
  readonly dir: string;
  readonly template: RunTemplate;
  readonly hostname: string;
  readonly image: ReadyImage;
  /** File from `caBundle`. */
  readonly ca: string;
  /** Absent = a network namespace of its own, with nothing in it. */
  readonly netns?: string;
  readonly address: string;
}

/** Writes a sandbox's bundle: `config.json` and the files mounted into it. Returns its directory. */
export const writeBundle = async ({ dir, template, hostname, image, ca, netns, address }: SandboxFiles): Promise<string> => {
  const bundle = join(dir, 'bundle');
  await mkdir(bundle);
  const [resolv, hosts] = [join(bundle, 'resolv.conf'), join(bundle, 'hosts')];
  await writeFile(resolv, `nameserver ${RESERVED.dns}\n`, { mode: 0o644 });
  await writeFile(hosts, `127.0.0.1 localhost\n::1 localhost\n${address} ${hostname}\n`, { mode: 0o644 });
  const spec = await bundleSpec({
    rootfs: image.rootfs,
    image: image.config,
    hostname,
    netns,
    command: template.command,
    args: template.args,
    defaultEnv: DEFAULT_ENV,
    env: template.env,
    mounts: [
      ...CA_BUNDLE_PATHS.map((destination) => ({ source: ca, destination })),
      { source: resolv, destination: RESOLV_CONF },
      { source: hosts, destination: HOSTS },
    ],
    tmpBytes: template.storageBytes,
    tasks: TASKS,
  });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(spec));
  return bundle;
};
