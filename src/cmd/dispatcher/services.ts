import { AsyncQueue, messageOf } from '#lib';
import type { BudgetEntry, LedgerPort, Runs as RunsPort } from '#model';
import type { Ledger as Books } from '#ledger';
import { RpcError, type Implementation, type Ledger, type LedgerCall, type Runs } from '#wire';

/** `Runs` over the ports: what the runtime API calls. A body that fails ends the call with ABORTED. */
export const runsService = (runs: RunsPort, { counters }: Pick<Books, 'counters'>): Implementation<typeof Runs> => ({
  budgets: async ({ namespace }) => ({ items: [...counters(namespace)] }),
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

type LedgerReply = ReturnType<Implementation<typeof Ledger>['session']> extends AsyncIterable<infer Reply> ? Reply : never;

/** Calls are answered as they are done; those that come together are one commit of the ledger. */
export const ledgerService = (ledger: LedgerPort): Implementation<typeof Ledger> => ({
  async *session(calls) {
    const replies = new AsyncQueue<LedgerReply>();
    const answer = async ({ number, call }: LedgerCall): Promise<void> => {
      try {
        if (call.case === 'reserve') {
          // The ledger refuses units and windows it does not know.
          const entries = call.value.entries as unknown as readonly BudgetEntry[];
          replies.push({ number, reply: { case: 'reserved', value: await ledger.reserve({ ...call.value, entries }) } });
        } else if (call.case === 'settle') {
          await ledger.settle(call.value);
          replies.push({ number, reply: { case: 'settled', value: {} } });
        } else throw new Error('a call this ledger does not know');
      } catch (error) {
        replies.push({ number, reply: { case: 'error', value: messageOf(error) } });
      }
    };
    const serve = async (): Promise<void> => {
      const answering = new Set<Promise<void>>();
      for await (const call of calls) {
        const answered = answer(call).finally(() => answering.delete(answered));
        answering.add(answered);
      }
      await Promise.all(answering);
      replies.end();
    };
    void serve();
    yield* replies;
  },
});
