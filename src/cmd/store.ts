import { runProgram } from '#lib';
import { layout, type ExchangeQuery, type ExchangeRecord, type LogQuery, type LogRecord } from '#model';
import { openStore } from '#telemetry/store';
import { createRpcServer, exchangeBatch, Store, type Implementation } from '#wire';

/** The records of every run: opens ClickHouse under `<state>/clickhouse` and serves `Store`. */
await runProgram('store', async ({ state, run, log, resources, ready }) => {
  const paths = layout(state, run);
  const store = resources.use(await openStore({ dir: paths.clickhouse, log }));
  const service: Implementation<typeof Store> = {
    insertExchanges: async ({ records }) => {
      await store.insertExchanges(records as readonly ExchangeRecord[]);
      return {};
    },
    exchanges: async (query) => exchangeBatch(await store.exchanges(query as ExchangeQuery)),
    insertLogs: async ({ records }) => {
      await store.insertLogs(records as unknown as readonly LogRecord[]);
      return {};
    },
    logs: async (query, { signal }) => ({ records: [...(await store.logs(query as LogQuery, signal))] }),
  };
  // Recorders only add, controller-manager only asks.
  const isInsert = (method: string): boolean => method.startsWith('insert');
  const inserts = resources.use(createRpcServer().add(Store, service, isInsert));
  const queries = resources.use(createRpcServer().add(Store, service, (method) => !isInsert(method)));
  await Promise.all([inserts.listen(paths.storeSocket), queries.listen(paths.storeQuerySocket)]);
  ready({});
});
