import { agentSandboxRevisions, LABELS, type AgentSandboxRevision } from '#api';
import { createController, keyOf, signals, splitKey, watches } from '#kube';
import { canonicalJson, kubeTime } from '#lib';
import { servingRevisions } from '../agent/revisions.ts';
import { poolKeyOf } from '../caches.ts';
import { coalesce } from '../coalesce.ts';
import type { Context } from '../context.ts';
import { workersOf } from '../reports.ts';
import { writeStatus } from '../status.ts';
import { retiredStatus, servingStatus } from './status.ts';

/** Revisions, agents and worker reports -> the status of each revision. */
export const revisionController = ({ client, caches: { agents, revisions }, workers, clock, log }: Context): AsyncDisposable => {
  const agentOf = (revision: AgentSandboxRevision) => agents.get(revision.metadata.namespace!, revision.metadata.labels?.[LABELS.agent] ?? '');
  return createController({
    name: 'revision',
    log,
    sources: [
      watches(revisions),
      watches(agents, (agent) => revisions.index('agent', keyOf(agent)).map(keyOf)),
      signals((enqueue) => {
        const changes = coalesce(enqueue);
        const stop = workers.onChange((_, ...reports) => {
          // An image that has come makes a revision ready now; what else workers report can wait a moment.
          const [now, before] = reports.map((report) => canonicalJson(report?.images ?? []));
          const add = now === before ? changes.add : enqueue;
          for (const pool of new Set(reports.map((report) => report?.pool)))
            for (const agent of agents.index('pool', pool ?? '')) revisions.index('agent', keyOf(agent)).map(keyOf).forEach(add);
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
      const serves = servingRevisions(agent, revisions.index('agent', keyOf(agent))).some(({ metadata }) => metadata.name === name);
      const status = serves ? servingStatus(revision, workersOf(workers, poolKeyOf(agent)), agent.spec.workerPoolRef, now) : retiredStatus(revision, now);
      await writeStatus(client, agentSandboxRevisions, revision, status);
    },
  });
};
