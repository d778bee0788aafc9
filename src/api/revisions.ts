import { findCondition } from './conditions.ts';
import type { KubeObject, OwnerReference } from './kind.ts';
import type { AgentSandboxRevision } from './v1alpha1/agent-sandbox-revision.ts';
import type { DaemonAgent } from './v1alpha1/daemon-agent.ts';
import type { TaskAgent } from './v1alpha1/task-agent.ts';

/** What both kinds of agents have in common. */
export type Agent = TaskAgent | DaemonAgent;

/** Revisions kept of an agent that does not say how many. */
export const DEFAULT_REVISION_HISTORY = 10;

/** The owner that manages the object. */
export const controllerOf = ({ metadata }: KubeObject): OwnerReference | undefined => metadata.ownerReferences?.find(({ controller }) => controller === true);

/** Whether the revision belongs to this very agent, and not to another kind of agent or an earlier one of its name. */
export const isRevisionOf = (agent: Agent, revision: AgentSandboxRevision): boolean =>
  revision.metadata.namespace === agent.metadata.namespace && controllerOf(revision)?.uid === agent.metadata.uid;

/** The generation of the agent a revision came from: the number its name ends with. */
export const generationOf = ({ metadata }: AgentSandboxRevision): number => Number(/\d+$/.exec(metadata.name)?.[0] ?? 0);

/** Whether a sandbox of the revision has started: its content is known and does not change any more. */
export const isProven = ({ status }: AgentSandboxRevision): boolean => Boolean(status?.imageDigest);

/** The image a revision runs: the content it was first ready with, as `name@digest`, or before that what its name stands for. */
export const imageOf = ({ spec: { image }, status }: AgentSandboxRevision): string =>
  status?.imageDigest && !/@|^sha256:/.test(image) ? `${image}@${status.imageDigest}` : image;

/**
 * Why an agent cannot run the revision that `spec.revisionName` names, or undefined when it can. A pin is never ignored: what
 * it names runs, or nothing does.
 */
export const pinProblem = (agent: Agent, pinned: AgentSandboxRevision | undefined): { readonly reason: string; readonly message: string } | undefined => {
  const { revisionName } = agent.spec;
  if (revisionName === undefined) return undefined;
  const what = `spec.revisionName pins AgentSandboxRevision ${revisionName}`;
  const undo = 'Name another one, or remove the field to run the latest ready one.';
  if (!pinned) return { reason: 'RevisionNotFound', message: `${what}, which does not exist. ${undo}` };
  if (!isRevisionOf(agent, pinned)) return { reason: 'RevisionNotOwned', message: `${what}, which belongs to another agent. ${undo}` };
  if (isProven(pinned)) return undefined;
  const why = findCondition(pinned.status?.conditions, 'Ready');
  return {
    reason: 'RevisionNotReady',
    message: `${what}, which has not been ready yet: ${why ? `${why.reason}: ${why.message}` : 'no worker has reported.'} ${undo}`,
  };
};
