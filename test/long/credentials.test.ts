import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type Exchange, type TestStack } from '../e2e/harness.ts';
import { probeAgent, type Manifest } from '../e2e/support/manifests.ts';
import { applyProviderGateway, startProviderServers, type ProviderServers } from '../e2e/support/provider-servers.ts';

/** CredentialInjectionPolicies on a whole stack: every form, every target, which of several, and what becomes of requests when one is missing or changes. */

let stack: TestStack;
let servers: ProviderServers;

const GEMINI = 'https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent';
const BEDROCK = 'https://bedrock-runtime.eu-central-1.amazonaws.com/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse';
const ref = (kind: string, name: string, more: object = {}) => ({ group: 'clrk.apoxy.dev', kind, name, ...more });
const object = (kind: string, name: string, spec: Manifest['spec']): Manifest => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});
const policy = (name: string, spec: Manifest['spec']): Manifest => object('CredentialInjectionPolicy', name, spec);
const gemini = (more: Manifest['spec'] = {}): Manifest =>
  policy('google', { parentRefs: [ref('AIProviderRoute', 'google')], secretRef: { name: 'google' }, ...servers.google.inject, ...more });

interface Answer {
  readonly status: number;
  readonly body: string;
}
const post = (url: string, body: object, headers: object = {}) => ({
  fetch: { url, method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) },
});
const QUESTION = { contents: [{ role: 'user', parts: [{ text: 'It rains. It rains a lot.' }] }] };

const ask = async (step: object): Promise<Answer & { readonly record: () => Promise<Exchange> }> => {
  const { results, invocation } = await stack.probe('caller', step);
  const isAnswered = ({ status }: Exchange): boolean => status !== 0;
  const record = async () => (await stack.egressLog(invocation, (all) => all.some(isAnswered), 30_000)).find(isAnswered)!;
  return { ...(results[0] as unknown as Answer), record };
};
const question = (query = '', headers: object = {}) => ask(post(GEMINI + query, QUESTION, headers));
const codeOf = ({ body }: Answer): string => (JSON.parse(body) as { error: { code: string; message: string } }).error.code;
/** A policy change is in force a moment after it was applied. */
const until = (what: string, is: (answer: Answer) => boolean) =>
  eventually(
    what,
    async () => {
      const answer = await question();
      if (!is(answer)) throw new Error(JSON.stringify(answer));
      return answer;
    },
    20_000,
  );

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}
const conditionOf = (name: string, type: string, is: Partial<Condition>): Promise<Condition> =>
  eventually(`${type} of ${name} is ${JSON.stringify(is)}`, async () => {
    const { status } = await stack.get('credentialinjectionpolicies', name);
    const ancestors = (status?.['ancestors'] ?? []) as readonly { readonly conditions: readonly Condition[] }[];
    const found = ancestors[0]!.conditions.find((condition) => condition.type === type)!;
    expect(found).toMatchObject(is);
    return found;
  });
const remove = async (kind: string, name: string): Promise<void> => {
  const { code, stderr } = await stack.clrk(['delete', kind, name]);
  expect(code, stderr).toBe(0);
};
const lastSeen = async (server: keyof Pick<ProviderServers, 'google' | 'bedrock' | 'anthropic'>) => (await servers[server].seen()).at(-1)!;

beforeAll(async () => {
  stack = await startStack();
  servers = await startProviderServers(stack);
  await applyProviderGateway(stack, 'google', servers.google, {});
  await applyProviderGateway(stack, 'bedrock', servers.bedrock, {});
  await stack.apply(probeAgent('caller', { timeout: '120s', egressRefs: [{ gatewayRef: 'google' }, { gatewayRef: 'bedrock' }] }));
  await stack.condition('taskagents', 'caller', 'Ready', 'True', 60_000);
});
afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

it('a header: ours in the place of whatever the agent brings along, which is noted by name', async () => {
  const answer = await question('?key=mine&alt=json', { 'x-goog-api-key': 'mine', authorization: 'Bearer mine', cookie: 'a=mine' });
  expect(answer.status, answer.body).toBe(200);
  const { path, headers } = await lastSeen('google');
  expect(JSON.stringify([path, headers])).not.toContain('mine');
  expect(path).toMatch(/\?alt=json$/);
  expect(headers['x-goog-api-key']).toBe(servers.google.secret['key']);
  expect((await answer.record()).credentialsReplaced.toSorted()).toEqual(['header authorization', 'header cookie', 'header x-goog-api-key', 'query key']);
  expect(await conditionOf('google', 'ResolvedRefs', {})).toMatchObject({ status: 'True' });
});

it('a query parameter: the same provider takes its key there, and the header is gone', async () => {
  await stack.apply(gemini({ target: 'QueryParam', headerName: undefined, queryParamName: 'key' }));
  await eventually('the key is in the query', async () => {
    expect((await question('?key=mine&key=mine')).status).toBe(200);
    const { path, headers } = await lastSeen('google');
    expect([path.split('?')[1], headers['x-goog-api-key']]).toEqual([`key=${servers.google.secret['key']}`, undefined]);
    return true;
  });
  await stack.apply(gemini());
  await eventually('the header is back', async () => {
    expect((await question()).status).toBe(200);
    expect((await lastSeen('google')).headers['x-goog-api-key']).toBe(servers.google.secret['key']);
    return true;
  });
});

it('AWSv4: signed anew with the session token, also what is large; the signature is checked by the provider', async () => {
  const text = 'A long text. '.repeat(240_000);
  const answer = await ask(
    post(BEDROCK, { messages: [{ role: 'user', content: [{ text }] }] }, { authorization: 'AWS4-HMAC-SHA256 mine', 'x-amz-security-token': 'mine' }),
  );
  expect(answer.status, answer.body.slice(0, 500)).toBe(200);
  const { headers } = await lastSeen('bedrock');
  expect(headers['x-amz-security-token']).toBe(servers.bedrock.secret['session_token']);
  expect(headers['authorization']).toContain('/eu-central-1/bedrock/aws4_request');
});

it('another region than the provider serves, and another service, are signed for as the policy says', async () => {
  for (const providerAuth of [
    { type: 'AWSv4', region: 'us-east-1' },
    { type: 'AWSv4', service: 's3' },
  ]) {
    await stack.apply(
      policy('bedrock', { parentRefs: [ref('AIProviderRoute', 'bedrock')], secretRef: { name: 'bedrock' }, target: 'ProviderAuth', providerAuth }),
    );
    await eventually('it is signed for what the policy names', async () => {
      const { status } = await ask(post(BEDROCK, { messages: [{ role: 'user', content: [{ text: 'It rains.' }] }] }));
      expect(status).toBe(403);
      const scope = `/${providerAuth.region ?? 'eu-central-1'}/${providerAuth.service ?? 'bedrock'}/aws4_request`;
      expect((await lastSeen('bedrock')).headers['authorization']).toContain(scope);
      return true;
    });
  }
});

it('a changed Secret is in force with the next request', async () => {
  await stack.secret('google', { key: 'AIza-another' });
  expect((await until('the other key', ({ status }) => status === 400)).body).toContain('API key not valid');
  await stack.secret('google', servers.google.secret);
  await until('the key', ({ status }) => status === 200);
});

it('a Secret or key that is missing refuses, and status, answer and explain say why', async () => {
  await stack.apply(gemini({ secretKey: 'other' }));
  const noKey = await until('no key', ({ status }) => status === 503);
  expect(codeOf(noKey)).toBe('SecretKeyNotFound');
  expect((await conditionOf('google', 'ResolvedRefs', { status: 'False', reason: 'SecretKeyNotFound' })).message).toContain('no key other');
  const explained = await stack.clrk(['explain', 'caller', 'POST', GEMINI]);
  expect([explained.code, explained.stdout]).toEqual([1, expect.stringContaining('SecretKeyNotFound')]);
  await stack.apply(gemini({ secretRef: { name: 'nowhere' } }));
  expect(codeOf(await until('no Secret', (answer) => answer.status === 503 && codeOf(answer) === 'SecretNotFound'))).toBe('SecretNotFound');
  await conditionOf('google', 'ResolvedRefs', { status: 'False', reason: 'SecretNotFound' });
  await stack.apply(gemini());
  await until('all of it', ({ status }) => status === 200);
});

it('of two policies the older one wins, the other is Conflicted and no spare; it takes over when the first is gone', async () => {
  await stack.secret('second', { key: 'AIza-second' });
  await stack.apply(policy('second', { targetRefs: [ref('AIProviderRoute', 'google')], secretRef: { name: 'second' }, ...servers.google.inject }));
  const { message } = await conditionOf('second', 'Conflicted', { status: 'True', reason: 'Conflicted' });
  expect(message).toContain('CredentialInjectionPolicy google already applies');
  await conditionOf('second', 'Accepted', { status: 'False', reason: 'Conflicted' });
  await conditionOf('google', 'Conflicted', { status: 'False' });
  expect((await question()).status).toBe(200);
  await stack.apply(gemini({ secretRef: { name: 'nowhere' } }));
  await until('no other credential in its place', ({ status }) => status === 503);
  await remove('credentialinjectionpolicy', 'google');
  await until('the second one', ({ status, body }) => status === 400 && body.includes('API key not valid'));
  expect((await lastSeen('google')).headers['x-goog-api-key']).toBe('AIza-second');
  await conditionOf('second', 'Accepted', { status: 'True' });
  await remove('credentialinjectionpolicy', 'second');
  await stack.apply(gemini());
  await until('the first again', ({ status }) => status === 200);
});

it('a section is no target yet, a port none at all, and a target that is not there is told', async () => {
  const inject = { secretRef: { name: 'google' }, ...servers.google.inject };
  await stack.apply(policy('section', { parentRefs: [ref('AIProviderRoute', 'google', { sectionName: 'backend' })], ...inject }));
  expect((await conditionOf('section', 'Accepted', { status: 'False', reason: 'NotBuilt' })).message).toContain('backend');
  await stack.apply(policy('lost', { parentRefs: [ref('AIProviderRoute', 'nowhere')], ...inject }));
  await conditionOf('lost', 'Accepted', { status: 'False', reason: 'TargetNotFound' });
  await stack.apply(policy('port', { parentRefs: [ref('AIProviderRoute', 'google', { port: 443 })], ...inject }));
  expect((await conditionOf('port', 'Accepted', { status: 'False', reason: 'UnsupportedValue' })).message).toContain('spec.parentRefs[0].port is 443');
  expect((await question()).status).toBe(200);
  for (const name of ['section', 'lost', 'port']) await remove('credentialinjectionpolicy', name);
});

it('of a gateway: for its routes without a policy of their own, and for names that an EgressL4Route names', async () => {
  const { hosts, ip, secret } = servers.anthropic;
  const gateway = await stack.get('egressgateways', 'google');
  const upstreamTLS = gateway.spec['upstreamTLS'] as { readonly hostAliases: readonly object[] };
  await stack.secret('wide', secret);
  await stack.apply(
    object('EgressGateway', 'google', {
      ...gateway.spec,
      upstreamTLS: { ...upstreamTLS, hostAliases: [...upstreamTLS.hostAliases, { ip, hostnames: hosts }] },
    }),
    object('EgressL4Route', 'anthropic', { parentRefs: [ref('EgressGateway', 'google')], rules: [{ matches: [{ destinationHostnames: hosts }] }] }),
    policy('wide', { parentRefs: [ref('EgressGateway', 'google')], secretRef: { name: 'wide' }, ...servers.anthropic.inject }),
  );
  await conditionOf('wide', 'Accepted', { status: 'True' });
  const models = { fetch: { url: `https://${hosts[0]!}/v1/models`, headers: { 'x-api-key': 'mine', 'anthropic-version': '2023-06-01' } } };
  const answer = await eventually('requests of the route carry it', async () => {
    const found = await ask(models);
    expect(found.status, found.body).toBe(200);
    return found;
  });
  expect((await lastSeen('anthropic')).headers['x-api-key']).toBe(secret['key']);
  expect((await answer.record()).credentialsReplaced).toEqual(['header x-api-key']);
  // That of the route itself goes first.
  expect((await question()).status).toBe(200);
  expect((await lastSeen('google')).headers['x-api-key']).toBeUndefined();
  await remove('credentialinjectionpolicy', 'google');
  await eventually('the route gets what the gateway has', async () => {
    await question();
    expect((await lastSeen('google')).headers['x-api-key']).toBe(secret['key']);
    return true;
  });
});
