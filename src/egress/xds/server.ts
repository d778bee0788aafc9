import { AsyncQueue } from '#lib';
import { RpcError, type Implementation } from '#wire';
import type { AggregatedDiscoveryService, DeltaResponse } from '#wire/xds';
import type { XdsNode } from './node.ts';

/** Delta ADS for the Envoys of this worker. An Envoy says with its first message which gateway it is. */
export const xdsService = (nodeOf: (id: string) => XdsNode | undefined): Implementation<typeof AggregatedDiscoveryService> => ({
  streamAggregatedResources() {
    throw new RpcError('UNIMPLEMENTED', 'only delta xDS is served');
  },
  async *deltaAggregatedResources(requests) {
    const out = new AsyncQueue<DeltaResponse>();
    let failure: unknown;
    const pump = async (): Promise<void> => {
      let connection: ReturnType<XdsNode['connect']> | undefined;
      try {
        for await (const request of requests) {
          if (!connection) {
            const id = request.node?.id ?? '';
            const node = nodeOf(id);
            if (!node) throw new RpcError('NOT_FOUND', `there is no gateway ${id}`);
            connection = node.connect((response) => out.push(response));
          }
          connection.handle(request);
        }
      } catch (error) {
        failure = error;
      } finally {
        connection?.close();
        out.end();
      }
    };
    void pump();
    yield* out;
    if (failure !== undefined) throw failure;
  },
});
