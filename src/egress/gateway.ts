import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { rootCertificates } from 'node:tls';
import { fingerprintOf, type Clock, type Logger } from '#lib';
import type { DesiredGateway, GatewayState, PolicySet, WorkerLayout } from '#model';
import { admitsHost, admitsName, namesOf, terminatesAt } from '#policy';
import { Leaves } from './leaves.ts';
import { NameAddresses } from './names/addresses.ts';
import { DeniedNames } from './names/denied.ts';
import type { NamingGateway } from './names/resolver.ts';
import { sliceOf, type Slice } from './slices.ts';
import { isSteeredByName, udpDestinations, type SteeredGateway, type UdpRelay, type UdpRelays } from './steering/index.ts';
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
  readonly relays: UdpRelays;
  /** Brings a name that has an address now into the maps of the gateway namespace. */
  readonly steer: (gateway: string) => Promise<void>;
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
    const { at, name: gateway, index, clock } = options;
    const made: Gateway = new Gateway(options, await NameAddresses.open({ dir: at.names, gateway, index, clock, assigned: (name) => made.#assigned(name) }));
    return made;
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
    await this.#addresses.admit(namesOf(policy).exact);
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
    await this.#relay();
    this.node.set(snapshotOf(policy.revision, translated, { credentials, trustedCa: roots + policy.trustBundle }));
  }

  async #assigned(name: string): Promise<void> {
    if (!this.#policy || !isSteeredByName(this.#policy, name)) return;
    await this.#relay();
    await this.#options.steer(this.name);
  }

  /** Destinations over UDP have a port each. */
  async #relay(): Promise<readonly UdpRelay[]> {
    const { list, dropped } = udpDestinations({ policy: this.#policy!, names: () => this.#addresses.entries() });
    if (dropped > 0) this.#options.log.warn('more destinations over UDP than can be relayed; some are refused', { dropped });
    return this.#options.relays.assign(this.index, list);
  }

  /** What steering has to know; undefined before there is a policy. */
  get steered(): SteeredGateway | undefined {
    const policy = this.#policy;
    return (
      policy && {
        slice: this.slice,
        policy,
        names: () => this.#addresses.entries(),
        relayOf: (destination) => this.#options.relays.of(this.index, destination),
      }
    );
  }

  /** The bootstrap of its Envoy, as JSON. */
  get bootstrap(): string {
    const { at, index, name } = this.#options;
    return JSON.stringify(bootstrap({ gateway: name, adminSocket: at.envoyAdmin(index), xdsSocket: at.xdsSocket, engineSocket: at.engineSocket }));
  }

  admitsName(agent: string, name: string): boolean {
    return this.#policy !== undefined && admitsName(this.#policy, agent, name);
  }

  addressOf(name: string): Promise<string | undefined> {
    return this.#addresses.assign(name);
  }

  nameOf(address: string): string | undefined {
    return this.#addresses.nameOf(address);
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
