import { errorBody, limitsOf, operationsOf, totalsOf, USAGE, type Dialect } from './openai-api/index.ts';
import type { Provider, RequestTarget } from './provider.ts';

/** Calls to a deployment, which is the model whatever the body says: `/openai/deployments/<deployment>/chat/completions`. */
const DEPLOYMENT = /^\/openai\/deployments\/([A-Za-z0-9._-]{1,256})\/([a-z/]+)$/;
/** The API without versions, and calls of the older one that are not to a deployment: the body names it. */
const VERSIONLESS = /^\/openai\/v1\/(.+)$/;
const RESOURCE = /^\/openai\/(responses|models)$/;

/** Versions of the API from this one on know `max_completion_tokens` and `stream_options`. */
const SINCE = '2024-09-01';

/** Which of several versions counts is the server's choice, and with it which fields it reads. */
const hasOneVersion = ({ query }: RequestTarget): boolean => [...new URLSearchParams(query).keys()].filter((name) => /^api-version$/i.test(name)).length <= 1;

/** `2024-10-21`, `2024-09-01-preview`: dates in a form that sorts. Without one it is the API without versions, which is newer. */
const isNew = ({ query }: RequestTarget): boolean => {
  const version = [...new URLSearchParams(query)].find(([name]) => /^api-version$/i.test(name))?.[1] ?? null;
  return version === null || !/^\d{4}-\d{2}-\d{2}/.test(version) || version.slice(0, SINCE.length) >= SINCE;
};

const COMMON: Dialect = {
  chatLimitField: (target) => (isNew(target) ? 'max_completion_tokens' : 'max_tokens'),
  reportsStreamUsage: isNew,
  completionTokens: 16,
};
const ofDeployment = operationsOf({ ...COMMON, modelInPath: ({ path }) => DEPLOYMENT.exec(path)?.[1] });
const ofBody = operationsOf(COMMON);

/** Source: https://learn.microsoft.com/azure/ai-foundry/openai/reference */
export const azureOpenai: Provider = {
  name: 'azure-openai',
  genAiName: 'azure.ai.openai',
  hosts: ['*.openai.azure.com', '*.cognitiveservices.azure.com', '*.services.ai.azure.com'],
  operation(target) {
    const { method, path } = target;
    if (!hasOneVersion(target)) return undefined;
    const deployment = DEPLOYMENT.exec(path);
    // A deployment has no list of models.
    if (deployment) return method === 'POST' ? ofDeployment(method, deployment[2]!) : undefined;
    const [, call] = VERSIONLESS.exec(path) ?? RESOURCE.exec(path) ?? [];
    return call === undefined ? undefined : ofBody(method, call);
  },
  // The name of a deployment says nothing for certain about the model behind it: it may reason, and its window may be any.
  limits: (deployment) => ({ ...limitsOf(deployment), known: false, hiddenReasoning: true }),
  usage: USAGE,
  totals: totalsOf,
  credentialHeaders: ['api-key', 'authorization', 'ocp-apim-subscription-key', 'x-api-key', 'cookie'],
  credentialQuery: ['api-key', 'subscription-key'],
  errorBody,
};
