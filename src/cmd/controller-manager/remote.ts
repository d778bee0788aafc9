import type { BudgetCounter, CountersPort, ExchangeRecord, InvokeAnswer, Invocation, Runs as RunsPort, StoredLog, StorePort } from '#model';
import { exchangeBatch, type Client, type Runs, type Store } from '#wire';

/** An ordinary question must be answered within this time. */
const TIMEOUT_MS = 10_000;

/** The dispatcher over the wire, as the port Runs. */
export const remoteRuns = (client: Client<typeof Runs>): RunsPort => ({
  async invoke({ namespace, agent, headers, body, trigger, source }, signal): Promise<InvokeAnswer> {
    const parts = client.invoke({ namespace, agent, headers: { ...headers }, body, trigger, source }, { signal })[Symbol.asyncIterator]();
    const { value: first } = await parts.next();
    if (first?.part.case !== 'head') throw new Error('the dispatcher ended the call without an answer');
    const rest = async function* (): AsyncGenerator<Uint8Array, void> {
      try {
        for (let next = await parts.next(); !next.done; next = await parts.next()) if (next.value.part.case === 'body') yield next.value.part.value;
        // A call that was cancelled ends without an error; its body must not look complete.
        signal.throwIfAborted();
      } finally {
        await parts.return?.();
      }
    };
    return { status: first.part.value.status, headers: first.part.value.headers, body: rest() };
  },
  async get(namespace, id) {
    const { invocation } = await client.get({ namespace, id }, { timeoutMs: TIMEOUT_MS });
    return invocation as Invocation | undefined;
  },
  async list(filter) {
    const { items } = await client.list(filter, { timeoutMs: TIMEOUT_MS });
    return items as unknown as readonly Invocation[];
  },
  watch: (filter, signal) => client.watch(filter, { signal }) as unknown as AsyncIterable<Invocation>,
});

/** The ledger of the dispatcher over the wire. */
export const remoteCounters = (client: Client<typeof Runs>): CountersPort => ({
  async counters(namespace) {
    const { items } = await client.budgets({ namespace }, { timeoutMs: TIMEOUT_MS });
    return items as unknown as readonly BudgetCounter[];
  },
});

/** The store over the wire, as the port StorePort. */
export const remoteStore = (client: Client<typeof Store>): StorePort => ({
  async insertExchanges(records) {
    await client.insertExchanges(exchangeBatch(records), { timeoutMs: TIMEOUT_MS });
  },
  async exchanges(query) {
    const { records } = await client.exchanges({ ...query, protocols: [...(query.protocols ?? [])] }, { timeoutMs: TIMEOUT_MS });
    return records as unknown as readonly ExchangeRecord[];
  },
  async insertLogs(records) {
    await client.insertLogs({ records: [...records] }, { timeoutMs: TIMEOUT_MS });
  },
  async logs(query, signal) {
    const options = { timeoutMs: TIMEOUT_MS + (query.waitMs ?? 0), ...(signal && { signal }) };
    const { records } = await client.logs({ ...query, components: [...query.components] }, options);
    return records as unknown as readonly StoredLog[];
  },
});
