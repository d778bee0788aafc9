import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, type Logger } from '#lib';
import type { Binding } from '#model';
import type { HostPort } from './egress.ts';

/** How long a sandbox that floods reaches nothing over TCP. */
const CUT_MS = 10_000;

export interface FloodsOptions {
  readonly host: Pick<HostPort, 'setRoute' | 'deleteRoute' | 'closeConnections'>;
  /** Sandboxes that have a run now. */
  readonly bindings: () => readonly Binding[];
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly cutMs?: number;
}

/**
 * Agents that try more destinations than they may have verdicts for. Envoy keeps a trace of every name it ever asked for, so
 * refusing one by one would not bound what an agent costs everybody: its sandboxes are cut off for a while, at their own address.
 */
export class Floods {
  readonly #options: FloodsOptions;
  readonly #cut = new Set<string>();

  constructor(options: FloodsOptions) {
    this.#options = options;
  }

  /** The agent of a block tried too much at a gateway; `port` is where its connections are refused and recorded. */
  flooded(block: string, port: number): void {
    for (const { address, block: of } of this.#options.bindings()) {
      if (of !== block || this.#cut.has(address)) continue;
      this.#cut.add(address);
      this.#cutOff(address, port)
        .catch((error: unknown) => this.#options.log.error('cannot cut off a sandbox that floods', { address, cause: messageOf(error) }))
        .finally(() => this.#cut.delete(address));
    }
  }

  async #cutOff(address: string, port: number): Promise<void> {
    const { host, log, signal } = this.#options;
    log.warn('a sandbox tries too many destinations and is cut off for a while', { address });
    const element = { map: 'parked', source: address, destination: '', ports: '' } as const;
    await host.setRoute({ ...element, port });
    // Requests on connections that are open are tries as well.
    await host.closeConnections(address, []);
    await sleep(this.#options.cutMs ?? CUT_MS, undefined, { signal });
    await host.deleteRoute(element);
  }
}
