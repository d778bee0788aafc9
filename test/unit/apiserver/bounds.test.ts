import { request as httpsRequest } from 'node:https';
import { connect } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { loadSigner } from '#lib/x509';
import { ADMIN, agent, configMap, ROOT, startServer, type Answer, type TestClient, type TestServer } from './harness.ts';

/** What is huge or crafted gets a Status of a few kilobytes in bounded time; the server goes on, and nothing of others is lost. */

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
  await admin.call('POST', MAPS, configMap('kept', { a: 'b' }));
});
afterAll(() => server[Symbol.asyncDispose]());

const TASKS = `${ROOT}/taskagents`;
const MAPS = '/api/v1/namespaces/default/configmaps';
const APPLY = 'application/apply-patch+yaml';
const JSON_PATCH = 'application/json-patch+json';
const MERGE = 'application/merge-patch+json';
const X = `${TASKS}/x`;

beforeEach(async () => {
  expect((await admin.call('POST', TASKS, agent('x'))).status).toBe(201);
});
afterEach(async () => {
  expect((await admin.call('GET', `${MAPS}/kept`)).body.data).toEqual({ a: 'b' });
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  await admin.call('PATCH', X, { metadata: { finalizers: null } }, { type: MERGE });
  await admin.call('DELETE', X);
  await admin.call('DELETE', `${TASKS}/big`);
  expect((await admin.call('GET', TASKS)).body.items).toEqual([]);
});

const isStatus = ({ status, body }: Answer, code: number): void => {
  expect(body).toMatchObject({ kind: 'Status', status: 'Failure', code });
  expect(status).toBe(code);
  expect(JSON.stringify(body).length).toBeLessThan(100_000);
};
const many = (count: number, item: (index: number) => string): string => Array.from({ length: count }, (_, index) => item(index)).join(',');
const text = (spec: string, metadata = ''): string =>
  `{"apiVersion":"clrk.apoxy.dev/v1alpha1","kind":"TaskAgent","metadata":{"name":"big"${metadata}},"spec":{"workerPoolRef":"p","template":{"spec":{"image":"a"}}${spec}}}`;

test.each<[string, string, string, number, string]>([
  ['unknown fields', '?fieldValidation=Strict', text(`,${many(200_000, (i) => `"f${i}":1`)}`), 400, 'and 199900 more'],
  ['repeated fields', '?fieldValidation=Strict', text(`,${many(100_000, () => '"maxConcurrent":1')}`), 400, 'and 99899 more'],
  ['items with the same key', '', text('').replace('"image":"a"', `"image":"a","env":[${many(200_000, () => '{"name":"a"}')}]`), 422, 'and 199901 more errors'],
  ['wrong items', '', text('').replace('"image":"a"', `"image":"a","args":[${many(500_000, () => '1')}]`), 422, 'and 499901 more errors'],
  ['wrong labels', '', text('', `,"labels":{${many(100_000, (i) => `"-${i}":"-"`)}}`), 422, 'more errors'],
  ['owners without name', '', text('', `,"ownerReferences":[${many(200_000, () => '{}')}]`), 422, 'more errors'],
])('%s without end', async (_, query, body, code, message) => {
  const answer = await admin.call('POST', `${TASKS}${query}`, body);
  isStatus(answer, code);
  expect(answer.body.message).toContain(message);
});

test('of very many warnings some are given', async () => {
  const { status, headers } = await admin.call('POST', TASKS, text(`,${many(100_000, (i) => `"${'f'.repeat(10)}${i}":1`)}`));
  expect(status).toBe(201);
  expect([headers['warning']].flat()).toHaveLength(20);
});

test('depth and length within the bounds are kept as they are', async () => {
  const deep = `${'{"a":['.repeat(120)}1${']}'.repeat(120)}`;
  const long = `[${many(1_000_000, () => '0')}]`;
  for (const value of [deep, long]) {
    expect((await admin.call('POST', TASKS, text(`,"scheduleInput":${value}`))).status).toBe(201);
    expect(JSON.stringify((await admin.call('GET', `${TASKS}/big`)).body.spec.scheduleInput)).toBe(value);
    await admin.call('DELETE', `${TASKS}/big`);
  }
  isStatus(await admin.call('POST', TASKS, text(`,"scheduleInput":${'[{"a":'.repeat(130)}1${'}]'.repeat(130)}`)), 400);
});

test.each<[string, string, number]>([
  ['2^53 + 1', '9007199254740993', 400],
  ['-(2^53 + 1)', '-9007199254740993', 400],
  ['2^53', '9007199254740992', 201],
  ['2^63 - 1', '9223372036854775807', 400],
  ['10^18 + 1', '1000000000000000001', 400],
  ['2^64', '18446744073709551616', 201],
  ['a hundred digits', '1'.repeat(100), 201],
  ['a million digits', '1'.repeat(1_000_000), 400],
  ['1e308', '1e308', 201],
  ['1e309', '1e309', 400],
  ['a tiny one', '1e-400', 201],
])('the number %s is kept or refused, never changed', async (_, number, code) => {
  for (const type of ['application/json', 'application/yaml']) {
    const body = type.endsWith('json') ? text(`,"scheduleInput":${number}`) : `# yaml\n${text(`,"scheduleInput": ${number}`).replaceAll(':', ': ')}`;
    const answer = await admin.call('POST', TASKS, body, { type });
    expect(answer.status, `${type}: ${JSON.stringify(answer.body).slice(0, 300)}`).toBe(code);
    if (code === 201) expect(answer.body.spec.scheduleInput).toBe(Number(number));
    await admin.call('DELETE', `${TASKS}/big`);
  }
});

/** A request by hand: what the server answers, whatever becomes of the connection. */
const stream = async (
  path: string,
  headers: Readonly<Record<string, string>>,
  chunks: Iterable<string>,
  hangUp = false,
): Promise<{ status: number; body: string } | undefined> => {
  const own = await (
    await loadSigner(server.authority)
  ).issue({ subject: ADMIN, usage: 'client', notBefore: new Date(Date.now() - 1e6), notAfter: new Date(Date.now() + 1e6) });
  return new Promise((resolve) => {
    const request = httpsRequest(`${server.url}${path}`, { method: 'POST', headers, ca: server.authority.certPem, cert: own.certPem, key: own.keyPem });
    request.on('error', () => resolve(undefined));
    request.on('response', (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.on('close', () => resolve({ status: response.statusCode!, body }));
    });
    for (const chunk of chunks) request.write(chunk);
    if (hangUp) request.once('socket', (socket) => socket.once('secureConnect', () => setImmediate(() => request.destroy())));
    else request.end();
  });
};

test('ten megabytes in pieces, without a length', async () => {
  const answer = await stream(TASKS, { 'content-type': 'application/json' }, [
    text('').slice(0, -2),
    ',"scheduleInput":"',
    ...Array.from({ length: 160 }, () => 'x'.repeat(65_536)),
    '"}}',
  ]);
  // The rest is not read: an answer that got through is this one.
  if (answer) expect(JSON.parse(answer.body)).toMatchObject({ kind: 'Status', code: 413, reason: 'RequestEntityTooLarge' });
  expect((await admin.call('GET', `${TASKS}/big`)).status).toBe(404);
});

test('a body that breaks off makes nothing', async () => {
  const whole = text('');
  expect(await stream(TASKS, { 'content-type': 'application/json', 'content-length': String(whole.length) }, [whole.slice(0, -1)], true)).toBeUndefined();
  expect((await admin.call('GET', `${TASKS}/big`)).status).toBe(404);
});

const move = { op: 'move', from: '/spec/scheduleInput/list/1', path: '/spec/scheduleInput/list/0' };
test.each<[string, unknown, number]>([
  ['copies that grow', Array.from({ length: 40 }, () => ({ op: 'copy', from: '/spec/scheduleInput', path: '/spec/scheduleInput/list/-' })), 413],
  ['moves of something large', Array.from({ length: 5000 }, () => move), 413],
  ['ten thousand operations and one', Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/kind', value: 'TaskAgent' })), 413],
  ['insertions at the front', Array.from({ length: 10_000 }, () => ({ op: 'add', path: '/spec/scheduleInput/list/0', value: 1 })), 200],
  ['a path into a prototype', [{ op: 'add', path: '/__proto__/polluted', value: 1 }], 422],
  ['a path into a constructor', [{ op: 'add', path: '/constructor/prototype/polluted', value: 1 }], 422],
  ['a copy of itself into itself', [{ op: 'move', from: '/spec', path: '/spec/scheduleInput' }], 422],
  ['a pointer without end', [{ op: 'remove', path: '/a'.repeat(500_000) }], 422],
])('a JSON patch of %s', async (_, patch, code) => {
  await admin.call('PATCH', X, { spec: { scheduleInput: { list: ['y'.repeat(1_000_000), 0] } } }, { type: MERGE });
  const answer = await admin.call('PATCH', X, patch, { type: JSON_PATCH });
  if (code === 200) expect(answer.status).toBe(200);
  else isStatus(answer, code);
});

const encoded = (token: unknown): string => Buffer.from(typeof token === 'string' ? token : JSON.stringify(token)).toString('base64url');
test.each<[string, number]>([
  [`?continue=${encoded({ version: 'x', namespace: '', name: '' })}`, 400],
  [`?continue=${encoded({ version: '-1', namespace: '', name: '' })}`, 400],
  [`?continue=${encoded({ version: '1e3', namespace: '', name: '' })}`, 400],
  [`?continue=${encoded({ version: 1, namespace: [], name: {} })}`, 400],
  [`?continue=${encoded({ version: '999999999', namespace: 'z', name: 'z' })}`, 410],
  [`?continue=${encoded('[]')}`, 400],
  [`?continue=${encoded('{"__proto__":{"polluted":1}}')}`, 400],
  [`?continue=${encoded(`{"version":"0","namespace":"${"'; DROP TABLE objects; --".repeat(20)}","name":""}`)}`, 200],
  [`?continue=${'A'.repeat(8000)}`, 400],
  ['?limit=99999999999999999999', 400],
  ['?limit=0x10', 400],
  ['?resourceVersion=1e3', 400],
  ['?resourceVersion=99999999999999999999', 400],
  ['?labelSelector=%zz', 400],
  [`?labelSelector=${encodeURIComponent('('.repeat(1000))}`, 400],
  [`?labelSelector=${encodeURIComponent(many(900, (i) => `a${i}`))}`, 200],
  [`?labelSelector=${encodeURIComponent(`a in (${'b,'.repeat(2000)}b)`)}`, 200],
  ['?labelSelector=__proto__', 400],
  ['?labelSelector=constructor%3Dx', 200],
  [`?fieldSelector=${encodeURIComponent('\\'.repeat(2001))}`, 400],
  [`?fieldSelector=${encodeURIComponent('metadata.name=a,'.repeat(300))}`, 200],
  ['?fieldSelector=__proto__%3Dx', 400],
  ['?__proto__[polluted]=1&constructor[prototype][polluted]=1', 200],
  [`?${'a&'.repeat(3000)}`, 200],
])('a list with %s', async (query, code) => {
  const answer = await admin.call('GET', `${TASKS}${query}`);
  if (code === 200) expect(answer.body.kind).toBe('TaskAgentList');
  else isStatus(answer, code);
});

test('what is no HTTP, or has too long a head, gets a Status as well', async () => {
  isStatus(await admin.call('GET', `${TASKS}?${'x'.repeat(20_000)}`), 431);
  const own = await (
    await loadSigner(server.authority)
  ).issue({ subject: ADMIN, usage: 'client', notBefore: new Date(Date.now() - 1e6), notAfter: new Date(Date.now() + 1e6) });
  const socket = connect({ port: Number(new URL(server.url).port), host: '127.0.0.1', ca: server.authority.certPem, cert: own.certPem, key: own.keyPem });
  let answer = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
  socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n'));
  await new Promise((resolve) => socket.on('close', resolve));
  expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*"kind":"Status"[^]*"code":400/);
});

test('applying very many fields that others own', async () => {
  const labels = (value: string): object => ({
    apiVersion: 'clrk.apoxy.dev/v1alpha1',
    kind: 'TaskAgent',
    metadata: { name: 'x', labels: Object.fromEntries(Array.from({ length: 30_000 }, (_, index) => [`l${index}`, value])) },
  });
  const apply = (manager: string, body: object) => admin.call('PATCH', `${X}?fieldManager=${manager}`, body, { type: APPLY });
  expect((await apply('one', labels('a'))).status).toBe(200);
  expect((await apply('two', labels('a'))).status).toBe(200);
  const refused = await apply('two', labels('b'));
  isStatus(refused, 409);
  expect(refused.body.message).toContain('Apply failed with 30000 conflicts');
  expect(refused.body.details.causes).toHaveLength(100);
  const none = { ...labels('a'), metadata: { name: 'x' } };
  expect(Object.keys((await apply('one', none)).body.metadata.labels)).toHaveLength(30_000);
  expect((await apply('two', none)).body.metadata.labels).toBeUndefined();
});

test('very many finalizers', async () => {
  const finalizers = Array.from({ length: 30_000 }, (_, index) => `example.net/f${index}`);
  expect((await admin.call('PATCH', X, { metadata: { finalizers } }, { type: MERGE })).status).toBe(200);
  const apply = await admin.call(
    'PATCH',
    `${X}?fieldManager=m`,
    { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'TaskAgent', metadata: { name: 'x', finalizers } },
    { type: APPLY },
  );
  expect(apply.body.metadata.finalizers).toHaveLength(30_000);
});

const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(Math.floor(value / 128))]);
const field = (number: number, bytes: Uint8Array | readonly number[]): Buffer => Buffer.from([...varint(number * 8 + 2), ...varint(bytes.length), ...bytes]);
const protobuf = (kind: string, parts: readonly Uint8Array[]): Buffer => {
  const type = Buffer.concat([field(1, Buffer.from('v1')), field(2, Buffer.from(kind))]);
  const raw = Buffer.concat(parts);
  return Buffer.concat([Buffer.from('k8s\0'), field(1, type), Buffer.from([0x12, ...varint(raw.length)]), raw]);
};
const named = field(1, field(1, Buffer.from('many')));

test.each<[string, Buffer, number]>([
  ['the same key very often', protobuf('ConfigMap', [named, ...Array.from({ length: 300_000 }, () => Buffer.from([0x12, 5, 0x0a, 1, 0x61, 0x12, 0]))]), 201],
  [
    'very many keys',
    protobuf('ConfigMap', [
      named,
      ...Array.from({ length: 100_000 }, (_, index) => field(2, Buffer.concat([field(1, Buffer.from(`k${index}`)), field(2, Buffer.from('v'))]))),
    ]),
    201,
  ],
  [
    'very many finalizers',
    protobuf('ConfigMap', [field(1, Buffer.concat([field(1, Buffer.from('many')), ...Array.from({ length: 200_000 }, () => field(14, Buffer.from('-')))]))]),
    422,
  ],
  ['a length beyond its end', Buffer.concat([Buffer.from('k8s\0'), Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])]), 400],
  ['a number that does not end', Buffer.concat([Buffer.from('k8s\0'), Buffer.alloc(1_000_000, 0xff)]), 400],
  ['groups', Buffer.concat([Buffer.from('k8s\0'), Buffer.alloc(1_000_000, 0x0b)]), 400],
])('protobuf with %s', async (_, body, code) => {
  const answer = await admin.call('POST', MAPS, body, { type: 'application/vnd.kubernetes.protobuf' });
  if (code === 201) expect(answer.status).toBe(201);
  else isStatus(answer, code);
  await admin.call('DELETE', `${MAPS}/many`);
});

const letters = [...'abcdefghijklmnopqrstuvwxyz'];
test.each<[string, string, number]>([
  ['more than half a megabyte', 'a: 1\n'.repeat(120_000), 400],
  ['lists in lists', '- '.repeat(50_000), 400],
  ['flows in flows', '['.repeat(50_000), 400],
  ['keys in keys', '? '.repeat(50_000), 400],
  [
    'anchors that merge',
    `a: &a {x: 1}\n${letters
      .slice(1)
      .map((key, i) => `${key}: &${key} {<<: [${`*${letters[i]},`.repeat(9)}]}`)
      .join('\n')}`,
    400,
  ],
  ['aliases', `a: &a [${'x,'.repeat(1000)}]\nb: [${'*a,'.repeat(10_000)}]`, 400],
  ['an anchor in itself', 'apiVersion: v1\nkind: ConfigMap\nmetadata: &m {name: x, labels: *m}\n', 400],
  ['the same key without end', 'a: 1\n'.repeat(50_000), 400],
  ['a tag that is code', '!!js/function "function(){}"', 400],
])('YAML with %s', async (_, body, code) => {
  isStatus(await admin.call('POST', TASKS, body, { type: 'application/yaml' }), code);
});
