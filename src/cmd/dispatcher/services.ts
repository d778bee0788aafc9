import type { LedgerPort, Runs as RunsPort } from '#model';
import { Ledger, RpcError, Runs, type Implementation } from '#wire';

/** `Runs` over the port: what the runtime API calls. A body that fails ends the call with ABORTED. */
export const runsService = (runs: RunsPort): Implementation<typeof Runs> => ({
  async *invoke(request, { signal }) {
    const { namespace, agent, headers: given, body: input, source } = request;
    // Whoever comes this way came through the runtime API; what it says of itself does not matter.
    const { status, headers, body } = await runs.invoke({ namespace, agent, headers: given, body: input, trigger: 'CLI', source }, signal);
    yield { part: { case: 'head', value: { status, headers: { ...headers } } } };
    try {
      for await (const value of body) yield { part: { case: 'body', value } };
    } catch (error) {
      throw new RpcError('ABORTED', error instanceof Error ? error.message : String(error));
    }
  },
  get: async ({ namespace, id }) => {
    const invocation = await runs.get(namespace, id);
    return invocation ? { invocation } : {};
  },
  list: async (filter) => ({ items: [...(await runs.list(filter))] }),
  async *watch(filter, { signal }) {
    yield* runs.watch(filter, signal);
  },
});

export const ledgerService = (ledger: LedgerPort): Implementation<typeof Ledger> => ({
  reserve: (request) => ledger.reserve(request),
  settle: async (settlement) => {
    await ledger.settle(settlement);
    return {};
  },
});
