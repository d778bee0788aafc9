import { connect } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createAuthority, loadSigner } from '#lib/x509';
import { ADMIN, agent, configMap, ROOT, startServer, type TestClient, type TestServer } from './harness.ts';

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const TASKS = `${ROOT}/taskagents`;
const MAPS = '/api/v1/namespaces/default/configmaps';
const alive = async (): Promise<void> => expect((await admin.call('GET', '/readyz')).status).toBe(200);

test.each<[string, string | Uint8Array, string]>([
  ['nothing', '', 'unexpected end'],
  ['not JSON', 'hello', 'invalid character at line 1, column 1'],
  ['an open object', '{"a":', 'unexpected end'],
  ['a trailing comma', '{"a":1,}', 'expected a field name'],
  ['text after the end', '{} {}', 'text after the end'],
  ['a control character', '{"a":"\u0001"}', 'invalid character or escape'],
  ['a bad escape', '{"a":"\\x"}', 'invalid character or escape'],
  ['a lone quote', '{"a', 'a string does not end'],
  ['a leading zero', '{"a":01}', 'a number is not valid'],
  ['an endless number', '{"a":1e999}', 'a number is not valid'],
  ['deep lists', '['.repeat(100_000), 'nested more than'],
  ['deep objects', '{"a":'.repeat(100_000), 'nested more than'],
  ['__proto__', '{"__proto__":{"polluted":true}}', 'must not be named "__proto__"'],
  ['not UTF-8', new Uint8Array([0x7b, 0xff, 0x7d]), 'not UTF-8'],
])('a body of %s is a Status', async (_, body, message) => {
  const { status, body: answer } = await admin.call('POST', TASKS, body);
  expect(answer).toMatchObject({ kind: 'Status', code: 400, reason: 'BadRequest' });
  expect(answer.message).toContain("the object provided is unrecognized (must be of type TaskAgent): couldn't get version/kind; json parse error:");
  expect(answer.message).toContain(message);
  expect(status).toBe(400);
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  await alive();
});

test.each<[string, string]>([
  ['tabs', 'a:\n\t- b'],
  [
    'an alias bomb',
    `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 9 }, (_, i) => `${'bcdefghij'[i]}: &${'bcdefghij'[i]} [${`*${'abcdefghi'[i]},`.repeat(9)}]`).join('\n')}`,
  ],
  ['deep flow', '['.repeat(2000)],
  ['two documents', 'a: 1\n---\nb: 2'],
  ['__proto__', '__proto__: {polluted: true}'],
])('YAML with %s is a Status', async (_, body) => {
  const { body: answer } = await admin.call('POST', TASKS, body, { type: 'application/yaml' });
  expect(answer).toMatchObject({ kind: 'Status', code: 400 });
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  await alive();
});

test.each<[string, unknown]>([
  ['a list', []],
  ['null', 'null'],
  ['a string', '"x"'],
  ['metadata that is a list', { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'TaskAgent', metadata: [] }],
  ['another version', { ...agent('x'), apiVersion: 'clrk.apoxy.dev/v2' }],
  ['another namespace', agent('x', {}, { namespace: 'clrk' })],
  ['a version to create', agent('x', {}, { resourceVersion: '1' })],
])('%s is refused as an object', async (_, body) => {
  const { body: answer } = await admin.call('POST', TASKS, body);
  expect(answer).toMatchObject({ kind: 'Status', code: 400 });
});

test.each(['constructor', 'toString', 'hasOwnProperty', 'valueOf'])('a field named %s is unknown like any other', async (name) => {
  const { status, body } = await admin.call('POST', `${TASKS}?fieldValidation=Strict`, agent('x', { [name]: 1 }));
  expect(status).toBe(400);
  expect(body.message).toContain(`unknown field "spec.${name}"`);
  const kept = await admin.call('POST', `${MAPS}?dryRun=All`, configMap('x', { [name]: 'v' }));
  expect(kept.body.data).toEqual({ [name]: 'v' });
});

test('NUL and line breaks in values are data, in names they are refused', async () => {
  const made = await admin.call('POST', MAPS, configMap('nul', { a: 'x\u0000y\r\n' }));
  expect(made.status).toBe(201);
  expect((await admin.call('GET', `${MAPS}/nul`)).body.data).toEqual({ a: 'x\u0000y\r\n' });
  expect((await admin.call('POST', MAPS, configMap('a\u0000b'))).status).toBe(422);
  expect((await admin.call('GET', `${MAPS}/a%00b`)).status).toBe(404);
  expect((await admin.call('GET', `${MAPS}/%zz`)).status).toBe(400);
  expect((await admin.call('GET', `${MAPS}/..%2f..%2fsecrets`)).status).toBe(404);
});

test('bodies beyond 3 MiB are refused, announced or not', async () => {
  const big = configMap('big', { a: 'x'.repeat(3 * 1024 * 1024) });
  const announced = await admin.call('POST', MAPS, big);
  expect(announced.body).toMatchObject({ code: 413, reason: 'RequestEntityTooLarge', message: 'Request entity too large: limit is 3145728' });
  await alive();
});

test('media types that are not spoken', async () => {
  const protobuf = await admin.call('POST', TASKS, 'k8s\u0000', { type: 'application/vnd.kubernetes.protobuf' });
  expect(protobuf.body).toMatchObject({ code: 415, reason: 'UnsupportedMediaType' });
  const compressed = await admin.call('POST', MAPS, configMap('z'), { headers: { 'content-encoding': 'gzip' } });
  expect(compressed.status).toBe(415);
  await admin.call('POST', TASKS, agent('media'));
  for (const type of ['application/strategic-merge-patch+json', 'text/plain', '']) {
    const { status, body } = await admin.call('PATCH', `${TASKS}/media`, '[]', { type });
    expect(status, type).toBe(415);
    expect(body.message).toContain(
      'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json',
    );
  }
  expect((await admin.call('GET', MAPS, undefined, { headers: { accept: 'application/xml' } })).status).toBe(406);
  expect((await admin.call('PATCH', `${TASKS}/media`, '3', { type: 'application/merge-patch+json' })).status).toBe(400);
});

test('paths that are not served', async () => {
  for (const path of [
    '/apis/apps/v1/deployments',
    '/apis/clrk.apoxy.dev/v2/taskagents',
    '/api/v1/pods',
    '/nope',
    `${TASKS}/a/b/c/d`,
    '/api/v1/namespaces/default/namespaces',
  ]) {
    const { status, body } = await admin.call('GET', path);
    expect(status, path).toBe(404);
    expect(body).toBe('404 page not found\n');
  }
  expect((await admin.call('POST', '/version', {})).status).toBe(405);
});

test('only certificates of our authority get in', async () => {
  const stranger = await createAuthority({
    subject: 'CN=stranger',
    ca: { pathLength: 0 },
    notBefore: new Date(Date.now() - 1e6),
    notAfter: new Date(Date.now() + 1e6),
  });
  const forger = await server.client(ADMIN, await loadSigner(stranger));
  const nobody = await server.client(null);
  for (const client of [forger, nobody]) {
    for (const path of [TASKS, '/readyz', '/apis', '/nope']) {
      const { body } = await client.call('GET', path);
      expect(body).toEqual({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: 'Unauthorized', reason: 'Unauthorized', code: 401 });
    }
  }
});

test('what each identity may do', async () => {
  const secrets = '/api/v1/namespaces/default/secrets';
  const identities = {
    viewer: await server.client('CN=viewer, O=clrk:viewers'),
    manager: await server.client('CN=system:clrk:controller-manager'),
    dispatcher: await server.client('CN=system:clrk:dispatcher'),
    nobody: await server.client('CN=nobody, O=other'),
  };
  const may: Record<keyof typeof identities, readonly boolean[]> = {
    // get agents, create agents, watch agents, get secrets, get config maps
    viewer: [true, false, true, false, true],
    manager: [true, false, true, true, true],
    dispatcher: [true, false, true, false, false],
    nobody: [false, false, false, false, false],
  };
  for (const [name, client] of Object.entries(identities)) {
    const results = [
      (await client.call('GET', TASKS)).status,
      (await client.call('POST', `${TASKS}?dryRun=All`, agent('may'))).status,
      (await client.call('GET', `${TASKS}?watch=true&timeoutSeconds=1&resourceVersion=99999999`)).status,
      (await client.call('GET', secrets)).status,
      (await client.call('GET', MAPS)).status,
    ];
    expect(
      results.map((status) => status !== 403),
      `${name}: ${results.join(' ')}`,
    ).toEqual(may[name as keyof typeof identities]);
  }
  const { body } = await identities.nobody.call('GET', `${TASKS}/demo`);
  expect(body.message).toBe(
    'taskagents.clrk.apoxy.dev "demo" is forbidden: User "nobody" cannot get resource "taskagents" in API group "clrk.apoxy.dev" in the namespace "default"',
  );
});

test('bytes that are not TLS, or not HTTP, disturb nobody', async () => {
  const port = Number(new URL(server.url).port);
  const socket = connect({ port, host: '127.0.0.1', ca: server.authority.certPem });
  await new Promise<void>((resolve) => {
    socket.on('secureConnect', () => socket.write('NONSENSE\r\n\r\n'));
    socket.on('error', () => {});
    socket.resume();
    socket.on('close', () => resolve());
  });
  await alive();
});
