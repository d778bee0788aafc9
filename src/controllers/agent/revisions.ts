import { apiVersionOf, isTrue, LABELS, revisionName, taskAgents, type AgentSandboxRevision, type TaskAgent } from '#api';
import type { Writable } from '#kube';
import { canonicalJson } from '#lib';

/** The generation of the agent a revision came from. */
export const generationOf = ({ metadata }: AgentSandboxRevision): number => Number(metadata.labels?.[LABELS.generation] ?? 0);

/** Whether the revision belongs to this very agent, and not to an earlier one of its name. */
export const isOwnedBy = (revision: AgentSandboxRevision, agent: TaskAgent): boolean =>
  revision.metadata.ownerReferences?.some(({ uid, controller }) => controller === true && uid === agent.metadata.uid) ?? false;

/** Revisions of the agent, newest first. */
export const ownRevisions = (agent: TaskAgent, revisions: readonly AgentSandboxRevision[]): AgentSandboxRevision[] =>
  revisions.filter((revision) => isOwnedBy(revision, agent) && !revision.metadata.deletionTimestamp).sort((a, b) => generationOf(b) - generationOf(a));

/** The newest revision that was ready: the newest itself when it is, else the one that served last. */
export const latestReady = (agent: TaskAgent, newestFirst: readonly AgentSandboxRevision[]): AgentSandboxRevision | undefined => {
  const [newest] = newestFirst;
  if (newest && isTrue(newest.status?.conditions, 'Ready')) return newest;
  const served = agent.status?.latestReadyRevisionName;
  return newestFirst.find(({ metadata }) => metadata.name === served) ?? newestFirst.find(({ status }) => isTrue(status?.conditions, 'Ready'));
};

/** Revisions whose images workers should have: the newest, and the one that serves until the newest is ready. */
export const servingRevisions = (agent: TaskAgent, revisions: readonly AgentSandboxRevision[]): AgentSandboxRevision[] => {
  const own = ownRevisions(agent, revisions);
  return [...new Set([own[0], latestReady(agent, own)])].filter((revision) => revision !== undefined);
};

/** What a revision holds of the agent's template. */
export const snapshotOf = ({ spec: { template } }: TaskAgent): AgentSandboxRevision['spec'] => {
  const { image, command, args, env } = template.spec;
  return { image, ...(command && { command }), ...(args && { args }), ...(env && { env }) };
};

/** The revision to make, or undefined while the newest one still is the template. */
export const revisionToMint = (agent: TaskAgent, newest: AgentSandboxRevision | undefined): Writable | undefined => {
  const snapshot = snapshotOf(agent);
  if (newest && canonicalJson(newest.spec) === canonicalJson(snapshot)) return undefined;
  const { namespace, name, uid, generation = 1 } = agent.metadata;
  const { labels, annotations } = agent.spec.template.metadata ?? {};
  return {
    metadata: {
      namespace: namespace!,
      name: revisionName(name, generation),
      labels: {
        ...labels,
        [LABELS.agent]: name,
        [LABELS.agentKind]: taskAgents.kind,
        [LABELS.generation]: String(generation),
        [LABELS.workerPool]: agent.spec.workerPoolRef,
      },
      ...(annotations && { annotations }),
      ownerReferences: [{ apiVersion: apiVersionOf(taskAgents), kind: taskAgents.kind, name, uid: uid!, controller: true, blockOwnerDeletion: true }],
    },
    spec: snapshot,
  };
};
