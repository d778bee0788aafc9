import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Latest, messageOf, readIfExists, RecordFile, retry, sweepTemporaries, watchClock, writeFileAtomic, type Clock, type Logger } from '#lib';
import type { AccessLine, Binding, EgressDesired, EgressLine, EgressReport, LedgerPort, PolicySet, WorkerLayout } from '#model';
import { Claims, createRpcServer, Names } from '#wire';
import { AggregatedDiscoveryService, ExternalProcessor } from '#wire/xds';
import { Bindings } from './bindings.ts';
import { claimsService } from './claims.ts';
import { createEngine, createSettler, SETTLED } from './engine/index.ts';
import { Floods } from './floods.ts';
import { GatewayIndexes } from './gateway-indexes.ts';
import { Gateway, systemRoots } from './gateway.ts';
import { createResolver, type Answer } from './names/resolver.ts';
import { rotateAccessLogs } from './access-logs.ts';
import { refusedPacketLine, type RefusedPacket } from './refused-packets.ts';
import type { Revoked } from './revocations.ts';
import { MAX_GATEWAYS, type Slice } from './slices.ts';
import { Steering, UdpRelays, type MapElement, type Way } from './steering/index.ts';
import type { UpstreamResolver } from './upstream/index.ts';
import { xdsService } from './xds/server.ts';

/** How often it is seen whether the clock was set. */
const CLOCK_EVERY_MS = 500;

/** What needs privilege, done by the worker. Calls fail while it is away. */
export interface HostPort {
  startEnvoy(envoy: { readonly index: number; readonly gateway: string; readonly bootstrap: string }): Promise<void>;
  stopEnvoy(index: number): Promise<void>;
  startFront(): Promise<void>;
  setRoute(element: MapElement): Promise<void>;
  deleteRoute(element: Omit<MapElement, 'port'>): Promise<void>;
  setBlock(block: string, elements: readonly MapElement[]): Promise<void>;
  /** Resets the TCP connections of a sandbox address to destinations (`ip:port`, as it dialled them). */
  closeConnections(address: string, destinations: readonly string[]): Promise<void>;
}

export interface EgressOptions {
  readonly worker: string;
  readonly at: WorkerLayout;
  readonly host: HostPort;
  readonly ledger: LedgerPort;
  /** Where names of upstreams lead. */
  readonly upstream: UpstreamResolver;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/**
 * The egress of one worker: brings desired state to the Envoys of its gateways, answers their questions (leaves, verdicts) and
 * those of the front (names), and binds addresses to runs. Credentials are in memory only.
 */
export class Egress implements AsyncDisposable {
  readonly #options: EgressOptions;
  readonly #gateways = new Map<string, Gateway>();
  readonly #indexes: GatewayIndexes;
  readonly #bindings: Bindings;
  readonly #records: RecordFile<EgressLine>;
  readonly #steering: Steering;
  readonly #relays: UdpRelays;
  readonly #servers = new AsyncDisposableStack();
  readonly #floods: Floods;
  readonly #roots = systemRoots();
  #xdsServed = false;
  /** Changes of the maps that are not in force yet. */
  #steerings = 0;
  /** Resolves when DNS of the sandboxes is answered. */
  readonly #front = Promise.withResolvers<void>();
  /** What is in force; a value for every change. */
  readonly reports = new Latest<EgressReport>();

  private constructor(options: EgressOptions, bindings: Bindings, indexes: GatewayIndexes, relays: UdpRelays) {
    this.#options = options;
    this.#bindings = bindings;
    this.#indexes = indexes;
    this.#relays = relays;
    this.#steering = new Steering({
      setBlock: (block, elements) => options.host.setBlock(block, elements),
      gateway: (name) => this.#gateways.get(name)?.steered,
      ways: bindings.all,
    });
    const { host, log, signal } = options;
    this.#floods = new Floods({ host, bindings: () => bindings.all, log, signal });
    this.#records = new RecordFile(options.at.egressLog, { now: () => options.clock.now() });
  }

  /** Opens what is kept on disk and serves the sockets, but for xDS, which waits for the first desired state. */
  static async start(options: EgressOptions): Promise<Egress> {
    const { at, clock } = options;
    for (const dir of [at.names, at.egressOffsets, at.egressRun, at.egressRecords]) await mkdir(dir, { recursive: true, mode: 0o700 });
    await Promise.all([sweepTemporaries(at.names), sweepTemporaries(at.egressOffsets, SETTLED)]);
    // This directory is emptied when the worker starts: a mark in it means that its sandboxes still run.
    const mark = join(at.egressRun, 'started');
    const inherit = (await readIfExists(mark)) !== undefined;
    const bindings = await Bindings.open(at.bindings, clock, inherit);
    await writeFileAtomic(mark, '');
    const egress = new Egress(options, bindings, await GatewayIndexes.open(at.gateways), await UdpRelays.open(join(at.names, 'udp.json')));
    await egress.#serve();
    return egress;
  }

  async #serve(): Promise<void> {
    const { at, host, ledger, clock, log, signal } = this.#options;
    const record = (line: EgressLine): Promise<void> => this.#records.append(line);
    const binding = (address: string): Binding | undefined => this.#bindings.get(address);
    const policy = (gateway: string): PolicySet | undefined => this.#gateways.get(gateway)?.policy;
    const resolver = createResolver({
      binding,
      parked: (address) => this.#bindings.parked(address),
      tried: (address, name) => this.#bindings.tried(address, name, clock.now()),
      gateway: (name) => this.#gateways.get(name),
      record,
      clock,
    });
    const inForce = (name: string, abort: AbortSignal): Promise<Slice> => this.#inForce(name, abort);
    const claims = claimsService({
      bindings: this.#bindings,
      inForce,
      open: (way) => this.#open(way),
      park: (address, port) => host.setRoute({ map: 'parked', source: address, destination: '', ports: '', port }),
      released: (address) => {
        resolver.forget(address);
        for (const gateway of this.#gateways.values()) gateway.released(address);
      },
    });
    const engine = createEngine({
      policy,
      binding,
      nameOf: (gateway, address) => this.#gateways.get(gateway)?.nameOf(address),
      admitted: (gateway, source, facts) => this.#gateways.get(gateway)?.served(source, facts),
      ledger,
      record,
      clock,
      log: log.with({ part: 'engine' }),
    });
    for (const [server, socket] of [
      [createRpcServer().add(ExternalProcessor, engine), at.engineSocket],
      [createRpcServer().add(Names, { resolve: async (question) => toMessage(await resolver.resolve(question)) }), at.namesSocket],
      [createRpcServer().add(Claims, claims), at.claimsSocket],
    ] as const) {
      this.#servers.use(server);
      await server.listen(socket);
    }
    const accessLogs = (): readonly string[] => this.#indexes.all.map((index) => at.accessLog(index));
    const seen = ({ reason, source, time, sni, destination = '' }: AccessLine): void => {
      if (reason === 'NotClaimed') this.#bindings.tried(source, sni ?? destination, Date.parse(time));
    };
    this.#servers.use(createSettler({ accessLogs, offsets: at.egressOffsets, ledger, seen, log: log.with({ part: 'settler' }), signal }));
    const clockSet = watchClock(clock);
    const watching = setInterval(() => this.#followClock(clockSet()), CLOCK_EVERY_MS);
    this.#servers.defer(() => clearInterval(watching));
    this.#servers.use(rotateAccessLogs({ at, indexes: () => [...this.#gateways.values()].map(({ index }) => index), clock, log }));
    this.#background('start the front', async () => {
      await host.startFront();
      this.#front.resolve();
    });
  }

  /** `set`: by how much the clock was set, in ms. Leaves may have begun to be invalid; addresses are joined to runs by time. */
  #followClock(set: number): void {
    if (set === 0) return;
    const { log } = this.#options;
    log.warn('the clock was set', { seconds: Math.round(set / 1000) });
    for (const gateway of this.#gateways.values()) gateway.checkLeaves();
    if (set > 0) return;
    this.#bindings.bindAgain().catch((error: unknown) => log.error('cannot write bindings after the clock was set', { cause: messageOf(error) }));
  }

  async #inForce(name: string, abort: AbortSignal): Promise<Slice> {
    abort.throwIfAborted();
    const given = Promise.withResolvers<never>();
    const giveUp = (): void => given.reject(abort.reason);
    abort.addEventListener('abort', giveUp, { once: true });
    // Names are a part of the way out: a run that starts before somebody answers them would fail at its first one.
    await Promise.race([this.#front.promise, given.promise]).finally(() => abort.removeEventListener('abort', giveUp));
    for await (const { gateways } of this.reports.subscribe(abort)) {
      const gateway = this.#gateways.get(name);
      if (gateway && gateways.some((state) => state.gateway === name && state.revision !== '')) return gateway.slice;
    }
    throw abort.reason;
  }

  /** Makes the gateways what the controllers want. Called with one state after the other. */
  async apply({ gateways }: EgressDesired): Promise<void> {
    const wanted = new Set(gateways.map(({ gateway }) => gateway));
    for (const [name, gateway] of this.#gateways) if (!wanted.has(name)) this.#remove(gateway);
    for (const desired of gateways) {
      const gateway = this.#gateways.get(desired.gateway) ?? (await this.#add(desired.gateway, wanted));
      try {
        await gateway?.apply(desired);
      } catch (error) {
        // One gateway that cannot be served must not hold up the others; what it had stays in force.
        this.#options.log.error('cannot apply a gateway', { gateway: desired.gateway, err: error });
      }
    }
    // Before anything is reported to be in force; a worker that is away gets it when it is back.
    this.#steer();
    // Only now: an Envoy from before a restart must not be told of a state that lacks half of it.
    if (!this.#xdsServed) {
      const server = this.#servers.use(
        createRpcServer().add(
          AggregatedDiscoveryService,
          xdsService((id) => this.#gateways.get(id)?.node),
        ),
      );
      await server.listen(this.#options.at.xdsSocket);
      this.#xdsServed = true;
    }
    for (const gateway of this.#gateways.values()) {
      const { index, name, bootstrap } = gateway;
      this.#background(
        'start Envoy',
        () => this.#options.host.startEnvoy({ index, gateway: name, bootstrap }),
        () => this.#gateways.get(name) === gateway,
      );
    }
    this.#onChange();
  }

  /** Brings what follows for the maps of the gateway namespace there; until it is, nothing is reported to be in force. */
  #steer(): void {
    this.#steerings++;
    this.#background('steer sandboxes', async () => {
      await this.#steering.refresh();
      this.#steerings--;
      this.#onChange();
    });
  }

  async #add(name: string, wanted: ReadonlySet<string>): Promise<Gateway | undefined> {
    const { at, clock, log } = this.#options;
    const index = await this.#indexes.of(name, wanted);
    if (index === undefined) {
      log.error(`a worker serves at most ${MAX_GATEWAYS} gateways`, { gateway: name });
      return undefined;
    }
    const changed = (): void => this.#onChange();
    const gateway = await Gateway.open({
      name,
      index,
      at,
      roots: this.#roots,
      upstream: this.#options.upstream,
      agentOf: (block) => this.#bindings.agentOf(block),
      relays: this.#relays,
      steer: (of) => this.#steering.refresh(of),
      clock,
      log: log.with({ gateway: name }),
      changed,
      flooded: (block, port) => this.#floods.flooded(block, port),
      revoked: (revoked) => this.#close(name, revoked),
    });
    this.#gateways.set(name, gateway);
    return gateway;
  }

  /** Opens the ways of a block. One that was another agent's, or nobody's, has its verdicts judged anew before. */
  async #open(way: Way): Promise<void> {
    if (this.#bindings.give(way)) await Promise.all(way.gateways.map(async (name) => this.#gateways.get(name)?.rejudge(way.block)));
    await this.#steering.open(way);
  }

  /** Ends what sandboxes have open to destinations that are denied now. */
  #close(gateway: string, revoked: Revoked): void {
    const { host, log } = this.#options;
    for (const { address, block, gateways } of this.#bindings.all) {
      if (!gateways.includes(gateway)) continue;
      const destinations = [...(revoked.get(address) ?? []), ...(revoked.get(block) ?? [])];
      if (destinations.length === 0) continue;
      host.closeConnections(address, destinations).catch((error: unknown) => {
        log.error('cannot close connections that are denied now', { address, cause: messageOf(error) });
      });
    }
  }

  #remove(gateway: Gateway): void {
    this.#gateways.delete(gateway.name);
    gateway[Symbol.dispose]();
    this.#background(
      'stop Envoy',
      () => this.#options.host.stopEnvoy(gateway.index),
      () => !this.#gateways.has(gateway.name),
    );
  }

  /** An Envoy ended: requests it had not logged are closed by this line. */
  async envoyEnded({ index, time }: { readonly index: number; readonly time: number }): Promise<void> {
    const gateway = this.#indexes.nameOf(index);
    if (gateway === undefined) return;
    await this.#records.append({ event: 'gateway-died', time, id: randomUUID(), gateway, source: '', host: '', verdict: 'Denied', reason: 'GatewayDied' });
  }

  /** A packet of a sandbox went nowhere: recorded, and told where the sandbox waits for its run. */
  async refused(packet: RefusedPacket): Promise<void> {
    const { source, time } = packet;
    const line = refusedPacketLine(packet, {
      binding: this.#bindings.at(source, time),
      parked: this.#bindings.parked(source),
      nameOf: (gateway, address) => this.#gateways.get(gateway)?.nameOf(address),
    });
    this.#bindings.tried(source, `${line.protocol} ${line.destination}`, time);
    await this.#records.append(line);
  }

  #onChange(): void {
    if (this.#steerings > 0) return;
    this.reports.set({ worker: this.#options.worker, gateways: [...this.#gateways.values()].map(({ state }) => state) });
  }

  /** Repeats a call to the worker until it succeeds, or is not wanted any more. */
  #background(what: string, call: () => Promise<void>, wanted: () => boolean = () => true): void {
    const { signal, log } = this.#options;
    const attempt = async (): Promise<void> => (wanted() ? call() : undefined);
    retry(attempt, { signal, onError: (error, n) => n % 10 === 0 && log.warn(`cannot ${what}`, { cause: messageOf(error) }) }).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#servers.disposeAsync();
    await this.#records[Symbol.asyncDispose]();
    await this.#bindings[Symbol.asyncDispose]();
  }
}

const toMessage = (answer: Answer) => ({ ...answer, addresses: [...answer.addresses] });
