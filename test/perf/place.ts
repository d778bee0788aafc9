import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '#lib';
import type { Lab } from '../../src/supervisor/lab.ts';
import { removeRunDir } from '../../src/supervisor/run-dir.ts';
import { UPSTREAM_CIDR } from './upstream.ts';

/**
 * Where the other proxies stand, in front of the same upstream and as transparent as ours: a namespace with a way to the
 * upstream, and for each proxy a namespace of a client behind it, whose connections are redirected to the proxy's port.
 * Client, proxy and upstream are then as many links apart as with a sandbox behind our gateway.
 */
export interface Place extends AsyncDisposable {
  /** The namespace of the proxies; a client in it is one that talks to the upstream directly. */
  readonly proxies: string;
  /** A new namespace whose TCP connections to port 443, to whatever address, arrive at this port among the proxies. */
  client(proxyPort: number): Promise<string>;
}

const namespace = async (file: string): Promise<string> => {
  await writeFile(file, '', { flag: 'wx', mode: 0o400 });
  await run('unshare', [`--net=${file}`, '--', 'ip', 'link', 'set', 'lo', 'up']);
  return file;
};

const ip = async (netns: string, ...commands: readonly string[]): Promise<void> => {
  for (const command of commands) await run('ip', command.split(' '), { netns });
};

/** A link between two namespaces, `net`.1/30 at the one and `net`.2/30 at the other. */
const join30 = async (one: string, other: string, name: string, net: string): Promise<void> => {
  await ip(one, `link add ${name} type veth peer name ${name}p netns ${other}`, `address add ${net}.1/30 dev ${name}`, `link set ${name} up`);
  await ip(other, `address add ${net}.2/30 dev ${name}p`, `link set ${name}p up`);
};

export const createPlace = async (lab: Lab, dir: string): Promise<Place> => {
  await mkdir(dir);
  await using made = new AsyncDisposableStack();
  made.defer(() => removeRunDir(dir));
  const proxies = await namespace(join(dir, 'proxies.netns'));
  await join30(lab.fixture, proxies, 'proxies', '10.214.0');
  await ip(proxies, `route add ${UPSTREAM_CIDR} via 10.214.0.1`);
  const chain = 'chain redirected { type nat hook prerouting priority dstnat; policy accept; }\n';
  await run('nft', ['-f', '-'], { netns: proxies, input: `table ip bench {\n${chain}}\n` });
  let clients = 0;
  const all = made.move();
  return {
    proxies,
    async client(proxyPort) {
      const n = ++clients;
      const netns = await namespace(join(dir, `client${n}.netns`));
      await join30(proxies, netns, `c${n}`, `10.214.${n}`);
      await ip(netns, `route add default via 10.214.${n}.1`);
      await run('nft', ['add', 'rule', 'ip', 'bench', 'redirected', 'iifname', `c${n}`, 'tcp', 'dport', '443', 'redirect', 'to', `:${proxyPort}`], {
        netns: proxies,
      });
      return netns;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
};
