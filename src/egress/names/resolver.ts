import { randomUUID } from 'node:crypto';
import type { Clock } from '#lib';
import type { Binding, EgressLine, Parking } from '#model';
import { canonicalHost } from '#policy';
import { RESERVED_NAMES } from '../slices.ts';
import { Sources, type Source } from './limits.ts';

/** What the resolver asks of one gateway. */
export interface NamingGateway {
  /** Whether some route lets this agent (`namespace/name`) reach the name at all. */
  admitsName(agent: string, name: string): boolean;
  /** Synthetic address of an admitted name; undefined when the gateway has no more. */
  addressOf(name: string, agent: string): Promise<string | undefined>;
  /** The name a synthetic address stands for. */
  nameOf(address: string): string | undefined;
  /** Address of the deny slice for a name; undefined when nothing of this gateway terminates TLS or speaks HTTP. */
  deny(name: string): string | undefined;
}

export interface Question {
  /** Address of the sandbox that asks. */
  readonly source: string;
  readonly name: string;
  /** `A`, `AAAA`, `PTR`, … */
  readonly type: string;
}

export interface Answer {
  readonly rcode: 'NOERROR' | 'NXDOMAIN' | 'REFUSED' | 'SERVFAIL';
  readonly addresses: readonly string[];
  /** The name a reverse question is answered with. */
  readonly pointer: string;
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

const none = (rcode: Answer['rcode']): Answer => ({ rcode, addresses: [], pointer: '', ttl: rcode === 'NOERROR' ? TTL_S : 0 });
const address = (value: string): Answer => ({ ...none('NOERROR'), addresses: [value] });

/** The address a reverse name is about. */
const reversed = (name: string): string | undefined => /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name)?.[1]!.split('.').slice(0, 4).reverse().join('.');

interface Asked {
  readonly question: Question;
  readonly source: Source;
  readonly name: string;
  readonly agent: string;
  /** In list order. */
  readonly gateways: readonly { readonly of: string; readonly gateway: NamingGateway }[];
}

/**
 * Answers DNS questions of sandboxes, and records each once a minute. No question leaves this machine: an admitted name has a
 * synthetic address, a denied one an address where it is answered 403, and every type but A is empty, so there is no IPv6, no
 * ECH key, no HTTP/3 hint, no TXT.
 */
export const createResolver = (options: ResolverOptions) => {
  const sources = new Sources(options.clock);

  const record = async (source: Source, { source: from, name }: Question, gateway: string, verdict: EgressLine['verdict'], reason: string): Promise<void> => {
    const host = canonicalHost(name) ?? name.slice(0, 253);
    const recorded = source.record(`${reason} ${host}`);
    if (recorded === 'no') return;
    const line = recorded === 'yes' ? { host, verdict, reason } : { host: '', verdict: 'Denied' as const, reason: 'TooManyQuestions' };
    await options.record({ event: 'dns', time: options.clock.now(), id: randomUUID(), gateway, source: from, ...line });
  };

  const admit = async ({ question, source, name, agent }: Asked, of: string, gateway: NamingGateway): Promise<Answer> => {
    const admitted = await gateway.addressOf(name, agent);
    if (admitted === undefined) {
      await record(source, question, of, 'Denied', 'TooManyNames');
      return none('SERVFAIL');
    }
    await record(source, question, of, 'Allowed', 'Allowed');
    return question.type === 'A' ? address(admitted) : none('NOERROR');
  };

  const refuse = async ({ question, source, name, gateways }: Asked, isNew: boolean): Promise<Answer> => {
    const first = gateways[0]?.of ?? '';
    if (!source.mayBeDenied(name, isNew)) {
      await record(source, question, first, 'Denied', 'TooManyNames');
      return none('NXDOMAIN');
    }
    for (const { of, gateway } of gateways) {
      const denied = gateway.deny(name);
      if (denied === undefined) continue;
      await record(source, question, of, 'Denied', 'NoRoute');
      return question.type === 'A' ? address(denied) : none('NOERROR');
    }
    await record(source, question, first, 'Denied', 'NoRoute');
    return none('NXDOMAIN');
  };

  /** A sandbox learns of its synthetic addresses what it has asked for itself, not what others have. */
  const reverse = async ({ question, source, gateways, agent }: Asked, of: string): Promise<Answer> => {
    for (const { of: name, gateway } of gateways) {
      const host = gateway.nameOf(of);
      if (host === undefined || !source.has(host) || !gateway.admitsName(agent, host)) continue;
      await record(source, question, name, 'Allowed', 'Allowed');
      return { ...none('NOERROR'), pointer: host };
    }
    await record(source, question, gateways[0]?.of ?? '', 'Denied', 'NoRoute');
    return none('NXDOMAIN');
  };

  const resolve = async (question: Question): Promise<Answer> => {
    const binding = options.binding(question.source);
    const source = sources.of(question.source);
    if (!binding) {
      options.tried(question.source, question.name);
      await record(source, question, options.parked(question.source)?.gateways[0] ?? '', 'Denied', 'NotClaimed');
      return none('REFUSED');
    }
    const name = question.name.includes(':') ? undefined : canonicalHost(question.name);
    const [firstName = ''] = binding.gateways;
    if (name === undefined) {
      await record(source, question, firstName, 'Denied', 'InvalidName');
      return none('NXDOMAIN');
    }
    const reserved = Object.hasOwn(RESERVED_NAMES, name) ? RESERVED_NAMES[name] : undefined;
    if (reserved) {
      await record(source, question, firstName, 'Allowed', 'Reserved');
      return question.type === 'A' ? address(reserved) : none('NOERROR');
    }
    const found = binding.gateways.map((of) => ({ of, gateway: options.gateway(of) }));
    // An earlier gateway that is not there yet may admit the name, so its turn cannot be skipped.
    if (found.some(({ gateway }) => !gateway)) return none('SERVFAIL');
    const agent = `${binding.namespace}/${binding.agent}`;
    const asked: Asked = { question, source, name, agent, gateways: found as Asked['gateways'] };
    const about = question.type === 'PTR' ? reversed(name) : undefined;
    if (about !== undefined) return reverse(asked, about);
    const isNew = !source.has(name);
    if (!source.mayAsk(name)) {
      await record(source, question, firstName, 'Denied', 'TooManyNames');
      return none('REFUSED');
    }
    const admitting = asked.gateways.find(({ gateway }) => gateway.admitsName(agent, name));
    return admitting ? admit(asked, admitting.of, admitting.gateway) : refuse(asked, isNew);
  };

  return {
    resolve,
    /** A sandbox is gone: its address starts anew. */
    forget: (of: string): void => sources.forget(of),
  };
};

export type Resolver = ReturnType<typeof createResolver>;
