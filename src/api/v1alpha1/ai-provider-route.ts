import { AGE, clrkKind, type Kind, type Resource } from '../kind.ts';
import { PROVIDERS } from '../providers.ts';
import { array, builtWhen, int64, object, oneOf, set, string, type Infer } from '../schema.ts';
import { attachmentColumns, backendRefs, extensionRef, filterRules, HOSTNAME, routeParentRefs, routeParents } from '../shared.ts';

const glob = string('', { minLength: 1, maxLength: 1024 });

const match = object(
  'What a request must be; all that is given must hold.',
  {
    provider: string(`Provider, without case: ${PROVIDERS.join(', ')}.`, {
      minLength: 1,
      maxLength: 63,
      rules: [{ rule: `self.lowerAscii() in [${PROVIDERS.map((name) => `'${name}'`).join(', ')}]`, message: `must be one of ${PROVIDERS.join(', ')}` }],
    }),
  },
  {
    models: array('Globs of model names; absent = any.', glob, { maxItems: 256 }),
    endpoints: array(
      'Globs of API paths (`/v1/*`), or of hosts with paths (`llm.example.com/v1/*`); absent or empty = whatever the provider has. Provider custom is what its endpoints name, and each must have a host; in one, `*` is part of a label.',
      glob,
      { maxItems: 256 },
    ),
  },
);

/** An amount of money as text, so that it is exact. */
const dollars = (description: string) =>
  string(`${description} US dollars, as decimal text: "2.50".`, { maxLength: 20, pattern: '^[0-9]{1,9}(\\.[0-9]{1,6})?$' });

const filter = object(
  'What is done with a request that matched.',
  { type: builtWhen(oneOf('Which of the fields below applies.', ['TokenBudget', 'ExtensionRef']), (value) => value === 'TokenBudget', 'TokenBudget only') },
  {
    tokenBudget: object(
      'Caps on tokens and money. Before a request leaves, the most it can use is held in every counter; what it did use replaces that. A request of which not even one token of output fits is answered 429. 0 lets nothing through.',
      {},
      {
        maxTokensPerDay: int64('Input and output tokens in one UTC day, of all requests of this route at one gateway that a rule with this cap lets through.', {
          minimum: 0,
        }),
        maxTokensPerExecution: int64('Input and output tokens of one run; counted like maxTokensPerDay, for each run by itself.', { minimum: 0 }),
        maxOutputTokensPerRequest: int64(
          'Output tokens of one request, over all its answers. Written into a request that asks for more or says nothing; one that cannot be held to it is answered 403.',
          { minimum: 1 },
        ),
        maxCostPerDay: dollars(
          'What is spent in one UTC day, counted like maxTokensPerDay. A model whose price is not known is answered 403; prices of your own are in ConfigMap clrk-model-prices.',
        ),
        maxCostPerExecution: dollars('What one run spends; counted like maxCostPerDay, for each run by itself.'),
        budgetRef: string(
          'Counts in the counters of this name instead: every rule of every route in the namespace that gives the name counts there, at all gateways. Each rule holds its own caps against them.',
          { minLength: 1, maxLength: 253 },
        ),
      },
    ),
    extensionRef: extensionRef(),
  },
  { rules: filterRules({ TokenBudget: 'tokenBudget', ExtensionRef: 'extensionRef' }) },
);

const spec = object('Which provider traffic is let through, and under which limits.', {
  parentRefs: routeParentRefs,
  rules: array(
    'The first rule that matches decides.',
    object(
      'One rule.',
      {},
      {
        matches: array('Alternatives.', match, { maxItems: 64 }),
        providerFetches: set(
          'Hosts the provider may fetch from for the agent, beside those that the agent gets to itself: names, `*.` for exactly one label, or `*` for any, which is also what tools need that the provider runs (searches, code, connectors). What else it would fetch is answered 403.',
          string('A name in lower case, or `*`.', { minLength: 1, maxLength: 253, pattern: `${HOSTNAME}|^\\*$` }),
          { maxItems: 256 },
        ),
        filters: array('What is done with matching requests.', filter, { maxItems: 16 }),
        backendRefs,
      },
    ),
    { minItems: 1, maxItems: 64 },
  ),
});

const status = object('How the route fares.', {}, { parents: routeParents });

export type AIProviderRoute = Resource<Infer<typeof spec>, Infer<typeof status>>;

export const aiProviderRoutes: Kind<AIProviderRoute> = clrkKind({
  kind: 'AIProviderRoute',
  plural: 'aiproviderroutes',
  short: 'aipr',
  description: 'Lets requests to LLM providers through, by model and endpoint, under token budgets.',
  spec,
  status,
  columns: [...attachmentColumns('parents'), AGE],
});
