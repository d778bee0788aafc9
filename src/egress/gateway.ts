import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { rootCertificates } from 'node:tls';
import { fingerprintOf, type Clock, type Logger } from '#lib';
import type { DesiredGateway, GatewayState, PolicySet, WorkerLayout } from '#model';
import { admittedHosts, admitsHost, terminatesAt } from '#policy';
import { Leaves } from './leaves.ts';
import { NameAddresses } from './names/addresses.ts';
import { DeniedNames } from './names/denied.ts';
import type { NamingGateway } from './names/resolver.ts';
import { sliceOf, type Slice } from './slices.ts';
import { bootstrap, translate } from './translate/index.ts';
import { XdsNode } from './xds/node.ts';
import { snapshotOf } from './xds/snapshot.ts';

const SYSTEM_ROOTS = '/etc/ssl/certs/ca-certificates.crt';

/** The public roots of this machine, or Node's own where there are none. */
export const systemRoots = (): string => {
  try {
    return readFileSync(SYSTEM_ROOTS, 'utf8');
  } catch {
    return `${rootCertificates.join('\n')}\n`;
  }
};

const ownAddresses = (): readonly string[] =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address)
    .sort();

export interface GatewayOptions {
  readonly name: string;
  readonly index: number;
  readonly at: WorkerLayout;
  readonly roots: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly changed: () => void;
}

/** One EgressGateway on this worker: its policy, names, leaves, and what its Envoy has of it. */
export class Gateway implements NamingGateway {
  readonly name: string;
  readonly index: number;
  readonly slice: Slice;
  readonly node: XdsNode;
  readonly #options: GatewayOptions;
  readonly #addresses: NameAddresses;
  readonly #denied: DeniedNames;
  readonly #leaves: Leaves;
  #policy: PolicySet | undefined;
  #state: GatewayState;

  private constructor(options: GatewayOptions, addresses: NameAddresses) {
    this.#options = options;
    this.name = options.name;
    this.index = options.index;
    this.slice = sliceOf(options.index);
    this.#addresses = addresses;
    this.#denied = new DeniedNames(options.index, options.clock);
    this.#state = { gateway: options.name, revision: '', since: options.clock.now(), error: '' };
    const admitted = (name: string): boolean => this.#policy !== undefined && admitsHost(this.#policy, name);
    this.#leaves = new Leaves({
      clock: options.clock,
      admit: (name) => (admitted(name) ? 'admitted' : this.#denied.has(name) ? 'denied' : undefined),
      onEvict: (name) => this.node.evict(name),
    });
    this.node = new XdsNode({ leaves: this.#leaves, admitted, clock: options.clock, log: options.log, onState: (state) => this.#onState(state) });
  }

  static async open(options: GatewayOptions): Promise<Gateway> {
    return new Gateway(options, await NameAddresses.open(options.at.names, options.name, options.index));
  }

  get policy(): PolicySet | undefined {
    return this.#policy;
  }

  get state(): GatewayState {
    return this.#state;
  }

  /** Takes what the controllers want, and starts bringing it to Envoy. */
  async apply(desired: DesiredGateway): Promise<void> {
    const policy = JSON.parse(desired.policySet) as PolicySet;
    const credentials = new Map(desired.credentials.map(({ name, value }) => [name, value]));
    await this.#addresses.admit(admittedHosts(policy));
    this.#leaves.use({ certPem: desired.intermediatePem, keyPem: desired.intermediateKeyPem });
    this.#state = { ...this.#state, root: fingerprintOf(desired.rootPem) };
    const { at, index, roots } = this.#options;
    const translated = translate({
      policy,
      index,
      slice: this.slice,
      netns: at.gatewayNetns,
      accessLog: at.accessLog(index),
      ownAddresses: ownAddresses(),
      credentials: new Set(credentials.keys()),
    });
    this.#policy = policy;
    this.node.set(snapshotOf(policy.revision, translated, { credentials, trustedCa: roots + policy.trustBundle }));
  }

  /** The bootstrap of its Envoy, as JSON. */
  get bootstrap(): string {
    const { at, index, name } = this.#options;
    return JSON.stringify(bootstrap({ gateway: name, adminSocket: at.envoyAdmin(index), xdsSocket: at.xdsSocket, engineSocket: at.engineSocket }));
  }

  addressOf(name: string): string | undefined {
    return this.#addresses.of(name);
  }

  deny(name: string): string | undefined {
    const policy = this.#policy;
    if (!policy) return undefined;
    const ports = [0, ...policy.listeners.flatMap(({ port }) => port ?? [])];
    return ports.some((port) => terminatesAt(policy, port)) ? this.#denied.answer(name) : undefined;
  }

  /** After the clock was set: leaves that are not valid now are made anew at the next handshake. */
  checkLeaves(): void {
    this.#leaves.check();
  }

  #onState({ revision, error }: { readonly revision: string; readonly error: string }): void {
    const since = revision === this.#state.revision ? this.#state.since : this.#options.clock.now();
    this.#state = { ...this.#state, revision, since, error };
    if (error) this.#options.log.error('Envoy rejected configuration', { error });
    this.#options.changed();
  }
}
