import { agentSandboxRevisions, controllerOf, isRevisionOf, type Agent, type AgentSandboxRevision } from '#api';
import { createController, keyOf, signals, splitKey, watches } from '#kube';
import { canonicalJson, kubeTime } from '#lib';
import { ownRevisions, preparedRevisions, servingRevision } from '../agent/revisions.ts';
import type { ActiveRuns } from '../agent/active.ts';
import { poolKeyOf } from '../caches.ts';
import { coalesce } from '../coalesce.ts';
import type { Context } from '../context.ts';
import { workersOf } from '../reports.ts';
import { preparedStatus, retiredStatus } from './status.ts';

/** Revisions, agents and worker reports -> the status of each revision. */
export const revisionController = ({ caches: { agents, daemons, revisions }, workers, statuses, clock, log }: Context, active: ActiveRuns): AsyncDisposable => {
  const agentOf = (revision: AgentSandboxRevision): Agent | undefined =>
    [agents, daemons]
      .map((cache) => cache.get(revision.metadata.namespace!, controllerOf(revision)?.name ?? ''))
      .find((agent) => agent && isRevisionOf(agent, revision));
  const keysOf = (agent: Agent): string[] => revisions.index('owner', agent.metadata.uid!).map(keyOf);
  return createController({
    name: 'revision',
    log,
    sources: [
      watches(revisions),
      watches(agents, keysOf),
      watches(daemons, keysOf),
      // The newest revision makes the one before it an old one.
      watches(
        revisions,
        (revision) => {
          const agent = agentOf(revision);
          return agent ? keysOf(agent) : [];
        },
        (current, previous) => !current || !previous,
      ),
      signals((enqueue) =>
        active.onChange((key) => {
          const { namespace, name } = splitKey(key);
          const agent = agents.get(namespace, name);
          if (agent) keysOf(agent).forEach(enqueue);
        }),
      ),
      signals((enqueue) => {
        const changes = coalesce(enqueue);
        const stop = workers.onChange((_, ...reports) => {
          // An image that has come makes a revision ready now; what else workers report can wait a moment.
          const [now, before] = reports.map((report) => canonicalJson(report?.images ?? []));
          const add = now === before ? changes.add : enqueue;
          for (const pool of new Set(reports.map((report) => report?.pool)))
            for (const agent of [...agents.index('pool', pool ?? ''), ...daemons.index('pool', pool ?? '')]) keysOf(agent).forEach(add);
        });
        return () => (stop(), changes.stop());
      }),
    ],
    async reconcile(key) {
      const { namespace, name } = splitKey(key);
      const revision = revisions.get(namespace, name);
      const agent = revision && agentOf(revision);
      if (!revision || !agent) return;
      const now = kubeTime(clock.now());
      const own = ownRevisions(agent, revisions.index('owner', agent.metadata.uid!));
      const place = { newest: own[0]?.metadata.name, serving: servingRevision(agent, own)?.metadata.name, pinned: agent.spec.revisionName };
      const prepared = preparedRevisions(agent, own).some(({ metadata }) => metadata.name === name);
      await statuses.write(agentSandboxRevisions, revision, (current) =>
        prepared
          ? preparedStatus(current, workersOf(workers, poolKeyOf(agent)), {
              pool: agent.spec.workerPoolRef,
              place,
              runsOn: (worker) => active.count(keyOf(agent), { revision: name, worker }),
              now,
            })
          : retiredStatus(current, place, now),
      );
    },
  });
};
