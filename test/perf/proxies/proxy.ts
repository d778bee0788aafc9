import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exited, run, spawnChild } from '#lib';
import { withDescendants } from '../../e2e/support/leftovers.ts';
import { listening, UPSTREAM_IP } from '../upstream.ts';

/** Where a proxy other than ours starts, and what it is to do: end TLS, put the credential in, verify the upstream, forward. */
export interface ProxyOptions {
  readonly netns: string;
  /** A directory of its own. */
  readonly dir: string;
  /** TCP port it takes redirected connections at. */
  readonly port: number;
  readonly upstreamCa: string;
  readonly upstreamCaFile: string;
  readonly authorization: string;
  /** Every name it may be asked for; all are at the upstream. */
  readonly names: readonly string[];
  /** Names that are elsewhere, with their addresses. */
  readonly elsewhere?: Readonly<Record<string, string>>;
}

export interface Proxy extends AsyncDisposable {
  /** All of its processes. */
  pids(): Promise<readonly number[]>;
}

/** Of those that find upstreams by name: an /etc/hosts of their own. */
export const withHosts = async ({ dir, names, elsewhere = {} }: ProxyOptions, argv: readonly string[]): Promise<readonly [string, string[]]> => {
  const hosts = join(dir, 'hosts');
  const all = [['localhost', '127.0.0.1'], ...names.map((name) => [name, UPSTREAM_IP]), ...Object.entries(elsewhere)];
  await writeFile(hosts, all.map(([name, address]) => `${address} ${name}\n`).join(''));
  return ['unshare', ['-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, ...argv]];
};

/** The proxy that a process is, once its port is open. */
export const proxyOf = async (child: ReturnType<typeof spawnChild>, { netns, port }: ProxyOptions): Promise<Proxy> => {
  const ended = exited(child).then(({ code, signal }) => {
    throw new Error(`the proxy at port ${port} ended (${code ?? signal})`);
  });
  ended.catch(() => {});
  await Promise.race([listening(netns, port), ended]);
  return {
    pids: () => withDescendants([child.pid!]),
    async [Symbol.asyncDispose]() {
      const all = await withDescendants([child.pid!]);
      child.kill('SIGKILL');
      await exited(child);
      for (const pid of all) await run('kill', ['-9', String(pid)]).catch(() => {}); // helpers that outlive it
    },
  };
};

/** Starts a program of ours that takes its options as JSON on stdin. */
export const startProgram = async (file: string, options: ProxyOptions, job: object): Promise<Proxy> => {
  const [command, args] = await withHosts(options, [process.execPath, join(import.meta.dirname, file)]);
  // mockttp prints a line for each client that hangs up, which a load does at its end.
  const child = spawnChild(command, args, { netns: options.netns, stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin!.end(JSON.stringify({ ...job, port: options.port, authorization: options.authorization, upstreamCa: options.upstreamCa }));
  await Promise.race([once(child.stdout!, 'data'), exited(child)]);
  child.stdout!.resume();
  return proxyOf(child, options);
};
