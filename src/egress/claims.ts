import { isIPv4 } from 'node:net';
import type { Binding } from '#model';
import { RpcError, type Claims, type Implementation } from '#wire';
import type { Bindings } from './bindings.ts';
import type { Slice } from './slices.ts';

/** One element of the maps of the gateway namespace. */
export interface MapElement {
  readonly map: 'route' | 'first';
  readonly source: string;
  readonly destination: string;
  readonly port: number;
}

export interface ClaimsOptions {
  readonly bindings: Bindings;
  /** Resolves with the slice of a gateway that is in force; rejects when the signal aborts before. */
  readonly inForce: (gateway: string, signal: AbortSignal) => Promise<Slice>;
  readonly setRoute: (element: MapElement) => Promise<void>;
  readonly released: (address: string) => void;
  /** How long a claim waits for its gateways, 8 s by default. */
  readonly waitMs?: number;
}

const isBlock = (text: string): boolean => {
  const [address = '', prefix = ''] = text.split('/');
  return isIPv4(address) && /^(?:[89]|[12]\d|3[0-2])$/.test(prefix);
};

const checked = (binding: Binding): Binding => {
  if (!isIPv4(binding.address)) throw new RpcError('INVALID_ARGUMENT', `${binding.address} is not an IPv4 address`);
  if (!isBlock(binding.block)) throw new RpcError('INVALID_ARGUMENT', `${binding.block} is not an IPv4 block`);
  return binding;
};

/**
 * The worker's claims: an address belongs to a run from the answer to `bind` on, and not before. By then the way of its
 * block to every gateway is open, each gateway is in force, and the binding is on disk.
 */
export const claimsService = (options: ClaimsOptions): Implementation<typeof Claims> => {
  const { bindings, inForce, setRoute } = options;

  const ready = async (gateways: readonly string[], signal: AbortSignal): Promise<readonly Slice[] | { readonly missing: string }> => {
    const abort = AbortSignal.any([signal, AbortSignal.timeout(options.waitMs ?? 8_000)]);
    const waits = await Promise.allSettled(gateways.map((gateway) => inForce(gateway, abort)));
    const missing = gateways.filter((_, index) => waits[index]!.status === 'rejected');
    if (missing.length > 0) return { missing: missing.join(', ') };
    return waits.map((wait) => (wait as PromiseFulfilledResult<Slice>).value);
  };

  return {
    async bind(request, { signal }) {
      const binding = checked(request);
      const slices = await ready(binding.gateways, signal);
      if ('missing' in slices) return { refused: 'GatewayNotReady', message: `Not in force on this worker: EgressGateway ${slices.missing}.` };
      for (const { all, port } of slices) await setRoute({ map: 'route', source: binding.block, destination: all, port });
      if (slices[0]) await setRoute({ map: 'first', source: binding.block, destination: '', port: slices[0].port });
      if (signal.aborted) throw new RpcError('CANCELLED', 'the claim was given up');
      await bindings.bind(binding);
      return { refused: '', message: '' };
    },
    async release({ address, invocation }) {
      await bindings.release(address, invocation);
      if (!bindings.get(address)) options.released(address);
      return {};
    },
  };
};
