import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { PROVIDER_HOST } from '../fixtures/openai/server.ts';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { fixtureGateway, openaiRoute, quickstart, type Manifest } from './support/manifests.ts';
import { comparable, createSdkAgent, type SdkAgent } from './support/sdk-agent.ts';

/** Real SDKs in real sandboxes, with a placeholder for a key: they do what they do without us. More of them: test/long/sdks.test.ts. */

let stack: TestStack;
let agent: SdkAgent;
beforeAll(async () => {
  stack = await startStack();
  agent = await createSdkAgent(stack, 'openai-node', [PROVIDER_HOST]);
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const ask = (model: string, more: object = {}) => ({
  resource: 'chat.completions',
  request: {
    model,
    max_completion_tokens: 50,
    messages: [
      { role: 'system', content: 'Summarise the document you are given in two sentences.' },
      { role: 'user', content: 'The keeper lights the lamp at dusk. Ships see it from far away. In fog it is seen from two miles only.' },
    ],
    ...more,
  },
});
const STREAMED = { stream: true, stream_options: { include_usage: true } };

it('openai (Node): answers, streams, errors and retries are those it has without us', async () => {
  const steps = [
    ask('gpt-4.1-mini'),
    ask('gpt-4.1-mini', STREAMED),
    ask('gpt-4.1-limited'),
    ask('gpt-4.1-limited', STREAMED),
    ask('gpt-4.1-broken'),
    ask('gpt-4.1-cut', STREAMED),
    ask('gpt-4.1-unknown'),
    ask('gpt-4.1-mini', { temperature: 3 }),
  ];
  const before = (await stack.seen()).length;
  const directly = await agent.directly(steps, { API_KEY: stack.key });
  const between = (await stack.seen()).length;
  const { outcomes, invocation } = await agent.inSandbox(steps);
  const seen = await stack.seen();
  expect(comparable(outcomes)).toEqual(comparable(directly));
  const asked = (of: typeof seen) =>
    of.map(({ method, path, headers }) => [method, path, headers['x-stainless-retry-count'], headers['user-agent'], headers['authorization']]);
  const asSeen = seen.slice(between);
  expect(asked(asSeen)).toEqual(asked(seen.slice(before, between)));

  // Every one of them, retries too, is a span of its own in the run's trace, and the one that its record names.
  const { traceId } = (await stack.invocation(invocation)).status;
  await stack.egressLog(invocation, (all) => all.length === asSeen.length);
  const path = `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges?protocol=https&invocation=${invocation}`;
  const { items } = await stack.api<{ items: { spanId: string }[] }>('GET', path);
  const sent = asSeen.map(({ headers }) => headers['traceparent']);
  expect(new Set(sent)).toEqual(new Set(items.map(({ spanId }) => `00-${traceId}-${spanId}-01`)));
  expect(new Set(sent).size).toBe(sent.length);
});

/** A gateway like `default` with a route of its own; its credential is in Secret `secret`. */
const gateway = async (name: string, maxTokensPerDay: number, secret: string): Promise<void> => {
  const manifests = await quickstart();
  const named = (kind: string): Manifest => ({
    ...structuredClone(manifests.find((manifest) => manifest.kind === kind)!),
    metadata: { name, namespace: 'default' },
  });
  const policy = named('CredentialInjectionPolicy');
  (policy.spec['parentRefs'] as { name: string }[])[0]!.name = name;
  policy.spec['secretRef'] = { name: secret };
  await stack.apply(fixtureGateway(named('EgressGateway'), stack.lab.fixtureIp), openaiRoute(name, name, ['gpt-4.1*'], maxTokensPerDay), policy);
};

it('openai (Node): a refusal of ours is the error of its status, and reaches no provider', async () => {
  await gateway('spent', 20, 'openai');
  await gateway('keyless', 1e6, 'nobody-made-it');
  await stack.programmed('spent');
  const before = (await stack.seen()).length;
  const refused = async (model: string, gateway?: string) => {
    const { outcomes } = await agent.inSandbox([ask(model)], gateway);
    return outcomes[0]!.thrown;
  };
  expect(await refused('gpt-5')).toMatchObject({ class: 'PermissionDeniedError', status: 403, code: 'ModelNotAllowed' });
  expect(await refused('gpt-4.1-mini', 'spent')).toMatchObject({ class: 'RateLimitError', status: 429, code: 'BudgetExhausted' });
  expect(await refused('gpt-4.1-mini', 'keyless')).toMatchObject({ class: 'InternalServerError', status: 503, code: 'SecretNotFound' });
  expect(await stack.seen()).toHaveLength(before);
});
