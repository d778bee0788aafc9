import { isIPv4 } from 'node:net';
import type { Binding, ClaimAnswer, Parking } from '#model';
import { RpcError, type Claims, type Implementation } from '#wire';
import type { Bindings } from './bindings.ts';
import type { Slice } from './slices.ts';
import type { Way } from './steering/index.ts';

export interface ClaimsOptions {
  readonly bindings: Bindings;
  /** Resolves with the slice of a gateway that is in force; rejects when the signal aborts before. */
  readonly inForce: (gateway: string, signal: AbortSignal) => Promise<Slice>;
  /** Opens the ways of a block to its gateways; they are open when it resolves. */
  readonly open: (way: Way) => Promise<void>;
  /** Sends whatever comes from an address to a port where it is refused. */
  readonly park: (address: string, port: number) => Promise<void>;
  readonly released: (address: string) => void;
  /** How long a claim waits for its gateways, 8 s by default. */
  readonly waitMs?: number;
}

const isBlock = (text: string): boolean => {
  const [address = '', prefix = ''] = text.split('/');
  return isIPv4(address) && /^(?:[89]|[12]\d|3[0-2])$/.test(prefix);
};

const checked = <P extends Parking>(binding: P): P => {
  if (!isIPv4(binding.address)) throw new RpcError('INVALID_ARGUMENT', `${binding.address} is not an IPv4 address`);
  if (!isBlock(binding.block)) throw new RpcError('INVALID_ARGUMENT', `${binding.block} is not an IPv4 block`);
  return binding;
};

const notInForce = (missing: string): ClaimAnswer => ({ refused: 'GatewayNotReady', message: `Not in force on this worker: EgressGateway ${missing}.` });

const GRANTED: ClaimAnswer = { refused: '', message: '' };

const startsBeforeEvent = (what: string): ClaimAnswer => ({
  refused: 'StartsBeforeEvent',
  message: `The agent tried to reach ${what} before it had an event; a sandbox that waits for its run reaches nothing.`,
});

/**
 * The worker's claims: an address belongs to a run from the answer to `bind` on, and not before. By then the way of its
 * block to every gateway is open, each gateway is in force, and the binding is on disk. An address can be parked before:
 * then all but the binding is done, and the first gateway refuses whatever comes from it.
 */
export const claimsService = (options: ClaimsOptions): Implementation<typeof Claims> => {
  const { bindings, inForce, open } = options;

  const ready = async (gateways: readonly string[], signal: AbortSignal): Promise<readonly Slice[] | { readonly missing: string }> => {
    const abort = AbortSignal.any([signal, AbortSignal.timeout(options.waitMs ?? 8_000)]);
    const waits = await Promise.allSettled(gateways.map((gateway) => inForce(gateway, abort)));
    const missing = gateways.filter((_, index) => waits[index]!.status === 'rejected');
    if (missing.length > 0) return { missing: missing.join(', ') };
    return waits.map((wait) => (wait as PromiseFulfilledResult<Slice>).value);
  };

  /** The ways that were open when an address was parked. */
  const opened = new Map<string, string>();
  const waysOf = (slices: readonly Slice[]): string => slices.map(({ all }) => all).join(' ');

  const bind = async (request: Binding, signal: AbortSignal): Promise<ClaimAnswer> => {
    const binding = checked(request);
    const { address } = binding;
    const parked = bindings.parked(address);
    if (parked?.tried !== undefined) return startsBeforeEvent(parked.tried);
    const slices = await ready(binding.gateways, signal);
    if ('missing' in slices) return notInForce(slices.missing);
    if (!parked || opened.get(address) !== waysOf(slices)) await open(binding);
    const meanwhile = bindings.parked(address)?.tried;
    if (meanwhile !== undefined) return startsBeforeEvent(meanwhile);
    if (signal.aborted) throw new RpcError('CANCELLED', 'the claim was given up');
    await bindings.bind(binding);
    return GRANTED;
  };

  return {
    bind: (request, { signal }) => bind(request, signal),
    async *park(messages, { signal }) {
      const incoming = messages[Symbol.asyncIterator]();
      const next = async () => (await incoming.next()).value?.message;
      const first = await next();
      if (first?.case !== 'park') throw new RpcError('INVALID_ARGUMENT', 'the first message says which address is parked');
      const parking = checked(first.value);
      const { address } = parking;
      const slices = await ready(parking.gateways, signal);
      if ('missing' in slices) return yield notInForce(slices.missing);
      await open(parking);
      if (signal.aborted) return;
      if (slices[0]) await options.park(address, slices[0].unclaimedPort);
      const tried = Promise.withResolvers<string>();
      await bindings.park(parking, tried.resolve);
      opened.set(address, waysOf(slices));
      try {
        if (signal.aborted) return;
        yield GRANTED;
        const message = next();
        const what = await Promise.race([tried.promise, message.then(() => undefined)]);
        if (what !== undefined) yield startsBeforeEvent(what);
        for (let said = await message; said; said = await next()) {
          if (said.case !== 'bind' || said.value.address !== address) throw new RpcError('INVALID_ARGUMENT', 'only the parked address can be bound');
          yield await bind(said.value, signal);
        }
      } finally {
        opened.delete(address);
        await bindings.unpark(address);
        if (!bindings.get(address)) options.released(address);
      }
    },
    async release({ address, invocation }) {
      await bindings.release(address, invocation);
      if (!bindings.get(address)) options.released(address);
      return {};
    },
  };
};
