import {
  apiVersionOf,
  DEFAULT_REVISION_HISTORY,
  generationOf,
  isProven,
  isRevisionOf,
  isTrue,
  LABELS,
  nameOfRevision,
  TEMPLATE_HASH,
  type Agent,
  type AgentSandboxRevision,
  type Kind,
} from '#api';
import type { Writable } from '#kube';
import { canonicalJson, sha256Hex } from '#lib';

/** Revisions of the agent, newest first. What claims to be of a generation that is still to come was not made by us. */
export const ownRevisions = (agent: Agent, revisions: readonly AgentSandboxRevision[]): AgentSandboxRevision[] => {
  const { generation = Infinity } = agent.metadata;
  return revisions
    .filter((revision) => isRevisionOf(agent, revision) && generationOf(revision) <= generation && !revision.metadata.deletionTimestamp)
    .sort((a, b) => generationOf(b) - generationOf(a));
};

/** The newest revision that was ready: the newest itself when it is, else the one that served last. */
export const latestReady = (agent: Agent, newestFirst: readonly AgentSandboxRevision[]): AgentSandboxRevision | undefined => {
  const [newest] = newestFirst;
  if (newest && isTrue(newest.status?.conditions, 'Ready')) return newest;
  const served = agent.status?.latestReadyRevisionName;
  return newestFirst.find(({ metadata }) => metadata.name === served) ?? newestFirst.find(({ status }) => isTrue(status?.conditions, 'Ready'));
};

/** The revision that new runs get: the pinned one and no other, else the latest ready one. */
export const servingRevision = (agent: Agent, newestFirst: readonly AgentSandboxRevision[]): AgentSandboxRevision | undefined => {
  const { revisionName } = agent.spec;
  if (revisionName === undefined) return latestReady(agent, newestFirst);
  return newestFirst.find((revision) => revision.metadata.name === revisionName && isProven(revision));
};

/**
 * Revisions that workers keep ready: the newest, the one that serves, the pinned one, and the one a rollback would take. Older
 * ones can still be pinned; their images are looked for when a run needs them.
 */
export const preparedRevisions = (agent: Agent, revisions: readonly AgentSandboxRevision[]): AgentSandboxRevision[] => {
  const own = ownRevisions(agent, revisions);
  const serving = servingRevision(agent, own);
  const before = own.slice(serving ? own.indexOf(serving) + 1 : 0).find(isProven);
  const pinned = own.find(({ metadata }) => metadata.name === agent.spec.revisionName);
  const prepared = new Set([own[0], latestReady(agent, own), serving, before, pinned]);
  return own.filter((revision) => prepared.has(revision));
};

/** Revisions beyond `revisionHistoryLimit` that nothing needs: not the newest, the latest ready one, the pinned one, or one that `runs` names. */
export const expendableRevisions = (agent: Agent, newestFirst: readonly AgentSandboxRevision[], runs: ReadonlySet<string>): AgentSandboxRevision[] => {
  const needed = new Set([newestFirst[0]?.metadata.name, latestReady(agent, newestFirst)?.metadata.name, agent.spec.revisionName, ...runs]);
  return newestFirst.slice(agent.spec.revisionHistoryLimit ?? DEFAULT_REVISION_HISTORY).filter(({ metadata }) => !needed.has(metadata.name));
};

/** What a revision holds of the agent's template. */
const snapshotOf = ({ spec: { template } }: Agent): AgentSandboxRevision['spec'] => {
  const { image, command, args, env } = template.spec;
  return { image, ...(command && { command }), ...(args && { args }), ...(env && { env }) };
};

/** The revision to make, or undefined while the newest one still is the template. */
export const revisionToMint = (kind: Kind, agent: Agent, newest: AgentSandboxRevision | undefined): Writable | undefined => {
  const spec = snapshotOf(agent);
  const { labels, annotations } = agent.spec.template.metadata ?? {};
  const hash = sha256Hex(canonicalJson({ spec, labels, annotations })).slice(0, 16);
  // One made before there was a hash counts by what it runs.
  const known = newest?.metadata.annotations?.[TEMPLATE_HASH] ?? hash;
  if (newest && known === hash && canonicalJson(newest.spec) === canonicalJson(spec)) return undefined;
  const { namespace, name, uid, generation = 1 } = agent.metadata;
  return {
    metadata: {
      namespace: namespace!,
      name: nameOfRevision(name, generation),
      labels: {
        ...labels,
        [LABELS.agent]: name,
        [LABELS.agentKind]: kind.kind,
        [LABELS.generation]: String(generation),
        [LABELS.workerPool]: agent.spec.workerPoolRef,
      },
      annotations: { ...annotations, [TEMPLATE_HASH]: hash },
      ownerReferences: [{ apiVersion: apiVersionOf(kind), kind: kind.kind, name, uid: uid!, controller: true, blockOwnerDeletion: true }],
    },
    spec,
  };
};
