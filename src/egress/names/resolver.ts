import { randomUUID } from 'node:crypto';
import type { Clock } from '#lib';
import type { Binding, EgressLine, Parking } from '#model';
import { canonicalHost } from '#policy';
import { RESERVED_NAMES } from '../slices.ts';

/** What the resolver asks of one gateway. */
export interface NamingGateway {
  /** Synthetic address of a name its routes admit. */
  addressOf(name: string): string | undefined;
  /** Address of the deny slice for a name; undefined when nothing of this gateway terminates TLS. */
  deny(name: string): string | undefined;
}

export interface Question {
  /** Address of the sandbox that asks. */
  readonly source: string;
  readonly name: string;
  /** `A`, `AAAA`, `HTTPS`, … */
  readonly type: string;
}

export interface Answer {
  readonly rcode: 'NOERROR' | 'NXDOMAIN' | 'REFUSED' | 'SERVFAIL';
  readonly addresses: readonly string[];
  /** Seconds. */
  readonly ttl: number;
}

export interface ResolverOptions {
  readonly binding: (address: string) => Binding | undefined;
  /** The sandbox at this address that has no run yet. */
  readonly parked: (address: string) => Parking | undefined;
  /** Such a sandbox asked for this name. */
  readonly tried: (address: string, name: string) => void;
  /** Undefined while the gateway is not there yet. */
  readonly gateway: (name: string) => NamingGateway | undefined;
  readonly record: (line: EgressLine) => Promise<void>;
  readonly clock: Clock;
}

export const TTL_S = 60;
/** Distinct names one sandbox may ask for. */
const MAX_NAMES = 512;
/** New names a minute for which one sandbox may have a leaf made. */
const NEW_DENIED_PER_MINUTE = 20;
/** The same refusal of the same sandbox is recorded once in this time. */
const RECORD_AGAIN_MS = 60_000;
/** Sandboxes that are not bound are remembered only to bound their records. */
const MAX_SOURCES = 4096;

interface Source {
  readonly names: Set<string>;
  readonly recorded: Map<string, number>;
  minute: number;
  newDenied: number;
}

const none = (rcode: Answer['rcode']): Answer => ({ rcode, addresses: [], ttl: rcode === 'NOERROR' ? TTL_S : 0 });
const address = (value: string): Answer => ({ rcode: 'NOERROR', addresses: [value], ttl: TTL_S });

/**
 * Answers DNS questions of sandboxes. No question leaves this machine: an admitted name has a synthetic address, a denied one
 * an address where it is answered 403, and every type but A is empty, so there is no IPv6, no ECH key, no HTTP/3 hint, no TXT.
 */
export const createResolver = (options: ResolverOptions) => {
  const { clock } = options;
  const sources = new Map<string, Source>();

  const sourceOf = (of: string): Source => {
    const known = sources.get(of);
    if (known) return known;
    if (sources.size >= MAX_SOURCES) sources.delete(sources.keys().next().value!);
    const made = { names: new Set<string>(), recorded: new Map<string, number>(), minute: 0, newDenied: 0 };
    sources.set(of, made);
    return made;
  };

  const deny = async (source: Source, { source: from, name }: Question, gateway: string, reason: string): Promise<void> => {
    const host = canonicalHost(name) ?? name.slice(0, 253);
    const key = `${reason} ${host}`;
    const now = clock.monotonic();
    if (now - (source.recorded.get(key) ?? -Infinity) < RECORD_AGAIN_MS) return;
    if (source.recorded.size >= MAX_NAMES * 2) source.recorded.delete(source.recorded.keys().next().value!);
    source.recorded.set(key, now);
    await options.record({ event: 'dns', time: clock.now(), id: randomUUID(), gateway, source: from, host, verdict: 'Denied', reason });
  };

  /** Whether the sandbox may have one more name that it has not asked for in its life. */
  const mayAsk = (source: Source, name: string): boolean => {
    if (!source.names.has(name) && source.names.size >= MAX_NAMES) return false;
    source.names.add(name);
    return true;
  };

  const mayBeDenied = (source: Source, isNew: boolean): boolean => {
    const minute = Math.floor(clock.monotonic() / 60_000);
    if (source.minute !== minute) Object.assign(source, { minute, newDenied: 0 });
    return !isNew || ++source.newDenied <= NEW_DENIED_PER_MINUTE;
  };

  const resolve = async (question: Question): Promise<Answer> => {
    const binding = options.binding(question.source);
    const source = sourceOf(question.source);
    if (!binding) {
      options.tried(question.source, question.name);
      await deny(source, question, options.parked(question.source)?.gateways[0] ?? '', 'NotClaimed');
      return none('REFUSED');
    }
    const name = question.name.includes(':') ? undefined : canonicalHost(question.name);
    const [firstName = ''] = binding.gateways;
    if (name === undefined) {
      await deny(source, question, firstName, 'InvalidName');
      return none('NXDOMAIN');
    }
    const reserved = Object.hasOwn(RESERVED_NAMES, name) ? RESERVED_NAMES[name] : undefined;
    if (reserved) return question.type === 'A' ? address(reserved) : none('NOERROR');
    const gateways = binding.gateways.map((of) => ({ of, gateway: options.gateway(of) }));
    // An earlier gateway that is not there yet may admit the name, so its turn cannot be skipped.
    if (gateways.some(({ gateway }) => !gateway)) return none('SERVFAIL');
    const isNew = !source.names.has(name);
    if (!mayAsk(source, name)) {
      await deny(source, question, firstName, 'TooManyNames');
      return none('REFUSED');
    }
    for (const { gateway } of gateways) {
      const admitted = gateway!.addressOf(name);
      if (admitted) return question.type === 'A' ? address(admitted) : none('NOERROR');
    }
    return refuse(source, question, gateways as readonly { of: string; gateway: NamingGateway }[], name, isNew);
  };

  const refuse = async (
    source: Source,
    question: Question,
    gateways: readonly { readonly of: string; readonly gateway: NamingGateway }[],
    name: string,
    isNew: boolean,
  ): Promise<Answer> => {
    if (!mayBeDenied(source, isNew)) {
      source.names.delete(name); // it stays new, so that waiting a minute buys twenty more, not all
      await deny(source, question, gateways[0]?.of ?? '', 'TooManyNames');
      return none('NXDOMAIN');
    }
    for (const { of, gateway } of gateways) {
      const denied = gateway.deny(name);
      if (denied === undefined) continue;
      await deny(source, question, of, 'NoRoute');
      return question.type === 'A' ? address(denied) : none('NOERROR');
    }
    await deny(source, question, gateways[0]?.of ?? '', 'NoRoute');
    return none('NXDOMAIN');
  };

  return {
    resolve,
    /** A sandbox is gone: its address starts anew. */
    forget: (of: string): void => void sources.delete(of),
  };
};

export type Resolver = ReturnType<typeof createResolver>;
