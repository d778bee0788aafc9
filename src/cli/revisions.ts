import {
  agentSandboxRevisions,
  daemonAgents,
  generationOf,
  isRevisionOf,
  LABELS,
  taskAgents,
  TEMPLATE_HASH,
  type Agent,
  type AgentSandboxRevision,
  type Kind,
} from '#api';
import type { Client } from '#kube';
import { canonicalJson, ClrkError } from '#lib';

export interface FoundAgent {
  readonly kind: Kind;
  readonly agent: Agent;
  /** Newest first. */
  readonly revisions: readonly AgentSandboxRevision[];
}

const KINDS: readonly Kind<Agent>[] = [taskAgents as Kind as Kind<Agent>, daemonAgents as Kind as Kind<Agent>];

/** An agent by name, or by `taskagent/NAME` or `daemonagent/NAME` where both kinds have one of that name, with its revisions. */
export const findAgent = async (client: Client, namespace: string, text: string): Promise<FoundAgent> => {
  const slash = text.indexOf('/');
  const name = text.slice(slash + 1);
  const kinds = slash < 0 ? KINDS : KINDS.filter((kind) => [kind.singular, kind.plural, ...kind.shortNames].includes(text.slice(0, slash).toLowerCase()));
  const objects = await Promise.all(kinds.map(async (kind) => ({ kind, agent: await client.get(kind, namespace, name) })));
  const [found, another] = objects.flatMap(({ kind, agent }) => (agent ? [{ kind, agent }] : []));
  if (another)
    throw new ClrkError('BadArgument', {
      what: `There are a TaskAgent and a DaemonAgent ${name} in namespace ${namespace}.`,
      fix: `Say which: taskagent/${name} or daemonagent/${name}.`,
    });
  if (!found) throw new ClrkError('AgentNotFound', { agent: `${namespace}/${name}` });
  const { items } = await client.list(agentSandboxRevisions, { namespace, labelSelector: `${LABELS.agent}=${name}` });
  const revisions = items.filter((revision) => isRevisionOf(found.agent, revision)).sort((a, b) => generationOf(b) - generationOf(a));
  return { ...found, revisions };
};

/** A revision by its name or its number: `word-count-00003`, `00003` or `3`. */
export const pickRevision = ({ agent, revisions }: FoundAgent, text: string): AgentSandboxRevision => {
  const found = revisions.find((revision) => revision.metadata.name === text || (/^\d+$/.test(text) && generationOf(revision) === Number(text)));
  if (found) return found;
  throw new ClrkError('RevisionNotFound', {
    agent: `${agent.metadata.namespace}/${agent.metadata.name}`,
    revision: text,
    known: revisions.map(({ metadata }) => metadata.name).join(', ') || 'none yet',
  });
};

const without = (map: Readonly<Record<string, string>> | undefined, drop: (key: string) => boolean): Record<string, string> | undefined => {
  const kept = Object.entries(map ?? {}).filter(([key]) => !drop(key));
  return kept.length > 0 ? Object.fromEntries(kept) : undefined;
};

/** What a revision holds of the template, and the content its image name stood for. */
export const templateOf = ({ metadata, spec, status }: AgentSandboxRevision) => {
  const own: readonly string[] = Object.values(LABELS);
  const labels = without(metadata.labels, (key) => own.includes(key));
  const annotations = without(metadata.annotations, (key) => key === TEMPLATE_HASH);
  const { image, command, args, env } = spec;
  return {
    ...((labels || annotations) && { metadata: { ...(labels && { labels }), ...(annotations && { annotations }) } }),
    image,
    ...(status?.imageDigest && { imageDigest: status.imageDigest }),
    ...(command && { command }),
    ...(args && { args }),
    ...(env && { env }),
  };
};

/** The parts in which two revisions differ, in words: `image`, `env.COLOUR`; `content` when the same image name stood for something else. */
export const changesBetween = (before: AgentSandboxRevision, after: AgentSandboxRevision): string[] => {
  const differ = (a: unknown, b: unknown): boolean => canonicalJson(a ?? null) !== canonicalJson(b ?? null);
  const [old, now] = [templateOf(before), templateOf(after)];
  const changes: string[] = [];
  if (old.image !== now.image) changes.push('image');
  else if (old.imageDigest && now.imageDigest && old.imageDigest !== now.imageDigest) changes.push('content');
  for (const field of ['command', 'args'] as const) if (differ(old[field], now[field])) changes.push(field);
  const variables = new Set([...(old.env ?? []), ...(now.env ?? [])].map(({ name }) => name));
  const valueIn = (template: typeof old, name: string): unknown => template.env?.find((entry) => entry.name === name);
  const changed = [...variables].filter((name) => differ(valueIn(old, name), valueIn(now, name)));
  changes.push(...changed.map((name) => `env.${name}`));
  if (changed.length === 0 && differ(old.env, now.env)) changes.push('env order');
  for (const field of ['labels', 'annotations'] as const) if (differ(old.metadata?.[field], now.metadata?.[field])) changes.push(field);
  return changes;
};
