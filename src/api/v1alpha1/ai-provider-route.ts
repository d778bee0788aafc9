import { AGE, clrkKind, type FieldError, type Kind, type Resource } from '../kind.ts';
import { BUILT_PROVIDERS, PROVIDERS, providerName } from '../providers.ts';
import { array, builtWhen, int64, notBuilt, object, oneOf, string, type Infer } from '../schema.ts';
import { parentRef, routeParents } from '../shared.ts';

const glob = string('', { minLength: 1, maxLength: 1024 });

const match = object(
  'What a request must be; all that is given must hold.',
  {
    provider: builtWhen(string(`Provider, without case: ${PROVIDERS.join(', ')}.`, { minLength: 1, maxLength: 63 }), (value) => {
      const name = providerName(value);
      return name !== undefined && BUILT_PROVIDERS.includes(name);
    }),
  },
  {
    models: array('Globs of model names; absent = any.', glob, { maxItems: 256 }),
    endpoints: array('Globs of API paths; absent or empty = any path of the provider.', glob, { maxItems: 256 }),
  },
);

const filter = object(
  'What is done with a request that matched.',
  { type: builtWhen(oneOf('Which of the fields below applies.', ['TokenBudget', 'ExtensionRef']), (value) => value === 'TokenBudget') },
  {
    tokenBudget: object(
      'A cap on tokens.',
      {},
      {
        maxTokensPerDay: int64('Input and output tokens of this rule and gateway in one UTC day.', { minimum: 0 }),
        maxTokensPerExecution: notBuilt('Cap for one run; not built yet.'),
        maxOutputTokensPerRequest: notBuilt('Cap for one request; not built yet.'),
        budgetRef: notBuilt('A shared budget; not built yet.'),
      },
    ),
    extensionRef: object(
      'A policy of this namespace that applies.',
      {
        group: string('Always clrk.apoxy.dev.', { maxLength: 253 }),
        kind: string('Kind of the policy.', { minLength: 1, maxLength: 63 }),
        name: string('Name of the policy.', { minLength: 1, maxLength: 253 }),
      },
      {},
      { rules: [{ rule: "self.group == 'clrk.apoxy.dev'", message: 'group must be clrk.apoxy.dev', fieldPath: '.group' }] },
    ),
  },
  {
    rules: [
      {
        rule: "self.type != 'TokenBudget' || has(self.tokenBudget)",
        message: 'must be set when type is TokenBudget',
        fieldPath: '.tokenBudget',
        reason: 'FieldValueRequired',
      },
      {
        rule: "self.type != 'ExtensionRef' || has(self.extensionRef)",
        message: 'must be set when type is ExtensionRef',
        fieldPath: '.extensionRef',
        reason: 'FieldValueRequired',
      },
    ],
  },
);

const spec = object('Which provider traffic is let through, and under which limits.', {
  parentRefs: array(
    'EgressGateways (or listeners of them) this route is for.',
    builtWhen(parentRef, ({ kind }) => kind === undefined || kind === 'EgressGateway'),
    { minItems: 1, maxItems: 32 },
  ),
  rules: array(
    'The first rule that matches decides.',
    object(
      'One rule.',
      {},
      {
        matches: array('Alternatives.', match, { maxItems: 64 }),
        filters: array('What is done with matching requests.', filter, { maxItems: 16 }),
        backendRefs: notBuilt('Other upstreams; not built yet.'),
      },
    ),
    { minItems: 1, maxItems: 64 },
  ),
});

const status = object('How the route fares.', {}, { parents: routeParents });

export type AIProviderRoute = Resource<Infer<typeof spec>, Infer<typeof status>>;

const unknownProviders = ({ spec: { rules } }: AIProviderRoute): FieldError[] =>
  rules.flatMap((rule, r) =>
    (rule.matches ?? []).flatMap(({ provider }, m): FieldError[] =>
      providerName(provider)
        ? []
        : [
            {
              field: `spec.rules[${r}].matches[${m}].provider`,
              reason: 'FieldValueNotSupported',
              message: `Unsupported value: ${JSON.stringify(provider)}: supported values: ${PROVIDERS.map((name) => JSON.stringify(name)).join(', ')}`,
            },
          ],
    ),
  );

export const aiProviderRoutes: Kind<AIProviderRoute> = clrkKind({
  kind: 'AIProviderRoute',
  plural: 'aiproviderroutes',
  short: 'aipr',
  description: 'Lets requests to LLM providers through, by model and endpoint, under token budgets.',
  spec,
  status,
  columns: [AGE],
  admission: unknownProviders,
});
