import { errorBody, limitsOf, operationsOf, totalsOf, USAGE } from './openai-api/index.ts';
import type { Provider } from './provider.ts';

const call = operationsOf({
  chatLimitField: () => 'max_completion_tokens',
  reportsStreamUsage: () => true,
  completionTokens: 16,
  // Source: https://platform.openai.com/docs/guides/tools-web-search. What follows in the name of a fine-tuned model is somebody's own.
  searches: (model) => !model.startsWith('ft:') && /-search(?:-|$)/.test(model),
});

/** Source: https://platform.openai.com/docs/api-reference */
export const openai: Provider = {
  name: 'openai',
  genAiName: 'openai',
  hosts: ['api.openai.com'],
  operation: ({ method, path }) => (path.startsWith('/v1/') ? call(method, path.slice('/v1/'.length)) : undefined),
  limits: limitsOf,
  usage: USAGE,
  totals: totalsOf,
  credentialHeaders: ['authorization', 'api-key', 'x-api-key', 'openai-organization', 'openai-project', 'cookie'],
  credentialQuery: [],
  errorBody,
};
