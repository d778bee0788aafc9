import {
  agentSandboxRevisions,
  aiProviderRoutes,
  controllerOf,
  credentialInjectionPolicies,
  daemonAgents,
  egressDenyPolicies,
  egressGateways,
  egressL4Routes,
  findCondition,
  isRevisionOf,
  mcpRoutes,
  taskAgents,
  workerPools,
  type Agent,
  type AgentSandboxRevision,
  type Condition,
  type KubeObject,
} from '#api';
import { keyOf, splitKey, type EventRecorder, type Happening, type Informer, type ResourceKind } from '#kube';
import type { Invocation } from '#model';
import type { ActiveRuns } from './agent/active.ts';
import type { Context } from './context.ts';
import { workersOf } from './reports.ts';

/** Reasons that only say "not yet": nobody has to act, and what follows them is told. */
const PASSING: readonly string[] = ['ImagePending', 'NoWorker', 'Retired', 'RevisionNotReady', 'GatewayNotProgrammed', 'Pending'];
/** A stack that stops loses its workers too; it is gone before this has passed. */
const WORKER_LOST_MS = 2_000;

type Told = Pick<Condition, 'status' | 'reason' | 'message'> & {
  /** What the condition is about, where an object has several of a type. */
  readonly of?: string;
};

/** The conditions of an object that say whether it works, in one order. */
const told = (conditions: readonly Condition[] | undefined, types: readonly string[]): Told[] => types.flatMap((type) => findCondition(conditions, type) ?? []);

const isSame = (a: Told | undefined, b: Told): boolean => a?.status === b.status && a.reason === b.reason && (b.status !== 'True' || a.message === b.message);

type Named = { readonly kind?: string; readonly name: string; readonly sectionName?: string };

interface Attached extends KubeObject {
  readonly status?: {
    readonly parents?: readonly { readonly parentRef: Named; readonly conditions?: readonly Condition[] }[];
    readonly ancestors?: readonly { readonly ancestorRef: Named; readonly conditions?: readonly Condition[] }[];
  };
}

/** What is wrong with something that attaches, at each object it names; that it works is told by the gateway. */
const trouble = ({ status }: Attached): Told[] =>
  [
    ...(status?.parents ?? []).map(({ parentRef, conditions }) => ({ ref: parentRef, conditions })),
    ...(status?.ancestors ?? []).map(({ ancestorRef, conditions }) => ({ ref: ancestorRef, conditions })),
  ].flatMap(({ ref, conditions }) =>
    told(conditions, ['Accepted', 'ResolvedRefs']).map((condition) => ({ ...condition, of: `${ref.kind}/${ref.name}/${ref.sectionName ?? ''}` })),
  );

/** Statuses, reports and ended runs -> Events: what a person who describes an object wants to have been told. */
export const eventController = (context: Context, active: ActiveRuns, recorder: EventRecorder): Disposable => {
  const { agents, daemons, revisions, gateways, routes, mcpRoutes: mcp, l4Routes, policies, denyPolicies, pools } = context.caches;
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
    (object: T, { status, reason, message, of }: Told): void =>
      recorder.record(kind, object, { type: status === 'True' ? 'Normal' : 'Warning', reason, message, ...(of && { of }) });
  const warn =
    <T extends KubeObject>(kind: ResourceKind<T>) =>
    (object: T, what: Told): void =>
      what.status === 'False' ? about(kind)(object, what) : undefined;

  // An agent's revisions are told of at the agent too: that is where people look.
  const tellAgent = (revision: AgentSandboxRevision, happening: Happening): void => {
    const { namespace } = revision.metadata;
    const tell = <T extends Agent>(kind: ResourceKind<T>, cache: Informer<T>): void => {
      const agent = cache.get(namespace!, controllerOf(revision)?.name ?? '');
      if (agent && isRevisionOf(agent, revision)) recorder.record(kind, agent, { ...happening, of: revision.metadata.name });
    };
    tell(taskAgents, agents);
    tell(daemonAgents, daemons);
  };
  stops.push(
    revisions.onChange((_, current, previous) => {
      const revision = current ?? previous!;
      const { name } = revision.metadata;
      if (!previous) tellAgent(revision, { type: 'Normal', reason: 'RevisionCreated', message: `Revision ${name} was made of the template.` });
      if (!current) tellAgent(revision, { type: 'Normal', reason: 'RevisionDeleted', message: `Revision ${name} was deleted.` });
    }),
  );
  follow(
    revisions,
    ({ status }) => told(status?.conditions, ['Ready']),
    (revision, { status, reason, message }) => {
      const ready = status === 'True';
      about(agentSandboxRevisions)(revision, { status, reason, message });
      const text = `Revision ${revision.metadata.name} is ${ready ? 'ready' : 'not ready'}: ${message}`;
      tellAgent(revision, { type: ready ? 'Normal' : 'Warning', reason: ready ? 'RevisionReady' : reason, message: text });
    },
  );
  const ready = ({ status }: KubeObject & { readonly status?: { readonly conditions?: readonly Condition[] } }): Told[] =>
    told(status?.conditions, ['Ready']).filter(({ status: value, reason }) => value !== 'True' || reason === 'RevisionPinned');
  follow(agents, ready, about(taskAgents));
  follow(daemons, ready, about(daemonAgents));
  follow(gateways, ({ status }) => told(status?.conditions, ['Ready']), about(egressGateways));
  follow(routes, trouble, warn(aiProviderRoutes));
  follow(mcp, trouble, warn(mcpRoutes));
  follow(l4Routes, trouble, warn(egressL4Routes));
  follow(policies, trouble, warn(credentialInjectionPolicies));
  follow(denyPolicies, trouble, warn(egressDenyPolicies));
  follow(pools, ({ status }) => told(status?.conditions, ['Available']).filter(({ reason }) => reason === 'ScaledToZero'), warn(workerPools));

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
