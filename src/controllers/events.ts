import {
  agentSandboxRevisions,
  aiProviderRoutes,
  controllerOf,
  credentialInjectionPolicies,
  egressGateways,
  findCondition,
  isRevisionOf,
  taskAgents,
  workerPools,
  type Condition,
  type KubeObject,
} from '#api';
import { keyOf, splitKey, type EventRecorder, type Informer, type ResourceKind } from '#kube';
import type { Invocation } from '#model';
import type { ActiveRuns } from './agent/active.ts';
import type { Context } from './context.ts';
import { workersOf } from './reports.ts';

/** Reasons that only say "not yet": nobody has to act, and what follows them is told. */
const PASSING: readonly string[] = ['ImagePending', 'NoWorker', 'Retired', 'RevisionNotReady', 'GatewayNotProgrammed', 'Pending'];
/** A stack that stops loses its workers too; it is gone before this has passed. */
const WORKER_LOST_MS = 2_000;

type Told = Pick<Condition, 'status' | 'reason' | 'message'>;

/** The conditions of an object that say whether it works, in one order. */
const told = (conditions: readonly Condition[] | undefined, types: readonly string[]): Told[] => types.flatMap((type) => findCondition(conditions, type) ?? []);

const isSame = (a: Told | undefined, b: Told): boolean => a?.status === b.status && a.reason === b.reason && (b.status !== 'True' || a.message === b.message);

interface Attached extends KubeObject {
  readonly status?: {
    readonly parents?: readonly { readonly conditions?: readonly Condition[] }[];
    readonly ancestors?: readonly { readonly conditions?: readonly Condition[] }[];
  };
}

/** Statuses, reports and ended runs -> Events: what a person who describes an object wants to have been told. */
export const eventController = (context: Context, active: ActiveRuns, recorder: EventRecorder): Disposable => {
  const { agents, revisions, gateways, routes, policies, pools } = context.caches;
  const stops: (() => void)[] = [];

  /** Tells of conditions that became something new. */
  const follow = <T extends KubeObject>(informer: Informer<T>, of: (object: T) => readonly Told[], tell: (object: T, what: Told) => void): void => {
    stops.push(
      informer.onChange((_, current, previous) => {
        if (!current) return;
        const before = previous ? of(previous) : [];
        for (const [index, now] of of(current).entries()) {
          if (isSame(before[index], now) || (now.status !== 'True' && PASSING.includes(now.reason))) continue;
          tell(current, now);
        }
      }),
    );
  };
  const about =
    <T extends KubeObject>(kind: ResourceKind<T>) =>
    (object: T, { status, reason, message }: Told): void =>
      recorder.record(kind, object, { type: status === 'True' ? 'Normal' : 'Warning', reason, message });

  follow(agents, ({ status }) => told(status?.conditions, ['Ready']).filter((what) => what.status !== 'True'), about(taskAgents));
  follow(
    revisions,
    ({ status }) => told(status?.conditions, ['Ready']),
    (revision, { status, reason, message }) => {
      const ready = status === 'True';
      about(agentSandboxRevisions)(revision, { status, reason, message });
      const agent = agents.get(revision.metadata.namespace!, controllerOf(revision)?.name ?? '');
      const text = `Revision ${revision.metadata.name} is ${ready ? 'ready' : 'not ready'}: ${message}`;
      if (agent && isRevisionOf(agent, revision)) about(taskAgents)(agent, { status, reason: ready ? 'RevisionReady' : reason, message: text });
    },
  );
  follow(gateways, ({ status }) => told(status?.conditions, ['Ready']), about(egressGateways));
  // Of what attaches to gateways only the trouble: it is the gateway that says what is in force.
  const trouble = ({ status }: Attached): Told[] =>
    [...(status?.parents ?? []), ...(status?.ancestors ?? [])].flatMap(({ conditions }) => told(conditions, ['Accepted', 'ResolvedRefs']));
  const warn =
    <T extends KubeObject>(kind: ResourceKind<T>) =>
    (object: T, what: Told): void =>
      what.status === 'False' ? about(kind)(object, what) : undefined;
  follow(routes, trouble, warn(aiProviderRoutes));
  follow(policies, trouble, warn(credentialInjectionPolicies));

  const timers = new Set<NodeJS.Timeout>();
  stops.push(
    context.workers.onChange((worker, current, previous) => {
      if (current?.pool === previous?.pool) return;
      const { namespace, name } = splitKey((current ?? previous)!.pool);
      const pool = pools.get(namespace, name);
      if (!pool) return;
      if (current) return recorder.record(workerPools, pool, { type: 'Normal', reason: 'WorkerConnected', message: `Worker ${worker} is connected.` });
      const wanted = workersOf(context.workers, keyOf(pool)).length < pool.spec.replicas;
      const timer = setTimeout(() => {
        timers.delete(timer);
        if (wanted) recorder.record(workerPools, pool, { type: 'Warning', reason: 'WorkerLost', message: `Worker ${worker} ended; its runs end Failed.` });
        else recorder.record(workerPools, pool, { type: 'Normal', reason: 'WorkerStopped', message: `Worker ${worker} is no longer wanted.` });
      }, WORKER_LOST_MS);
      timers.add(timer);
    }),
    active.onEnd(({ id, namespace, agent: name, phase, reason, message }: Invocation) => {
      if (phase !== 'Failed' && phase !== 'Timeout') return;
      const agent = agents.get(namespace, name);
      if (agent)
        recorder.record(taskAgents, agent, { type: 'Warning', reason: reason || phase, message: `Invocation ${id} ended ${phase}: ${message || reason}` });
    }),
  );
  return {
    [Symbol.dispose]() {
      for (const stop of stops) stop();
      for (const timer of timers) clearTimeout(timer);
    },
  };
};
