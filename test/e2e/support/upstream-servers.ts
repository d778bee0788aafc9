import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { spawnChild, stopChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';

/** The servers of `upstreams.ts`. */
export interface UpstreamServers extends AsyncDisposable {
  /** What they saw, a line a connection or request. */
  readonly seen: readonly Record<string, unknown>[];
  /** PEM of the root above their certificates. */
  readonly ca: string;
}

/** Starts them at `ip` of a network namespace; `dir` is where they may keep things, and is made. */
export const startUpstreams = async (dir: string, netns: string, ip: string): Promise<UpstreamServers> => {
  await mkdir(dir);
  const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const root = await createAuthority({ subject: 'CN=upstreams', ca: { pathLength: 0 }, ...valid });
  const signer = await loadSigner(root);
  for (const name of ['web.example', 'other.example']) {
    const issued = await signer.issue({ subject: '', usage: 'server', dns: [name], ...valid });
    await writeFile(join(dir, `${name}.pem`), issued.certPem);
    await writeFile(join(dir, `${name}.key`), issued.keyPem);
  }
  const child = spawnChild(process.execPath, [join(import.meta.dirname, 'upstreams.ts'), ip, dir], { netns, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! });
  await once(lines, 'line');
  const seen: Record<string, unknown>[] = [];
  lines.on('line', (line) => seen.push(JSON.parse(line) as Record<string, unknown>));
  return {
    seen,
    ca: root.certPem,
    async [Symbol.asyncDispose]() {
      await stopChild(child);
    },
  };
};
