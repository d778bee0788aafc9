import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { AZURE_HOSTS, CUSTOM_HOSTS, startApiServers, type ApiServers } from './support/api-servers.ts';
import { probeAgent, type Manifest } from './support/manifests.ts';

/** OpenAI's whole API, Azure's and a server of one's own: what rules let through goes through and is counted, everything else stays here. */

let stack: TestStack;
let servers: ApiServers;

const GATEWAY = 'apis';
const CAP = 1_000_000;
const ref = (kind: string, name: string) => [{ group: 'clrk.apoxy.dev', kind, name }];
const object = (kind: string, name: string, spec: Manifest['spec']): Manifest => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});
const day = (maxTokensPerDay: number) => [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay } }];
const route = (name: string, rules: object[]): Manifest => object('AIProviderRoute', name, { parentRefs: ref('EgressGateway', GATEWAY), rules });
const credential = (name: string, headerName: string): Manifest =>
  object('CredentialInjectionPolicy', name, {
    parentRefs: ref('AIProviderRoute', name),
    secretRef: { name },
    secretKey: 'value',
    target: 'Header',
    headerName,
  });

beforeAll(async () => {
  stack = await startStack();
  servers = await startApiServers(stack);
  await stack.secret('apis-ca', { 'ca.crt': await readFile(servers.caFile, 'utf8') });
  await stack.secret('all-openai', { value: `Bearer ${servers.keys.openai}` });
  await stack.secret('azure', { value: servers.keys.azure });
  await stack.secret('own', { value: `Bearer ${servers.keys.custom}` });
  await stack.apply(
    object('EgressGateway', GATEWAY, {
      defaultPolicy: 'deny-all',
      listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } }],
      upstreamTLS: {
        hostAliases: [{ ip: servers.ip, hostnames: ['api.openai.com', ...AZURE_HOSTS, ...CUSTOM_HOSTS] }],
        additionalTrustBundleSecretRef: { name: 'apis-ca' },
      },
    }),
    // A provider in another case, and models alone: every call of the API that is counted.
    route('all-openai', [
      {
        matches: [{ provider: 'OpenAI', models: ['gpt-4.1*', 'gpt-4o-*', 'gpt-3.5-turbo-instruct', 'text-embedding-3-small', 'gpt-image-1', 'whisper-1'] }],
        providerFetches: ['images.example.com'],
        filters: day(CAP),
      },
      { matches: [{ provider: 'openai', endpoints: ['/v1/models'] }] },
    ]),
    route('azure', [{ matches: [{ provider: 'azure-openai', models: ['prod-*'] }], filters: day(CAP) }]),
    route('own', [
      { matches: [{ provider: 'custom', endpoints: ['*.llm.example/llm/v1/*', '*.llm.example/llm/v1/*/*'] }], filters: day(CAP) },
      // Also what the first rule has, which decides alone.
      { matches: [{ provider: 'custom', endpoints: ['*.llm.example/llm/*', '*.llm.example/llm/v1/*'] }] },
    ]),
    credential('all-openai', 'authorization'),
    credential('azure', 'api-key'),
    credential('own', 'authorization'),
    probeAgent('caller', { egressRefs: [{ gatewayRef: GATEWAY }] }),
  );
  await stack.programmed(GATEWAY);
  await stack.condition('taskagents', 'caller', 'Ready', 'True', 60_000);
});
afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly error?: string;
}

const OPENAI = 'https://api.openai.com/v1';
const USER = [{ role: 'user', content: 'The keeper lights the lamp at dusk.' }];
const BOUNDARY = 'of-the-test';
const post = (url: string, body: object) => ({
  fetch: { url, method: 'POST', headers: { 'content-type': 'application/json', authorization: 'Bearer placeholder' }, body: JSON.stringify(body) },
});
const get = (url: string) => ({ fetch: { url } });
const form = (url: string, fields: Readonly<Record<string, string>>, file: string) => ({
  fetch: {
    url,
    method: 'POST',
    headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
    body: [
      ...Object.entries(fields).map(([name, value]) => `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`),
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${file}"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\nnoise\r\n`,
      `--${BOUNDARY}--\r\n`,
    ].join(''),
  },
});

/** Makes the calls one after the other in a sandbox; with their records, in the same order. */
const call = async (...steps: object[]) => {
  const { results, invocation } = await stack.probe('caller', ...steps);
  const answers = results as unknown as readonly Answer[];
  const log = await stack.egressLog(invocation, (all) => all.filter(({ protocol }) => protocol === 'https').length === answers.length);
  const records = log.filter(({ protocol }) => protocol === 'https').toSorted((a, b) => (a.time < b.time ? -1 : 1));
  return { answers, records };
};
const statuses = (answers: readonly Answer[]) => answers.map(({ status, error }) => error ?? status);
const codeOf = ({ body }: Answer): string => (JSON.parse(body) as { error: { code: string } }).error.code;

/** What is left of the budget of a route, as a request that cannot fit is told. */
const left = async (step: object): Promise<number> => {
  const { answers } = await call(step);
  expect(answers[0]).toMatchObject({ status: 429 });
  return Number(answers[0]!.headers['x-clrk-budget-remaining']);
};

it('openai: every call that is counted goes through, with its tokens in the record, and they are what the budget lost', async () => {
  const model = 'gpt-4.1-mini';
  const steps = [
    post(`${OPENAI}/chat/completions`, { model, messages: USER }),
    post(`${OPENAI}/chat/completions`, { model, messages: USER, stream: true }),
    post(`${OPENAI}/responses`, { model, input: USER[0]!.content }),
    post(`${OPENAI}/responses`, { model, input: USER, stream: true }),
    post(`${OPENAI}/completions`, { model: 'gpt-3.5-turbo-instruct', prompt: ['a', 'b'], n: 2 }),
    post(`${OPENAI}/completions`, { model: 'gpt-3.5-turbo-instruct', prompt: 'a', stream: true }),
    post(`${OPENAI}/embeddings`, { model: 'text-embedding-3-small', input: ['one', 'two words'] }),
    post(`${OPENAI}/images/generations`, { model: 'gpt-image-1', prompt: 'a lamp', n: 3 }),
    form(`${OPENAI}/images/edits`, { model: 'gpt-image-1', prompt: 'a lamp', stream: 'true' }, 'image[]'),
    post(`${OPENAI}/audio/speech`, { model: 'gpt-4o-mini-tts', input: 'Hello.', voice: 'alloy', stream_format: 'sse' }),
    form(`${OPENAI}/audio/transcriptions`, { model: 'gpt-4o-mini-transcribe' }, 'file'),
    get(`${OPENAI}/models`),
    get(`${OPENAI}/models/gpt-4.1-mini`),
  ];
  const { answers, records } = await call(...steps);
  expect(statuses(answers), answers.find(({ status }) => status !== 200)?.body).toEqual(steps.map(() => 200));
  const image = records.findIndex(({ path }) => path === '/v1/images/generations');
  expect((JSON.parse(answers[image]!.body) as { data: unknown[] }).data).toHaveLength(3);
  expect(JSON.parse(answers[10]!.body)).toMatchObject({ text: 'a.bin: 5 bytes' });
  expect(
    records.map(({ provider, operation, model: of, inputTokens, outputTokens }) => [provider, operation, of, (inputTokens ?? 0) > 0, (outputTokens ?? 0) > 0]),
  ).toEqual([
    ['openai', 'chat', model, true, true],
    ['openai', 'chat', model, true, true],
    ['openai', 'chat', model, true, true],
    ['openai', 'chat', model, true, true],
    ['openai', 'text_completion', 'gpt-3.5-turbo-instruct', true, true],
    ['openai', 'text_completion', 'gpt-3.5-turbo-instruct', true, true],
    ['openai', 'embeddings', 'text-embedding-3-small', true, false],
    ['openai', 'image_generation', 'gpt-image-1', true, true],
    ['openai', 'image_edit', 'gpt-image-1', true, true],
    ['openai', 'speech', 'gpt-4o-mini-tts', true, true],
    ['openai', 'transcription', 'gpt-4o-mini-transcribe', true, true],
    ['openai', 'list_models', '', false, false],
    ['openai', 'get_model', 'gpt-4.1-mini', false, false],
  ]);
  const used = records.reduce((sum, { inputTokens, outputTokens }) => sum + (inputTokens ?? 0) + (outputTokens ?? 0), 0);
  const tooLarge = post(`${OPENAI}/embeddings`, { model: 'text-embedding-3-small', input: 'x'.repeat(CAP) });
  expect(await left(tooLarge)).toBe(CAP - used);

  // What is not counted in tokens costs its bound: all that the model can hear, and write.
  const whisper = await call(form(`${OPENAI}/audio/transcriptions`, { model: 'whisper-1' }, 'file'));
  expect(whisper.answers[0]).toMatchObject({ status: 200 });
  expect(whisper.records[0]).toMatchObject({ inputTokens: null, outputTokens: null });
  expect(await left(tooLarge)).toBe(CAP - used - 128_000 - 8_192);
});

it('openai: other models and calls are refused, and reach no provider', async () => {
  const before = (await servers.seen()).length;
  const { answers, records } = await call(
    post(`${OPENAI}/responses`, { model: 'o3', input: 'hi' }),
    post(`${OPENAI}/embeddings`, { model: 'text-embedding-3-large', input: 'hi' }),
    get(`${OPENAI}/models/o3`),
    get(`${OPENAI}/files`),
    post(`${OPENAI}/batches`, { input_file_id: 'file-1' }),
    post(`${OPENAI}/responses`, { model: 'gpt-4.1', input: 'hi', tools: [{ type: 'mcp', server_label: 'x', server_url: 'https://evil.example/mcp' }] }),
    post(`${OPENAI}/responses`, { model: 'gpt-4.1', input: 'hi', tools: [{ type: 'web_search' }] }),
    form(`${OPENAI}/audio/transcriptions`, { model: 'gpt-4o-mini-transcribe', Model: 'gpt-4o-transcribe' }, 'file'),
  );
  expect(answers.map((answer) => `${answer.status} ${codeOf(answer)}`)).toEqual([
    '403 ModelNotAllowed',
    '403 ModelNotAllowed',
    '403 ModelNotAllowed',
    '403 EndpointNotBuilt',
    '403 EndpointNotBuilt',
    '403 ProviderFetchNotAllowed',
    '403 ProviderFetchNotAllowed',
    '400 AmbiguousField',
  ]);
  expect(records.map(({ verdict, status }) => `${verdict} ${status}`)).toEqual(answers.map(({ status }) => `Denied ${status}`));
  expect(await servers.seen()).toHaveLength(before);
});

it('what the provider may fetch for the agent is what the rule names; the record names it, and what the request cost', async () => {
  const image = (host: string) => [{ role: 'user', content: [{ type: 'image_url', image_url: { url: `https://${host}/a.png?data=secret` } }] }];
  const before = (await servers.seen()).length;
  const chat = (host: string) => post(`${OPENAI}/chat/completions`, { model: 'gpt-4o-mini', messages: image(host) });
  const { answers, records } = await call(chat('images.example.com'), chat('other.example.com'));
  expect(statuses(answers), answers[0]!.body).toEqual([200, 403]);
  expect(codeOf(answers[1]!)).toBe('ProviderFetchNotAllowed');
  expect(records).toMatchObject([
    { verdict: 'Allowed', providerFetches: ['images.example.com'], costEstimated: false },
    { verdict: 'Denied', reason: 'ProviderFetchNotAllowed', providerFetches: ['other.example.com'], costUsd: null },
  ]);
  // 0.15 and 0.60 US dollars a million tokens.
  const { inputTokens, outputTokens, costUsd } = records[0]!;
  expect(costUsd).toBe(Math.ceil(inputTokens! * 0.15 + outputTokens! * 0.6 - 1e-4) / 1e6);
  expect(JSON.stringify(records)).not.toContain('secret');
  expect(await servers.seen()).toHaveLength(before + 1);
});

it('azure-openai: any resource is served when it is asked for; deployments outside of the rule and other names are not', async () => {
  const version = 'api-version=2024-10-21';
  const chat = (host: string, deployment: string, query = version) =>
    post(`https://${host}/openai/deployments/${deployment}/chat/completions?${query}`, { model: 'whatever', messages: USER, stream: true });
  const before = (await servers.seen()).length;
  const { answers, records } = await call(
    chat('one.openai.azure.com', 'prod-chat'),
    chat('old.cognitiveservices.azure.com', 'prod-chat', 'api-version=2024-06-01'),
    post(`https://two.openai.azure.com/openai/deployments/prod-embed/embeddings?${version}`, { input: 'hi' }),
    chat('one.openai.azure.com', 'test-chat'),
    get('https://two.openai.azure.com/openai/files?api-version=1'),
    chat('one.two.openai.azure.com', 'prod-chat'),
  );
  expect(statuses(answers), answers[0]!.body).toEqual([200, 200, 200, 403, 403, 403]);
  expect(answers.slice(3).map(codeOf)).toEqual(['ModelNotAllowed', 'EndpointNotBuilt', 'NoRoute']);
  expect(records.slice(0, 3).map(({ provider, model, host }) => [provider, model, host])).toEqual([
    ['azure.ai.openai', 'prod-chat', 'one.openai.azure.com'],
    ['azure.ai.openai', 'prod-chat', 'old.cognitiveservices.azure.com'],
    ['azure.ai.openai', 'prod-embed', 'two.openai.azure.com'],
  ]);
  const seen = (await servers.seen()).slice(before);
  expect(seen).toHaveLength(3);
  expect(seen.every(({ headers }) => headers['api-key'] === servers.keys.azure && headers['authorization'] === undefined)).toBe(true);
  // A version that knows no usage in streams is not asked for it, and costs its bound.
  expect(seen.slice(0, 2).map(({ body }) => (JSON.parse(body) as { stream_options?: object }).stream_options)).toEqual([{ include_usage: true }, undefined]);
  expect(records[0]!.inputTokens).toBeGreaterThan(0);
  expect(records[1]!.inputTokens).toBeNull();
});

it('custom: hosts by pattern, calls like OpenAI’s counted and others let through by a rule without limits', async () => {
  const { answers, records } = await call(
    post('https://eu.llm.example/llm/v1/chat/completions', { model: 'gpt-4.1', messages: USER }),
    post('https://us.llm.example/llm/v1/embeddings', { model: 'text-embedding-3-small', input: 'hi' }),
    post('https://eu.llm.example/llm/rerank', { anything: true }),
    // The first rule has its path, and limits tokens.
    post('https://eu.llm.example/llm/v1/rerank', { anything: true }),
    post('https://eu.llm.example/other', {}),
    get('https://llm.example/llm/rerank'),
  );
  expect(statuses(answers), answers[0]!.body).toEqual([200, 200, 200, 403, 403, 403]);
  expect(answers.slice(3).map(codeOf)).toEqual(['UnknownBound', 'EndpointNotAllowed', 'NoRoute']);
  expect(JSON.parse(answers[2]!.body)).toEqual({ got: JSON.stringify({ anything: true }).length });
  expect(records.slice(0, 3).map(({ provider, operation, host, outputTokens }) => [provider, operation, host, outputTokens !== null])).toEqual([
    ['custom', 'chat', 'eu.llm.example', true],
    ['custom', 'embeddings', 'us.llm.example', false],
    ['custom', 'custom', 'eu.llm.example', false],
  ]);
});

it('names that were asked for are served again when egress was killed', async () => {
  const pid = await stack.kill('egress');
  await stack.restarted('egress', pid);
  await stack.programmed(GATEWAY);
  const { answers } = await call(get('https://two.openai.azure.com/openai/v1/models'), get('https://us.llm.example/llm/v1/models'));
  expect(statuses(answers)).toEqual([403, 200]);
  expect(codeOf(answers[0]!)).toBe('ModelNotAllowed');
});

it('what no host is named for is refused in status, and an unknown provider by name', async () => {
  await stack.apply(route('nowhere', [{ matches: [{ provider: 'custom', endpoints: ['/v1/*'] }] }]));
  const parents = async () =>
    (await stack.get('aiproviderroutes', 'nowhere')).status?.['parents'] as { conditions: { type: string; reason: string; message: string }[] }[] | undefined;
  await expect
    .poll(async () => (await parents())?.[0]?.conditions.find(({ type }) => type === 'Accepted'), { timeout: 15_000 })
    .toMatchObject({
      status: 'False',
      reason: 'UnsupportedValue',
      message: expect.stringContaining('"/v1/*" names no host') as string,
    });
  await expect(stack.apply(route('unknown', [{ matches: [{ provider: 'openrouter' }] }]))).rejects.toThrow(
    /must be one of openai, anthropic, google, azure-openai, bedrock, custom/,
  );
});
