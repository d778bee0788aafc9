import { ClrkError, runProgram, systemClock } from '#lib';
import { layout, type StorePort } from '#model';
import { createRecorder } from '#telemetry';
import { connect, exchangeBatch, Store } from '#wire';

/** The records of one worker (`--name`): from its record files, over its spool, to `Store`. */
await runProgram('recorder', async ({ state, run, args, log, signal, resources, ready }) => {
  const worker = args['name'];
  if (!worker) throw new ClrkError('BadArgument', { what: 'recorder needs --name WORKER.', fix: 'The worker that starts it passes its own name.' });
  const paths = layout(state, run);
  const client = connect(Store, paths.storeSocket);
  resources.defer(async () => client.close());
  const store: Pick<StorePort, 'insertExchanges' | 'insertLogs'> = {
    insertExchanges: async (records) => {
      await client.insertExchanges(exchangeBatch(records), { timeoutMs: 15_000 });
    },
    insertLogs: async (records) => {
      await client.insertLogs({ records: [...records] }, { timeoutMs: 15_000 });
    },
  };
  const recorder = resources.use(await createRecorder({ layout: paths.worker(worker), worker, store, log, clock: systemClock, signal }));
  recorder.ended.catch((error: unknown) => {
    log.error('recording failed; a restart goes on from the checkpoint', { err: error });
    process.exit(1);
  });
  ready({});
});
