import { Resolver } from 'node:dns/promises';
import { readIfExists } from '#lib';

const RESOLV_CONF = '/etc/resolv.conf';
/** The file is looked at again when a question comes this long after the last look, ms. */
const LOOK_AGAIN_MS = 1_000;
/** As in resolv.conf(5): more are not used. */
const MAX_SERVERS = 3;

/** `nameserver` lines of a resolv.conf(5). */
export const serversOf = (text: string): readonly string[] =>
  [...text.matchAll(/^[ \t]*nameserver[ \t]+([^\s#;]+)/gm)].map(([, server]) => server!).slice(0, MAX_SERVERS);

export interface NameServersOptions {
  /** `address`, `address:port` or `[address]:port`; the machine's own by default. */
  readonly servers?: readonly string[];
  readonly resolvConf?: string;
  /** How long one server has for its first answer, and how often all are asked. */
  readonly timeoutMs?: number;
  readonly tries?: number;
}

/** The name servers of this machine as they are now. Neither /etc/hosts nor a search list takes part. */
export class NameServers {
  readonly #options: NameServersOptions;
  #servers: readonly string[] | undefined;
  #resolver: Resolver | undefined;
  #looked = -Infinity;

  constructor(options: NameServersOptions = {}) {
    this.#options = options;
    if (options.servers) this.#use(options.servers);
  }

  /** Undefined where the machine names no server. */
  async current(): Promise<Resolver | undefined> {
    if (this.#options.servers || performance.now() - this.#looked < LOOK_AGAIN_MS) return this.#resolver;
    this.#looked = performance.now();
    const servers = serversOf((await readIfExists(this.#options.resolvConf ?? RESOLV_CONF)) ?? '');
    if (servers.join() !== this.#servers?.join()) this.#use(servers);
    return this.#resolver;
  }

  /** Questions under way stay with the resolver they were asked of. */
  #use(servers: readonly string[]): void {
    this.#servers = servers;
    this.#resolver = undefined;
    if (servers.length === 0) return;
    const resolver = new Resolver({ timeout: this.#options.timeoutMs ?? 1_500, tries: this.#options.tries ?? 2 });
    resolver.setServers(servers);
    this.#resolver = resolver;
  }

  cancel(): void {
    this.#resolver?.cancel();
  }
}
