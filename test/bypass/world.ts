import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exited, run, spawnChild, stopChild } from '#lib';
import type { Lab } from '../../src/supervisor/lab.ts';
import { CATCH_ALL_PORT, PLACES, PORTS, type Sighting } from '../fixtures/canary/places.ts';

const FIXTURES = join(import.meta.dirname, '..', 'fixtures', 'canary');

/** Ports of canaries; anything else that arrives is the catch-all's. */
const TAKEN = [...new Set([22, 53, ...Object.values(PORTS)])].join(', ');

/**
 * Rules of the fixture namespace: every packet the stack lets out has a taker, whatever its address and port, so the whole
 * internet is a canary. What has no ports to listen on (ICMP, SCTP, …) is counted.
 */
const RULES = `
table inet canary {
  counter odd { }
  chain catch {
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "uplink0" accept
    fib daddr type != local meta l4proto { tcp, udp } redirect to :${CATCH_ALL_PORT}
    ip daddr 10.213.0.2 tcp dport 443 accept
    tcp dport != { ${TAKEN} } redirect to :${CATCH_ALL_PORT}
    udp dport != { 53, ${PORTS.echo} } redirect to :${CATCH_ALL_PORT}
  }
  chain count {
    type filter hook prerouting priority raw; policy accept;
    iifname "uplink0" meta l4proto != { tcp, udp, ipv6-icmp } counter name odd
    iifname "uplink0" icmpv6 type { echo-request } counter name odd
  }
}
`;

/** Everything outside of the stack, with its eyes open. */
export interface World extends AsyncDisposable {
  /** PEM of the authorities that signed the canaries' certificates. */
  readonly ca: string;
  /** The one with a weak key. */
  readonly weakCa: string;
  /** What the canaries saw since the last call. */
  sightings(): Promise<readonly Sighting[]>;
  /** Packets that were neither TCP nor UDP, since the beginning. */
  odd(): Promise<number>;
}

const address6 = (address: string): boolean => address.includes(':');

/** Puts canaries behind the veth of a lab, and makes it the stack's way to everywhere. */
export const createWorld = async (lab: Lab, dir: string): Promise<World> => {
  const inFixture = (...args: string[]) => run('ip', args, { netns: lab.fixture });
  const inStack = (...args: string[]) => run('ip', args, { netns: lab.stack });
  for (const address of Object.keys(PLACES)) {
    await inFixture('address', 'add', `${address}/${address6(address) ? 128 : 32}`, 'dev', 'lo', ...(address6(address) ? ['nodad'] : []));
  }
  await inFixture('address', 'add', 'fd00:213::2/64', 'dev', 'uplink0', 'nodad');
  await inStack('address', 'add', 'fd00:213::1/64', 'dev', 'uplink0', 'nodad');
  await inStack('route', 'add', 'default', 'via', lab.fixtureIp);
  await inStack('-6', 'route', 'add', 'default', 'via', 'fd00:213::2');
  await run('nft', ['-f', '-'], { netns: lab.fixture, input: RULES });

  const resources = new AsyncDisposableStack();
  const start = async (argv: readonly string[], netns: string): Promise<void> => {
    const child = spawnChild(process.execPath, argv, { netns, stdio: ['ignore', 'pipe', 'inherit'] });
    resources.defer(async () => void (await stopChild(child, 0)));
    const ended = exited(child).then(() => Promise.reject(new Error(`${argv[0]} ended`)));
    ended.catch(() => {});
    await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), ended]);
  };
  const files = [join(dir, 'canary.jsonl'), join(dir, 'host.jsonl')];
  await start([join(FIXTURES, 'main.ts'), '--dir', dir, '--resolver', lab.fixtureIp], lab.fixture);
  await start([join(FIXTURES, 'host.ts'), '--log', files[1]!], lab.stack);
  const logs = files.map((file) => newLines<Sighting>(file));
  return {
    ca: await readFile(join(dir, 'ca.pem'), 'utf8'),
    weakCa: await readFile(join(dir, 'weak.pem'), 'utf8'),
    sightings: async () => (await Promise.all(logs.map((next) => next()))).flat(),
    async odd() {
      const { stdout } = await run('nft', ['--json', 'list', 'counter', 'inet', 'canary', 'odd'], { netns: lab.fixture });
      const { nftables } = JSON.parse(stdout) as { nftables: { counter?: { packets: number } }[] };
      return nftables.find(({ counter }) => counter)!.counter!.packets;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};

/** Reads what was added to a file of JSON lines since the last call. */
export const newLines = <Line>(file: string): (() => Promise<readonly Line[]>) => {
  let read = 0;
  return async () => {
    const text = await readFile(file, 'utf8');
    const complete = text.slice(read, text.lastIndexOf('\n') + 1);
    read += complete.length;
    return complete
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  };
};
