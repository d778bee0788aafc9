import { sleep } from '#lib';
import type { Nft } from './nft.ts';
import { REFUSED_AGAIN_S, TABLE } from './ruleset.ts';

/** A packet of a sandbox that went nowhere, and was answered so. */
export interface RefusedPacket {
  /** Sandbox address. */
  readonly source: string;
  /** `tcp`, `udp`, `icmp`, …, or a number. */
  readonly protocol: string;
  readonly destination: string;
  /** 0 where the protocol has none. */
  readonly port: number;
  /** When the first of a minute was refused, ms since the epoch. */
  readonly time: number;
}

const SETS = ['refused_ports', 'refused_other'] as const;
const EVERY_MS = 1_000;
/** An element that ends this much later than it was to end is a new one, ms. */
const JITTER_MS = 3_000;

interface Element {
  readonly fields: readonly string[];
  readonly expiresMs: number;
}

const UNITS_MS: Readonly<Record<string, number>> = { m: 60_000, s: 1_000, ms: 1 };
/** `59s796ms`, as nft writes times. */
const milliseconds = (text: string): number =>
  [...text.matchAll(/(\d+)(ms|[ms])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * UNITS_MS[unit!]!, 0);

/** Elements as `nft list set` shows them: `100.64.0.1 . udp . 192.0.2.1 . 443 expires 59s796ms`. */
export const parseElements = (text: string): readonly Element[] =>
  [...text.matchAll(/(\d+(?:\.\d+){3} \. \S+ \. \d+(?:\.\d+){3}(?: \. \d+)?)(?: timeout \w+)? expires (\w+)/g)].map(([, key, expires]) => ({
    fields: key!.split(' . '),
    expiresMs: milliseconds(expires!),
  }));

/**
 * Packets that were refused from now on, each (source, protocol, destination, port) once a minute. The kernel writes them down;
 * its list is read when its counter has moved, about once a second.
 */
export async function* refusals(nft: Nft, signal: AbortSignal): AsyncGenerator<RefusedPacket, void> {
  /** By element, when it ends; monotonic ms. */
  const seen = new Map<string, number>();
  let counted = '';
  try {
    for (;;) {
      const count = /packets (\d+)/.exec(await nft.ask(`list counter ${TABLE} refusals`))?.[1] ?? '';
      if (count !== counted) {
        counted = count;
        const listed: (Element & { readonly now: number; readonly clock: number })[] = [];
        // What an element has left is counted from when its own list was read.
        for (const set of SETS) {
          const elements = parseElements(await nft.ask(`list set ${TABLE} ${set}`));
          const [now, clock] = [performance.now(), Date.now()];
          listed.push(...elements.map((element) => ({ ...element, now, clock })));
        }
        for (const { fields, expiresMs, now, clock } of listed) {
          const key = fields.join(' ');
          if (now + expiresMs < (seen.get(key) ?? 0) + JITTER_MS) continue;
          seen.set(key, now + expiresMs);
          const [source = '', protocol = '', destination = '', port = '0'] = fields;
          const time = clock - Math.max(0, REFUSED_AGAIN_S * 1000 - expiresMs);
          yield { source, protocol, destination, port: Number(port), time };
        }
        for (const [key, ends] of seen) if (ends < performance.now()) seen.delete(key);
      }
      await sleep(EVERY_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
