import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { InvokeRequest } from '#model';
import { encodeEvent } from '#trigger';

const ID = '5f1d7a52-7d1f-4d7e-9d0c-0f6f2f0b7c11';
const TIME = Date.UTC(2026, 10, 24, 12, 0, 0);

const request = (body: string | Uint8Array, headers: Record<string, string> = {}, rest: Partial<InvokeRequest> = {}): InvokeRequest => ({
  namespace: 'default',
  agent: 'hello',
  trigger: 'HTTP',
  source: 'test',
  headers,
  body: typeof body === 'string' ? Buffer.from(body) : body,
  ...rest,
});
const text = (...args: Parameters<typeof request>): string => Buffer.from(encodeEvent(request(...args), ID, TIME)).toString();
const event = (...args: Parameters<typeof request>): Record<string, unknown> => JSON.parse(text(...args)) as Record<string, unknown>;

const OURS = {
  specversion: '1.0',
  id: ID,
  source: 'clrk://default/hello',
  type: 'dev.apoxy.clrk.taskagent.invoke',
  subject: 'http',
  time: '2026-11-24T12:00:00.000Z',
};

test('an empty body gives an event without data', () => {
  expect(event('')).toEqual(OURS);
  expect(event('', { 'content-type': 'application/json' }, { trigger: 'CLI' })).toEqual({ ...OURS, subject: 'cli' });
});

test.each([
  ['JSON', '{"a":[1,null]}', 'application/json; charset=utf-8', { data: { a: [1, null] } }],
  ['JSON by suffix', '[]', 'application/vnd.x+json', { data: [] }],
  ['JSON without a type', ' "x" ', undefined, { data: 'x', datacontenttype: 'application/json' }],
  ['text', 'héllo "you"', 'text/plain', { data: 'héllo "you"' }],
  ['a form', 'a=b&c=%20', 'application/x-www-form-urlencoded', { data: 'a=b&c=%20' }],
  ['text of another charset', 'abc', 'text/plain; charset=latin1', { data_base64: 'YWJj' }],
  ['text that is not UTF-8', Uint8Array.of(0xff), 'text/plain', { data_base64: '/w==' }],
  ['JSON that is none', '{"a"', 'application/json', { data_base64: 'eyJhIg==' }],
  ['bytes', Uint8Array.of(0, 1), 'image/png', { data_base64: 'AAE=' }],
  ['bytes without a type', Uint8Array.of(0xff, 1), undefined, { data_base64: '/wE=', datacontenttype: 'application/octet-stream' }],
])('the body is data: %s', (_, body, type, expected) => {
  expect(event(body, type ? { 'content-type': type } : {})).toEqual({ ...OURS, datacontenttype: type, ...expected });
});

test('a JSON body reaches the agent byte for byte', () => {
  const body = '{ "big": 12345678901234567890, "a": 1, "a": 2 }';
  expect(text(body, { 'content-type': 'application/json' })).toContain(`"data":${body}}`);
});

test('ce- headers are attributes, except those that are ours or the body’s', () => {
  const headers = {
    'ce-tenant': 'a%C3%A9%20b',
    'ce-type': 'com.example.created',
    'ce-source': '/mine',
    'ce-subject': 's',
    'ce-time': '2020-01-01T00:00:00Z',
    'ce-broken': '%zz',
    'ce-id': 'theirs',
    'ce-specversion': '0.3',
    'ce-data': 'x',
    'ce-datacontenttype': 'x/y',
    'ce-bad-name': 'x',
    authorization: 'Bearer secret',
  };
  expect(event('', headers)).toEqual({
    ...OURS,
    tenant: 'aé b',
    type: 'com.example.created',
    source: '/mine',
    subject: 's',
    time: '2020-01-01T00:00:00Z',
    broken: '%zz',
  });
  expect(event('', { 'ce-time': 'yesterday' })).toEqual(OURS);
});

const structured = { 'content-type': 'application/cloudevents+json; charset=utf-8' };

test('a structured event keeps what it says, but not its id', () => {
  const theirs = { specversion: '1.0', id: 'x', source: '/theirs', type: 't', datacontenttype: 'application/json', data: { a: 1 }, ext: true };
  expect(event(JSON.stringify(theirs), structured)).toEqual({ ...OURS, ...theirs, id: ID });
  const { source, type, ...bare } = theirs;
  expect(event(JSON.stringify(bare), structured)).toEqual({ ...OURS, ...bare, id: ID });
  expect([source, type]).toEqual(['/theirs', 't']);
});

test.each([
  ['no JSON', '{'],
  ['no object', '[]'],
  ['another version', '{"specversion":"0.3"}'],
  ['two kinds of data', '{"specversion":"1.0","data":1,"data_base64":"AA=="}'],
  ['a name that is none', '{"specversion":"1.0","Foo":1}'],
  ['an attribute that is an object', '{"specversion":"1.0","foo":{}}'],
])('a structured event that is none is refused: %s', (_, body) => {
  expect(() => event(body, structured)).toThrow(/CloudEvent/);
});

test('whatever the body and its type, the envelope is JSON with our id and the same bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom('', 'text/plain', 'application/json', 'image/png'), (body, type) => {
      const envelope = event(body, type ? { 'content-type': type } : {});
      expect(envelope['id']).toBe(ID);
      if (typeof envelope['data_base64'] === 'string') expect(Buffer.from(envelope['data_base64'], 'base64')).toEqual(Buffer.from(body));
      else if (type === 'text/plain' && body.length > 0) expect(Buffer.from(envelope['data'] as string)).toEqual(Buffer.from(body));
    }),
  );
});
