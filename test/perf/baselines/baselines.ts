import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exited, poll, run, spawnChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';

/** Proxies other than ours, in front of the same provider. */

export interface Upstream {
  readonly netns: string;
  readonly address: string;
  readonly host: string;
  /** PEM, and its file. */
  readonly ca: string;
  readonly caFile: string;
  readonly authorization: string;
}

export interface Baseline extends AsyncDisposable {
  readonly pid: number;
}

const MITMPROXY = 'mitmproxy==11.0.2';

/** mitmproxy from PyPI, in an environment of its own below the directory. */
export const ensureMitmproxy = async (dir: string): Promise<string> => {
  const program = join(dir, MITMPROXY, 'bin', 'mitmdump');
  if (existsSync(program)) return program;
  await mkdir(dir, { recursive: true });
  await run('python3', ['-m', 'venv', join(dir, MITMPROXY)]);
  await run(join(dir, MITMPROXY, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', MITMPROXY], { timeoutMs: 240_000 });
  return program;
};

const disposable = (child: ReturnType<typeof spawnChild>): Baseline => ({
  pid: child.pid!,
  async [Symbol.asyncDispose]() {
    child.kill('SIGKILL');
    await exited(child);
  },
});

export const startNodeProxy = async (listen: string, { netns, address, host, ca, authorization }: Upstream): Promise<Baseline> => {
  const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const authority = await createAuthority({ subject: 'CN=clrk bench', ca: { pathLength: 0 }, ...valid });
  const leaf = await (await loadSigner(authority)).issue({ subject: `CN=${host}`, usage: 'server', dns: [host], ...valid });
  const child = spawnChild(process.execPath, [join(import.meta.dirname, 'node-proxy.ts')], { netns, stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin!.end(JSON.stringify({ listen, upstream: address, host, key: leaf.keyPem, cert: leaf.certPem, upstreamCa: ca, authorization }));
  await once(child.stdout!, 'data');
  return disposable(child);
};

export const startMitmproxy = async (
  program: string,
  dir: string,
  listen: string,
  { netns, address, host, caFile, authorization }: Upstream,
): Promise<Baseline> => {
  await mkdir(dir, { recursive: true });
  const hosts = join(dir, 'hosts');
  await writeFile(hosts, `${address} ${host}\n`);
  const settings = { confdir: dir, ssl_verify_upstream_trusted_ca: caFile, keep_host_header: 'true', modify_headers: `/~q/authorization/${authorization}` };
  const options = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
  const argv = [program, '--quiet', '--mode', `reverse:https://${host}`, '--listen-host', listen, '--listen-port', '443', ...options];
  const mounted = ['-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, ...argv];
  const child = spawnChild('unshare', mounted, { netns, stdio: ['ignore', 'inherit', 'inherit'] });
  const listening = (): Promise<true | undefined> =>
    run('sh', ['-c', `ss -Hltn src ${listen}:443 | grep -q .`], { netns }).then(
      () => true,
      () => undefined,
    );
  await poll(listening, 100, AbortSignal.timeout(30_000));
  return disposable(child);
};
