import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { probeAgent } from './support/manifests.ts';

/** Changes of objects on a running stack, as people make them: what is in force afterwards, and what went on meanwhile. */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const colour = async (): Promise<string> => {
  const { results } = await stack.probe('rolling', { env: true });
  return (results[0] as Record<string, string>)['COLOUR']!;
};
const coloured = (value: string, template: object = {}) => probeAgent('rolling', {}, { env: [{ name: 'COLOUR', value }], ...template });
const completion = (key = 'x') => ({
  fetch: {
    url: 'https://api.openai.com/v1/chat/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: 'gpt-4.1-mini', max_completion_tokens: 10, messages: [{ role: 'user', content: 'Hello.' }] }),
  },
});

it('a changed template is a new revision; one that cannot run leaves the old one serving', async () => {
  await stack.apply(coloured('red'));
  await stack.condition('taskagents', 'rolling', 'Ready', 'True');
  expect(await colour()).toBe('red');

  await stack.apply(coloured('green', { image: 'no/such-image:1' }));
  await stack.condition('agentsandboxrevisions', 'rolling-00002', 'Ready', 'False');
  expect(await colour()).toBe('red');
  expect((await stack.get('taskagents', 'rolling')).status).toMatchObject({
    latestCreatedRevisionName: 'rolling-00002',
    latestReadyRevisionName: 'rolling-00001',
  });

  await stack.apply(coloured('blue'));
  await eventually('the newest revision serves', async () => ((await colour()) === 'blue' ? true : undefined));
  expect((await stack.get('taskagents', 'rolling')).status).toMatchObject({ latestReadyRevisionName: 'rolling-00003' });
});

it('a rotated Secret is used and a removed one refuses, without any other change', async () => {
  const statusOf = async (): Promise<number> => ((await stack.probe('probe', completion())).results[0] as { status: number }).status;
  expect(await statusOf()).toBe(200);
  await stack.secret('openai', { authorization: 'Bearer sk-rotated' });
  await eventually('the provider sees the new key, and refuses it', async () => ((await statusOf()) === 401 ? true : undefined));
  expect((await stack.seen()).at(-1)!.headers['authorization']).toBe('Bearer sk-rotated');

  expect((await stack.kubectl(['delete', 'secret', 'openai'])).code).toBe(0);
  const before = (await stack.seen()).length;
  await eventually('the request is refused', async () => ((await statusOf()) === 503 ? true : undefined));
  const refused = (await stack.probe('probe', completion())).results[0] as { status: number; body: string };
  expect(JSON.parse(refused.body)).toMatchObject({ error: { code: 'SecretNotFound', gateway: 'default/default' } });
  expect((await stack.seen()).slice(before).filter(({ headers }) => headers['authorization'] === undefined)).toEqual([]);
  await stack.secret('openai', { authorization: `Bearer ${stack.key}` });
  await eventually('it works again', async () => ((await statusOf()) === 200 ? true : undefined));
});

it('a deleted route closes the way out, and deleting an agent takes its revisions along', async () => {
  expect((await stack.kubectl(['delete', 'aiproviderroute', 'openai'])).code).toBe(0);
  await eventually('denied', async () => {
    const { results } = await stack.probe('probe', completion());
    const { status, body } = results[0] as { status: number; body: string };
    return status === 403 && body.includes('NoRoute') ? true : undefined;
  });
  expect((await stack.kubectl(['delete', 'taskagent', 'rolling'])).code).toBe(0);
  await eventually('its revisions are gone', async () =>
    (await stack.kubectl(['get', 'agentsandboxrevisions', '-o', 'name'])).stdout.includes('rolling-') ? undefined : true,
  );
  expect((await stack.invoke('rolling', '')).status).toBe(404);
});

it('two stacks on one machine do not meet', async () => {
  await using other = await startStack();
  expect(other.run).not.toBe(stack.run);
  const { results } = await other.probe('probe', completion());
  expect(results[0]).toMatchObject({ status: 200 });
  expect((await stack.seen()).some(({ headers }) => headers['authorization'] === `Bearer ${other.key}`)).toBe(false);
  expect((await stack.invoke('probe', { steps: [] })).status).toBe(200);
});
