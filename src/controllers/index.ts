// controllers: consumes kinds (watched through kube) and reports of workers and egresses; produces desired state (port
// DesiredPort of model), AgentSandboxRevisions, gateway roots and truthful statuses.
// Owns: the reconcile loops, one folder a kind; the certificate authorities of gateways. Heavy dependencies: none (signing is in #lib/x509).
import { retry, systemClock, type Clock, type Logger } from '#lib';
import type { CapsPort, DesiredPort, ExplainAnswer, ExplainPort, Runs } from '#model';
import { createEventRecorder, type Client } from '#kube';
import { ActiveRuns } from './agent/active.ts';
import { agentController } from './agent/index.ts';
import { createCaches } from './caches.ts';
import type { Context } from './context.ts';
import { eventController } from './events.ts';
import { extensionControllers } from './extension/index.ts';
import { capsIn } from './gateway/budgets.ts';
import { createExplainer } from './gateway/explain.ts';
import { gatewayController } from './gateway/index.ts';
import { Plans } from './gateway/plans.ts';
import { gatewayStatusController } from './gateway/status-controller.ts';
import { ensureDefaultPool, poolController } from './pool/index.ts';
import { createReports } from './reports.ts';
import { Statuses } from './status.ts';
import { revisionController } from './revision/index.ts';
import { unbuiltControllers } from './unbuilt.ts';
import { workerDesiredController } from './worker-desired.ts';

export interface ControllersOptions {
  readonly client: Client;
  readonly desired: DesiredPort;
  /** Followed for `status.activeExecutions`; may be away. */
  readonly runs: Runs;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

const STARTING: ExplainAnswer = { refusal: { reason: 'ServiceUnavailable', message: 'the controllers have only begun to start; try again' } };

/** What the controllers know can be asked, too. */
export type Controllers = AsyncDisposable & ExplainPort & CapsPort;

/** Starts all controllers; they end with `await using`. Nothing is published before every cache is filled. */
export const startControllers = ({ client, desired, runs, log, signal, clock = systemClock }: ControllersOptions): Controllers => {
  const resources = new AsyncDisposableStack();
  const { workers, egresses } = createReports(desired, clock);
  const caches = resources.use(createCaches(client, log));
  const context: Context = { client, caches, desired, workers, egresses, runs, clock, statuses: new Statuses(client), log };
  const active = resources.use(new ActiveRuns(runs, log));
  const recorder = resources.use(createEventRecorder({ client, component: 'clrk', clock, log }));
  const plans = new Plans();
  const gate = new AbortController();
  resources.defer(() => gate.abort(new Error('ended')));

  void retry(() => ensureDefaultPool(client), {
    signal: AbortSignal.any([signal, gate.signal]),
    onError: (error) => log.warn('the default pool cannot be made yet', { err: error }),
  }).catch(() => {});
  let explainer: ExplainPort | undefined;
  void caches.synced.then(
    () => {
      if (gate.signal.aborted) return;
      resources.use(eventController(context, active, recorder));
      // Each consumes the caches; what it produces is said at its definition.
      resources.use(poolController(context));
      resources.use(agentController(context, active));
      resources.use(revisionController(context, active));
      resources.use(gatewayController(context, plans));
      resources.use(gatewayStatusController(context, plans));
      resources.use(workerDesiredController(context, plans));
      resources.use(extensionControllers(context));
      resources.use(unbuiltControllers(context, active));
      explainer = createExplainer(context, plans);
    },
    () => {},
  );
  return {
    explain: async (question) => explainer?.explain(question) ?? STARTING,
    caps: (namespace) => explainer && capsIn(plans, namespace),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
