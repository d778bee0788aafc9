import { agentSandboxRevisions, controllerOf, generationOf, type Agent, type AgentSandboxRevision, type Kind } from '#api';
import { ApiError, isConflict, keyOf, type Source, watches } from '#kube';
import { messageOf } from '#lib';
import { isTerminal } from '#model';
import type { Context } from '../context.ts';
import type { Finding } from '../status.ts';
import type { ActiveRuns } from './active.ts';
import { expendableRevisions, ownRevisions, revisionToMint } from './revisions.ts';

/** How many invocations of an agent are looked through for runs of a revision that is to go. */
const LOOKED_THROUGH = 1_000;

/** The revisions of the agents of one kind: made when a template is new, deleted when there are too many. */
export class RevisionKeeper {
  readonly #kind: Kind;
  readonly #context: Context;
  readonly #active: ActiveRuns;
  /** The last revision made of each agent (by uid), for as long as the cache does not show it. */
  readonly #minted = new Map<string, AgentSandboxRevision>();

  constructor(kind: Kind, context: Context, active: ActiveRuns) {
    this.#kind = kind;
    this.#context = context;
    this.#active = active;
  }

  /** Wakes the agents whose revisions changed, and the one that wants the name of a revision that is not its own. */
  get source(): Source {
    const agentOf = ({ metadata }: AgentSandboxRevision): string => `${metadata.namespace}/${metadata.name.replace(/-\d+$/, '')}`;
    return watches(this.#context.caches.revisions, (revision) => [agentOf(revision)]);
  }

  /** Newest first. */
  of(agent: Agent): AgentSandboxRevision[] {
    const own = ownRevisions(agent, this.#context.caches.revisions.index('owner', agent.metadata.uid!));
    const last = this.#minted.get(agent.metadata.uid!);
    if (!last) return own;
    if (!own.some(({ metadata }) => metadata.uid === last.metadata.uid) && (!own[0] || generationOf(own[0]) < generationOf(last))) return [last, ...own];
    this.#minted.delete(agent.metadata.uid!);
    return own;
  }

  /** Makes the revision of a new template; the answer is why it cannot be made. */
  async mint(agent: Agent): Promise<Finding | undefined> {
    const revision = revisionToMint(this.#kind, agent, this.of(agent)[0]);
    if (!revision) return undefined;
    const { client, log } = this.#context;
    const { namespace, name } = { namespace: agent.metadata.namespace!, name: revision.metadata.name };
    try {
      this.#minted.set(agent.metadata.uid!, await client.create(agentSandboxRevisions, revision));
      log.info('revision made', { revision: `${namespace}/${name}` });
      return undefined;
    } catch (error) {
      // Labels of the template that are none, a name that is too long for one.
      if (error instanceof ApiError && error.code === 422)
        return { type: 'Ready', status: 'False', reason: 'RevisionInvalid', message: `The revision of this template is refused: ${error.message}.` };
      if (!isConflict(error)) throw error;
      const there = await client.get(agentSandboxRevisions, namespace, name);
      if (!there || controllerOf(there)?.uid === agent.metadata.uid) throw error; // the cache is behind
      const owner = controllerOf(there);
      // Left by an agent of this name that is gone: generations begin again with every agent.
      if (owner && !this.#lives(namespace, owner.uid)) {
        await client.delete(agentSandboxRevisions, namespace, name);
        throw error;
      }
      const message = `The revision of this template would be called ${name}, and there is one of that name ${owner ? `of ${owner.kind} ${owner.name}` : 'that belongs to no agent'}. ${owner ? 'Give one of the two agents another name.' : 'Delete it.'}`;
      return { type: 'Ready', status: 'False', reason: 'RevisionNameTaken', message };
    }
  }

  /** Deletes revisions that are too many; while it is not known what runs, none. */
  async retain(agent: Agent): Promise<void> {
    const { client, runs, log } = this.#context;
    const { namespace, name } = agent.metadata;
    const own = this.of(agent);
    const active = this.#active.revisionsOf(keyOf(agent));
    if (expendableRevisions(agent, own, active).length === 0) return;
    const listed = await runs.list({ namespace: namespace!, agent: name, limit: LOOKED_THROUGH }).catch((error: unknown) => {
      log.debug(`revisions are kept, because it is not known what runs: ${messageOf(error)}`, { agent: keyOf(agent) });
      throw error;
    });
    const running = listed.filter(({ phase }) => !isTerminal(phase)).map(({ revision }) => revision);
    for (const { metadata } of expendableRevisions(agent, own, new Set([...active, ...running]))) {
      await client.delete(agentSandboxRevisions, namespace!, metadata.name);
      log.info('revision deleted', { revision: `${namespace}/${metadata.name}` });
    }
  }

  #lives(namespace: string, uid: string): boolean {
    const { agents, daemons } = this.#context.caches;
    return [...agents.list(namespace), ...daemons.list(namespace)].some(({ metadata }) => metadata.uid === uid);
  }
}
