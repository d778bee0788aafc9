/**
 * A real Kubernetes API server, to hold ours against: etcd and kube-apiserver, built from their Go modules into one binary
 * (6 minutes once; kept below the tools of the state directory) and run on this machine without containers.
 * `node tools/real-kube.ts` builds it and prints where it is.
 */
import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { exited, run, spawnChild, stopChild } from '../src/lib/index.ts';
import { createAuthority, loadSigner } from '../src/lib/x509.ts';

/** The version whose behaviour our server follows. */
export const KUBERNETES = '1.35.4';
/** Grows when the way it is built changes. */
const RECIPE = 1;

const source = join(import.meta.dirname, 'real-kube', 'main.go');
const toolsDir = (): string => process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools');

/**
 * Kubernetes replaces its own libraries by paths inside its tree, which a module does not have: each is pointed at the tag it
 * was published under.
 */
const goMod = (upstream: string): string => {
  const staging = `v0.${KUBERNETES.slice(KUBERNETES.indexOf('.') + 1)}`;
  const replaced = upstream.replace(/^module .*/m, 'module realkube').replaceAll(/(k8s\.io\/[a-z0-9-]+) => \.\/staging\/src\/.*/g, `$1 => $1 ${staging}`);
  return `${replaced}\nrequire k8s.io/kubernetes v${KUBERNETES}\n`;
};

const build = async (binary: string): Promise<void> => {
  const { stdout } = await run('go', ['mod', 'download', '-json', `k8s.io/kubernetes@v${KUBERNETES}`]);
  const { Dir: module } = JSON.parse(stdout) as { Dir: string };
  const dir = await mkdtemp(`${binary}.new-`);
  try {
    await writeFile(join(dir, 'go.mod'), goMod(await readFile(join(module, 'go.mod'), 'utf8')));
    await writeFile(join(dir, 'go.sum'), await readFile(join(module, 'go.sum')));
    await writeFile(join(dir, 'main.go'), await readFile(source));
    const version = 'k8s.io/component-base/version';
    const flags = `-s -w -X ${version}.gitVersion=v${KUBERNETES} -X ${version}.gitMajor=1 -X ${version}.gitMinor=${KUBERNETES.split('.')[1]}`;
    const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' };
    const args = ['build', '-trimpath', '-buildvcs=false', '-ldflags', flags, '-o', join(dir, 'realkube'), '.'];
    await run('nice', ['-n', '19', 'go', ...args], { cwd: dir, env });
    await rename(join(dir, 'realkube'), binary);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

/** Path of the binary; it is built when it is not there yet. Needs Go. */
export const ensureRealKube = async (): Promise<string> => {
  const dir = join(toolsDir(), 'real-kube');
  const binary = join(dir, `realkube-${KUBERNETES}-r${RECIPE}`);
  await mkdir(dir, { recursive: true });
  await access(binary).catch(() => build(binary));
  return binary;
};

/** A running API server; disposing it ends it and removes its data. */
export interface RealKube extends AsyncDisposable {
  readonly url: string;
  /** PEM: what a client needs to be an administrator. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
}

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
};

const certificates = async (dir: string): Promise<RealKube['tls']> => {
  const validity = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const authority = await createAuthority({ subject: 'CN=real kube', ca: { pathLength: 0 }, ...validity });
  const signer = await loadSigner(authority);
  const server = await signer.issue({ subject: 'CN=kube-apiserver', usage: 'server', ips: ['127.0.0.1'], ...validity });
  const admin = await signer.issue({ subject: 'CN=admin, O=system:masters', usage: 'client', ...validity });
  const files = { 'ca.crt': authority.certPem, 'server.crt': server.certPem, 'server.key': server.keyPem, 'accounts.key': authority.keyPem };
  const accounts = createPublicKey(authority.keyPem).export({ type: 'spki', format: 'pem' });
  for (const [name, text] of Object.entries({ ...files, 'accounts.pub': accounts.toString() })) await writeFile(join(dir, name), text, { mode: 0o600 });
  return { ca: authority.certPem, cert: admin.certPem, key: admin.keyPem };
};

/** Starts etcd and kube-apiserver on loopback; resolves when it is ready. `flags` are further flags of kube-apiserver. */
export const startRealKube = async (flags: readonly string[] = []): Promise<RealKube> => {
  await using cleanup = new AsyncDisposableStack();
  const binary = await ensureRealKube();
  const dir = await mkdtemp(join(tmpdir(), 'real-kube-'));
  cleanup.defer(() => rm(dir, { recursive: true, force: true }));
  const tls = await certificates(dir);
  const etcd = `http://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const start = (args: readonly string[]) => {
    const child = spawnChild(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
    cleanup.defer(async () => void (await stopChild(child)));
    return exited(child).then((exit) => {
      throw new Error(`${args[0]} ended (${JSON.stringify(exit)}):\n${said}`);
    });
  };
  const ended = [
    start([
      'etcd',
      `--data-dir=${join(dir, 'etcd')}`,
      '--name=one',
      '--log-level=warn',
      '--unsafe-no-fsync',
      `--listen-client-urls=${etcd}`,
      `--advertise-client-urls=${etcd}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=one=${peer}`,
    ]),
  ];
  const port = await freePort();
  ended.push(
    start([
      'kube-apiserver',
      `--etcd-servers=${etcd}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${port}`,
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/16',
      '--authorization-mode=RBAC',
      `--client-ca-file=${join(dir, 'ca.crt')}`,
      `--tls-cert-file=${join(dir, 'server.crt')}`,
      `--tls-private-key-file=${join(dir, 'server.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${join(dir, 'accounts.pub')}`,
      `--service-account-signing-key-file=${join(dir, 'accounts.key')}`,
      ...flags,
    ]),
  );
  const url = `https://127.0.0.1:${port}`;
  await Promise.race([ready(url, tls), ...ended]);
  for (const end of ended) end.catch(() => {}); // from here on it ends when it is told to
  const running = cleanup.move();
  return { url, tls, [Symbol.asyncDispose]: () => running.disposeAsync() };
};

const ready = async (url: string, tls: RealKube['tls']): Promise<void> => {
  const agent = new Agent({ connect: tls });
  try {
    for (const end = Date.now() + 120_000; ;) {
      const status = await request(`${url}/readyz`, { dispatcher: agent }).then(
        async ({ statusCode, body }) => (await body.dump(), statusCode),
        () => 0,
      );
      if (status === 200) return;
      if (Date.now() > end) throw new Error('kube-apiserver is not ready after two minutes');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await agent.destroy();
  }
};

if (import.meta.main) {
  const binary = await ensureRealKube();
  console.log(binary);
}
