import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { applyProviderGateway, openaiServer, type ProviderServer } from './support/provider-servers.ts';
import { createSdkAgent, expectSame, type SdkAgent } from './support/sdk-agent.ts';
import { chat, STREAMED } from './support/sdk-steps.ts';

/** A real SDK in a real sandbox, with a placeholder for a key: it does what it does without us. All the others: test/long/sdks.test.ts. */

let stack: TestStack;
let openai: ProviderServer;
let agent: SdkAgent;
beforeAll(async () => {
  stack = await startStack();
  openai = openaiServer(stack);
  agent = await createSdkAgent(stack, 'openai-node', openai);
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

it('openai (Node): answers, streams, errors and retries are those it has without us', async () => {
  const steps = [
    chat('gpt-4.1-mini'),
    chat('gpt-4.1-mini', STREAMED),
    chat('gpt-4.1-limited'),
    chat('gpt-4.1-recovering'),
    chat('gpt-4.1-cut', STREAMED),
    chat('gpt-4.1-unknown'),
    chat('gpt-4.1-mini', { temperature: 3 }),
    { ...chat('gpt-4.1-mini'), options: { headers: { traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01`, tracestate: 'vendor=1' } } },
  ];
  const direct = await agent.directly(steps);
  const sandboxed = await agent.inSandbox(steps, 'default');
  expectSame(sandboxed, direct);

  // Every one of them, retries too, is a span of its own in the run's trace, whatever trace the agent names, and the one that its record names.
  const { seen, invocation } = sandboxed;
  const { traceId } = (await stack.invocation(invocation)).status;
  await stack.egressLog(invocation, (all) => all.length === seen.length);
  const path = `/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges?protocol=https&invocation=${invocation}`;
  const { items } = await stack.api<{ items: { spanId: string }[] }>('GET', path);
  const sent = seen.map(({ headers }) => headers['traceparent']);
  expect(new Set(sent)).toEqual(new Set(items.map(({ spanId }) => `00-${traceId}-${spanId}-01`)));
  expect(new Set(sent).size).toBe(sent.length);
  expect(seen.filter(({ headers }) => 'tracestate' in headers)).toEqual([]);
});

it('openai (Node): a refusal of ours is the error of its status, and reaches no provider', async () => {
  await Promise.all([
    applyProviderGateway(stack, 'spent', openai, { models: ['gpt-4.1*'], maxTokensPerDay: 20 }),
    applyProviderGateway(stack, 'keyless', openai, { models: ['gpt-4.1*'], missingSecret: 'nobody-made-it' }),
  ]);
  const refused = async (model: string, gateway: string) => {
    const { outcomes, seen } = await agent.inSandbox([chat(model)], gateway);
    expect(seen).toEqual([]);
    return outcomes[0]!.thrown;
  };
  const [model, budget, secret] = await Promise.all([refused('gpt-5', 'default'), refused('gpt-4.1-mini', 'spent'), refused('gpt-4.1-mini', 'keyless')]);
  expect(model).toMatchObject({ class: 'PermissionDeniedError', status: 403, code: 'ModelNotAllowed' });
  expect(budget).toMatchObject({ class: 'RateLimitError', status: 429, code: 'BudgetExhausted' });
  expect(secret).toMatchObject({ class: 'InternalServerError', status: 503, code: 'SecretNotFound' });
});
