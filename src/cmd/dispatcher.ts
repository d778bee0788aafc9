import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createClient } from '#kube';
import { ClrkError, messageOf, readIfExists, runProgram, writeFileAtomic, type Program } from '#lib';
import { openLedger } from '#ledger';
import { isTerminal, layout } from '#model';
import { Scheduler, workService } from '#scheduler';
import { Invoker, Journal, reviewer, startIngress } from '#trigger';
import { createRpcServer, Ledger, Runs, Work } from '#wire';
import { openDirectory } from './dispatcher/directory.ts';
import { ledgerService, runsService } from './dispatcher/services.ts';

/** How often overdue reservations are counted as spent. */
const SWEEP_MS = 5_000;

/** `--api https://127.0.0.1:PORT`: triggers, the scheduler, the journal and the ledger of a stack. */
const main = async (program: Program): Promise<void> => {
  const { state, run, args, log, resources } = program;
  const at = layout(state, run);
  if (!args['api']) throw new ClrkError('BadArgument', { what: '--api is required', fix: 'Name the URL of the API server.' });

  // Consumes TaskAgents, revisions and pools of the API server; produces what a trigger must know of an agent, also without it.
  const [ca, cert, key] = await Promise.all(['ca.crt', 'dispatcher.crt', 'dispatcher.key'].map((file) => readFile(join(at.pki, file), 'utf8')));
  const client = resources.use(createClient({ server: args['api'], ca, cert, key }));
  const directory = resources.use(await openDirectory(at.dispatchDb, client, log));

  // Consumes requests to run an agent; produces Invocations (durable), Assignments for workers, and the callers' answers.
  const journal = resources.use(new Journal(at.dispatchDb, { log }));
  const scheduler = resources.use(new Scheduler({ log, review: reviewer(directory) }));
  directory.onChange(() => scheduler.review());
  const invoker = new Invoker({ journal, directory, scheduler, log });
  invoker.recover();

  // Consumes reservations and settlements of egress; produces grants that never let a counter pass its cap.
  const alive = (execution: string): boolean => {
    const invocation = journal.get(execution);
    return invocation !== undefined && !isTerminal(invocation.phase);
  };
  const ledger = resources.use(openLedger(at.dispatchDb, { log, alive }));
  const sweeping = setInterval(() => {
    try {
      ledger.sweep();
    } catch (error) {
      log.warn(`overdue reservations cannot be counted as spent yet: ${messageOf(error)}`);
    }
  }, SWEEP_MS);
  resources.defer(() => clearInterval(sweeping));

  // The same over the wire, one socket for one kind of client: workers, egress, the runtime API.
  const work = resources.use(createRpcServer().add(Work, workService(scheduler, log)));
  const runs = resources.use(createRpcServer().add(Runs, runsService(invoker, ledger)));
  const budgets = resources.use(createRpcServer().add(Ledger, ledgerService(ledger)));
  await Promise.all([work.listen(at.workSocket), runs.listen(at.runsSocket), budgets.listen(at.ledgerSocket)]);

  // Consumes HTTP requests, on the port of last time when it is free.
  const portFile = at.ingressPort;
  const ingress = resources.use(await startIngress({ invoker, preferredPort: Number(await readIfExists(portFile)) || 0, log }));
  // Worth a try: without it the next start only listens somewhere else.
  await writeFileAtomic(portFile, `${ingress.port}\n`).catch((error: unknown) => log.warn(`the port cannot be kept: ${messageOf(error)}`));

  // Ends first, while workers and callers are still connected: they hear that their runs were cancelled.
  resources.use(invoker);
  program.ready({ ports: { ingress: ingress.port } });
};

await runProgram('dispatcher', main);
