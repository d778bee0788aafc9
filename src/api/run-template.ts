import { runResources } from './resources.ts';
import type { AgentSandboxRevision } from './v1alpha1/agent-sandbox-revision.ts';
import type { TaskAgent } from './v1alpha1/task-agent.ts';

/** What runs of this agent are made of while `revision` serves (a RunTemplate of model). Warm sandboxes are made of the same. */
export const runTemplateOf = ({ metadata, spec }: TaskAgent, revision: AgentSandboxRevision) => {
  const { namespace = '', name } = metadata;
  const { image, command = [], args = [], env = [] } = revision.spec;
  return {
    namespace,
    agent: name,
    revision: revision.metadata.name,
    image,
    command,
    args,
    env: env.map(({ name: key, value }) => ({ name: key, value: value ?? '' })),
    ...runResources(spec.resources),
    // Only the first gateway is built; the others admit nothing.
    gateways: (spec.egressRefs ?? []).slice(0, 1).map(({ gatewayRef }) => `${namespace}/${gatewayRef}`),
  };
};
