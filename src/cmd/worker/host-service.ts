import type { GatewayNamespace } from '#sandbox';
import { Host, RpcError, type Implementation } from '#wire';
import type { Envoys } from './envoys.ts';

/** `Host`: what `egress` may have done that needs privilege, by name and checked, nothing free-form. */
export const hostService = (envoys: Envoys, gateway: GatewayNamespace, startFront: () => Promise<void>): Implementation<typeof Host> => ({
  startEnvoy: async ({ index, gateway: of, bootstrap }) => {
    await envoys.start(index, of, bootstrap);
    return {};
  },
  stopEnvoy: async ({ index }) => {
    await envoys.stop(index);
    return {};
  },
  envoyEnds: (_, { signal }) => envoys.ends(signal),
  startFront: async () => {
    await startFront();
    return {};
  },
  setRoute: (element) => checked(() => gateway.setRoute(element)),
  deleteRoute: (element) => checked(() => gateway.deleteRoute(element)),
  setBlock: ({ block, elements }) => checked(() => gateway.setBlock(block, elements)),
  refusals: (_, { signal }) => gateway.refusals(signal),
  closeConnections: ({ address, destinations }) => checked(() => gateway.closeConnections(address, destinations)),
});

const checked = async (change: () => Promise<void>): Promise<object> => {
  try {
    await change();
    return {};
  } catch (error) {
    if (error instanceof RangeError) throw new RpcError('INVALID_ARGUMENT', error.message);
    throw error;
  }
};
