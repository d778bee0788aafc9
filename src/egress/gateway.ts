import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { rootCertificates } from 'node:tls';
import { canonicalJson, fingerprintOf, sha256Hex, type Clock, type Logger } from '#lib';
import type { DesiredGateway, GatewayState, PolicySet, RequestFacts, ServiceAccountKey, WorkerLayout } from '#model';
import { admitsName, admittedHosts, answersDenied, coversName, isServedOnDemand, judgedPorts, namesOf } from '#policy';
import { GatewayCredentials } from './credentials/gateway-credentials.ts';
import { addressesOf, requestToken, type Token } from './credentials/token-request.ts';
import { Leaves } from './leaves.ts';
import { NameAddresses } from './names/addresses.ts';
import { DeniedNames } from './names/denied.ts';
import type { NamingGateway } from './names/resolver.ts';
import { ServedHosts } from './names/served-hosts.ts';
import { Revocations, type Revoked } from './revocations.ts';
import { isInSlice, sliceOf, type Slice } from './slices.ts';
import { isSteeredByName, udpDestinations, type SteeredGateway, type UdpRelay, type UdpRelays } from './steering/index.ts';
import { bootstrap, translate } from './translate/index.ts';
import type { UpstreamResolver, Wanted } from './upstream/index.ts';
import { serviceName, Upstreams } from './upstreams.ts';
import type { JudgeContext } from './verdicts/judge.ts';
import { Verdicts } from './verdicts/verdicts.ts';
import { XdsNode, type NodeState } from './xds/node.ts';
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

/** How long a question waits for Envoy to serve its name; less than stub resolvers wait. */
const SERVE_MS = 3_000;

export interface GatewayOptions {
  readonly name: string;
  readonly index: number;
  readonly at: WorkerLayout;
  readonly roots: string;
  readonly upstream: Pick<UpstreamResolver, 'watch'>;
  /** Agent that has a block of addresses now, `namespace/name`. */
  readonly agentOf: (block: string) => string | undefined;
  readonly relays: UdpRelays;
  /** Brings a name that has an address now into the maps of the gateway namespace. */
  readonly steer: (gateway: string) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly changed: () => void;
  /** The agent of a block tries too many destinations; `port` is where its connections are to be refused. */
  readonly flooded: (block: string, port: number) => void;
  /** Something that sandboxes may have open is denied now, and the denial is in force. */
  readonly revoked: (revoked: Revoked) => void;
}

/** One EgressGateway on this worker: its policy, names, leaves, verdicts, and what its Envoy has of it. */
export class Gateway implements NamingGateway, Disposable {
  readonly name: string;
  readonly index: number;
  readonly slice: Slice;
  readonly node: XdsNode;
  readonly #options: GatewayOptions;
  readonly #addresses: NameAddresses;
  readonly #denied: DeniedNames;
  readonly #served: ServedHosts;
  /** Those of them that Envoy was told of last. */
  #published: ReadonlySet<string> = new Set();
  readonly #leaves: Leaves;
  readonly #upstreams: Upstreams;
  readonly #verdicts: Verdicts;
  readonly #revocations = new Revocations(({ host, port }) => {
    const address = this.#addresses.of(host);
    return address && `${address}:${port}`;
  });
  #policy: PolicySet | undefined;
  readonly #credentials: GatewayCredentials;
  #resolution = '';
  /** Hash of what was applied last. */
  #applied: string | undefined;
  #state: GatewayState;

  private constructor(options: GatewayOptions, addresses: NameAddresses) {
    this.#options = options;
    const { clock, log, index, name } = options;
    this.name = name;
    this.index = index;
    this.slice = sliceOf(index);
    this.#addresses = addresses;
    this.#denied = new DeniedNames(index, clock);
    this.#served = new ServedHosts(clock);
    this.#state = { gateway: name, revision: '', since: clock.now(), error: '' };
    const admitted = (host: string): boolean => this.#policy !== undefined && coversName(namesOf(this.#policy), host);
    this.#leaves = new Leaves({
      clock,
      admit: (host) => (admitted(host) ? 'admitted' : this.#denied.has(host) ? 'denied' : undefined),
      onEvict: (host) => this.node.evict(host),
    });
    this.#upstreams = new Upstreams((host, ranges, listener) => options.upstream.watch(host, wantedOf(this.#policy!, host, ranges), listener));
    this.#credentials = new GatewayCredentials({
      request: (key, signal) => this.#requestToken(key, signal),
      changed: () => this.#credentialsChanged(),
      clock,
      log,
    });
    this.#verdicts = new Verdicts({
      context: () => this.#context(),
      serviceOf: (upstream) => this.#upstreams.serviceOf(upstream),
      forbidden: (service) => this.#upstreams.forbidden(service),
      flooded: (block) => options.flooded(block, this.slice.floodedPort),
      clock,
    });
    const onState = (state: NodeState): void => this.#onState(state);
    const turned = (service: string): void => this.#turned(service);
    this.node = new XdsNode({ leaves: this.#leaves, verdicts: this.#verdicts, upstreams: this.#upstreams, turned, admitted, clock, log, onState });
  }

  static async open(options: GatewayOptions): Promise<Gateway> {
    const { at, name: gateway, index, clock } = options;
    const made: Gateway = new Gateway(
      options,
      await NameAddresses.open({
        dir: at.names,
        gateway,
        index,
        clock,
        assigned: (name) => made.#assigned(name),
      }),
    );
    return made;
  }

  get policy(): PolicySet | undefined {
    return this.#policy;
  }

  get state(): GatewayState {
    const unavailable = [...this.#credentials.unavailable].map(([credential, reason]) => ({ credential, reason }));
    return { ...this.#state, unavailable };
  }

  /** Takes what the controllers want, and starts bringing it to Envoy. What it has already is not worked out again. */
  async apply(desired: DesiredGateway): Promise<void> {
    const wanted = sha256Hex(JSON.stringify([desired, ownAddresses()]));
    if (wanted === this.#applied) return;
    this.#applied = undefined; // unknown, should it fail
    await this.#take(desired);
    this.#applied = wanted;
  }

  async #take(desired: DesiredGateway): Promise<void> {
    const policy = JSON.parse(desired.policySet) as PolicySet;
    await this.#addresses.admit(namesOf(policy).exact);
    this.#leaves.use({ certPem: desired.intermediatePem, keyPem: desired.intermediateKeyPem });
    this.#state = { ...this.#state, root: fingerprintOf(desired.rootPem) };
    const before = this.#policy;
    this.#policy = policy;
    this.#served.restore([...this.#addresses.entries()].map(([host]) => host).filter((host) => isServedOnDemand(policy, host)));
    this.#credentials.set(policy, desired.credentials);
    const resolution = canonicalJson([policy.hostAliases, policy.lookupFamily]);
    if (before && resolution !== this.#resolution) this.#upstreams.refresh();
    this.#resolution = resolution;
    const judged = this.#verdicts.rejudge();
    this.#revocations.found(policy, judged.revoked);
    // What is judged anew goes out before the rest is worked out; as long as Envoy lacks the rest, it has the revision before.
    void this.node.change(judged);
    await setImmediate();
    this.#publish(policy, await this.#relay(policy));
  }

  /** Brings to Envoy what follows from the policy and the destinations over UDP. */
  #publish(policy: PolicySet, relays: readonly UdpRelay[]): void {
    const { at, index, roots } = this.#options;
    const credentials = this.#credentials;
    const { names } = this.#served;
    this.#published = new Set(names);
    const translated = translate({
      policy,
      index,
      slice: this.slice,
      netns: at.gatewayNetns,
      accessLog: at.accessLog(index),
      ownAddresses: ownAddresses(),
      credentials,
      names,
      relays,
      serviceOf: (upstream) => this.#upstreams.serviceOf(upstream),
      forbidden: (service) => this.#upstreams.forbidden(service),
    });
    this.node.set(snapshotOf(policy.revision, translated, { credentials: credentials.secrets, trustedCa: roots + policy.trustBundle }));
  }

  /** What a service leads to turned forbidden, or may be dialled again: its verdicts say so, and the routes of providers. */
  #turned(service: string): void {
    void this.node.change(this.#verdicts.turned(service)); // its end is part of `progress`
    const policy = this.#policy;
    const isServed = (host: string): boolean => judgedPorts(policy!, host).some((port) => serviceName({ host, port }) === service);
    if (!policy || !admittedHosts(policy, this.#served.names).some(isServed)) return;
    this.#republish().catch((error: unknown) => this.#options.log.error('cannot publish a name that turned', { err: error }));
  }

  /** Names changed. A policy that comes meanwhile is published by whoever brings it, and must not be overwritten. */
  async #republish(): Promise<void> {
    for (;;) {
      const policy = this.#policy;
      if (!policy) return;
      const relays = await this.#relay(policy);
      if (policy === this.#policy) return this.#publish(policy, relays);
    }
  }

  /** A token came or ended: what waits for it is judged anew, and Envoy gets its value. */
  #credentialsChanged(): void {
    if (!this.#policy) return;
    this.#options.changed();
    void this.node.change(this.#verdicts.rejudge()); // its end is part of `progress`
    this.#republish().catch((error: unknown) => this.#options.log.error('cannot publish a credential that changed', { err: error }));
  }

  /** Asked for as everything of this gateway is: at its aliases, at addresses that may be dialled, with whom it trusts. */
  async #requestToken(key: ServiceAccountKey, signal: AbortSignal): Promise<Token> {
    const { upstream, roots, clock } = this.#options;
    const policy = this.#policy!;
    const host = new URL(key.tokenUri).hostname;
    const addresses = await addressesOf((listener) => upstream.watch(host, wantedOf(policy, host, undefined), listener), signal);
    return requestToken(key, { addresses, trusted: roots + policy.trustBundle, now: clock.now(), signal });
  }

  /** The agent of a block changed: its verdicts are those of another one. Resolves when Envoy has them. */
  async rejudge(block: string): Promise<void> {
    await this.node.change(this.#verdicts.rejudge({ block }));
  }

  /** A request with these facts was let through; remembered until the address is released. */
  served(source: string, facts: RequestFacts): void {
    this.#revocations.served(source, facts);
  }

  released(source: string): void {
    this.#revocations.released(source);
  }

  #context(): JudgeContext | undefined {
    const policy = this.#policy;
    if (!policy) return undefined;
    const { agentOf } = this.#options;
    return {
      policy,
      credentials: this.#credentials,
      agentOf,
      own: ownAddresses(),
      isSynthetic: (address) => isInSlice(this.index, address),
      nameOf: (address) => this.nameOf(address),
    };
  }

  /** A name has an address now: its datagrams need a listener, and its packets an element of the maps. */
  async #assigned(name: string): Promise<void> {
    const address = this.#addresses.of(name);
    if (address !== undefined) await this.#reassigned(address);
    const policy = this.#policy;
    if (!policy || !isSteeredByName(policy, name)) return;
    await this.#republish();
    await this.node.settled();
    await this.#options.steer(this.name);
  }

  /** The address may have stood for another name: what was let through to that one must not take what is for this one. */
  async #reassigned(address: string): Promise<void> {
    const judged = this.#verdicts.rejudge({ address });
    await this.node.change(judged);
    if (judged.revoked.size > 0) this.#options.revoked(judged.revoked);
  }

  /** Destinations over UDP have a port each. */
  async #relay(policy: PolicySet): Promise<readonly UdpRelay[]> {
    const { list, dropped } = udpDestinations({ policy, names: () => this.#addresses.entries() });
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

  async addressOf(name: string, agent: string): Promise<string | undefined> {
    const address = await this.#addresses.assign(name);
    return address !== undefined && (await this.#serve(name, agent)) ? address : undefined;
  }

  /** A name that a pattern claims is given out when Envoy serves it. False when there are too many. */
  async #serve(name: string, agent: string): Promise<boolean> {
    const policy = this.#policy;
    if (!policy || !isServedOnDemand(policy, name)) return true;
    if (!this.#served.ask(name, agent)) return false;
    if (!this.#published.has(name)) await this.#republish();
    if (!(await this.node.settled(SERVE_MS))) throw new Error(`Envoy does not serve ${name} yet`);
    return true;
  }

  nameOf(address: string): string | undefined {
    return this.#addresses.nameOf(address);
  }

  deny(name: string): string | undefined {
    return this.#policy && answersDenied(this.#policy) ? this.#denied.answer(name) : undefined;
  }

  /** After the clock was set: leaves that are not valid now are made anew at the next handshake. */
  checkLeaves(): void {
    this.#leaves.check();
  }

  #onState({ revision, error }: NodeState): void {
    const since = revision === this.#state.revision ? this.#state.since : this.#options.clock.now();
    this.#state = { ...this.#state, revision, since, error };
    if (error) this.#options.log.error('Envoy rejected configuration', { error });
    // What is denied is closed also when Envoy refuses something else: verdicts come before, and it has taken or refused them.
    if (this.#policy && (revision === this.#policy.revision || error !== '')) {
      this.#revocations.lost(this.#verdicts.lost());
      const revoked = this.#revocations.take();
      if (revoked.size > 0) this.#options.revoked(revoked);
    }
    this.#options.changed();
  }

  [Symbol.dispose](): void {
    this.#credentials[Symbol.dispose]();
    this.node[Symbol.dispose]();
  }
}

/** How a name of this gateway is resolved. */
const wantedOf = ({ hostAliases, lookupFamily }: PolicySet, host: string, ranges: readonly string[] | undefined): Wanted => ({
  aliases: hostAliases.filter(({ hostnames }) => hostnames.includes(host)).map(({ ip }) => ip),
  lookupFamily,
  ...(ranges && { ranges }),
});
