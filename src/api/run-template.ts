import { runResources } from './resources.ts';
import { imageOf, type Agent } from './revisions.ts';
import type { AgentSandboxRevision } from './v1alpha1/agent-sandbox-revision.ts';

/** What runs of this agent are made of while `revision` serves (a RunTemplate of model). Warm sandboxes are made of the same. */
export const runTemplateOf = ({ metadata, spec }: Agent, revision: AgentSandboxRevision) => {
  const { namespace = '', name } = metadata;
  const { command = [], args = [], env = [] } = revision.spec;
  return {
    namespace,
    agent: name,
    revision: revision.metadata.name,
    image: imageOf(revision),
    command,
    args,
    env: env.map(({ name: key, value }) => ({ name: key, value: value ?? '' })),
    ...runResources(spec.resources),
    gateways: (spec.egressRefs ?? []).map(({ gatewayRef }) => `${namespace}/${gatewayRef}`),
  };
};
