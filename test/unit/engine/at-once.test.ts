import { expect, test } from 'vitest';
import type { LedgerPort } from '#model';
import type { RequestHead } from '../../../src/egress/engine/request.ts';
import { ShortBodies } from '../../../src/egress/engine/short-bodies.ts';
import { BINDING, CHAT, harnesses, policyWith } from './harness.ts';

/** Requests that Envoy sends to the engine at once: headers and body, without waiting for an answer to either. */

const harness = harnesses();

test.each([1, 2, 7])('are answered once, when the body is whole (%i pieces), and go on as they would otherwise', async (atOnce) => {
  const engine = harness({ policy: policyWith(1_000_000) });
  const held = await engine.send(CHAT);
  const answer = await engine.send(CHAT, {}, { atOnce });
  expect(held.unasked).toBe(1);
  expect(answer).toMatchObject({ status: 200, cases: ['requestHeaders', 'requestBody'], unasked: 1 + atOnce, last: true, text: held.text });
  expect(answer.headers).toEqual({
    ...held.headers,
    'content-length': String(Buffer.byteLength(answer.text)),
    traceparent: `00-${BINDING.traceId}-${answer.engine.spanId}-01`,
  });
  expect(answer.removed).toEqual(held.removed);
  expect(answer.engine).toEqual({ ...held.engine, spanId: answer.engine.spanId });
  expect(engine.lines.at(-1)).toMatchObject({ event: 'admit', engine: answer.engine });
});

test('with trailers: each of the three is answered, and the body is not the end', async () =>
  expect(await harness().send(CHAT, {}, { atOnce: 2, trailers: true })).toMatchObject({
    status: 200,
    cases: ['requestHeaders', 'requestBody', 'requestTrailers'],
    last: false,
  }));

test.each([
  ['from an address without a run', { 'x-clrk-source': '100.64.0.9' }, 403, 'NotClaimed'],
  ['for another endpoint', { ':path': '/v1/files' }, 403, 'EndpointNotBuilt'],
  ['with another content type', { 'content-type': 'text/plain' }, 415, 'UnsupportedMediaType'],
])('what the headers refuse waits for no body: %s', async (_, headers, status, code) => {
  const engine = harness();
  expect(await engine.send(CHAT, headers, { atOnce: 3 })).toMatchObject({
    status,
    json: { error: { code } },
    cases: ['immediateResponse'],
    unasked: 1,
    engine: { verdict: 'Denied', reason: code },
  });
  expect(engine.lines).toMatchObject([{ event: 'refused', reason: code }]);
});

test('what the body refuses', async () => {
  const engine = harness({ policy: policyWith(undefined, { matches: [{ provider: 'openai', models: ['gpt-4.1*'] }] }) });
  const of = { status: 403, cases: ['immediateResponse'], json: { error: { code: 'ModelNotAllowed', route: 'AIProviderRoute/demo/openai' } } };
  expect(await engine.send(CHAT, {}, { atOnce: 2 })).toMatchObject(of);
});

test('a body of another length than was said is refused, longer as soon as it is', async () => {
  const engine = harness();
  const length = Buffer.byteLength(JSON.stringify(CHAT));
  const short = await engine.send(CHAT, { 'content-length': String(length + 1) }, { atOnce: 2 });
  expect(short).toMatchObject({ status: 400, json: { error: { code: 'ContentLengthMismatch' } }, unasked: 3 });
  const long = await engine.send(CHAT, { 'content-length': '10' }, { atOnce: 5 });
  expect(long).toMatchObject({
    status: 400,
    json: { error: { code: 'ContentLengthMismatch', gateway: 'demo/egress', revision: engine.policy!.revision } },
    unasked: 2,
  });
  expect(engine.lines).toMatchObject([
    { event: 'refused', reason: 'ContentLengthMismatch' },
    { event: 'refused', reason: 'ContentLengthMismatch' },
  ]);
});

test('a body in more pieces than it could need is refused', async () => {
  const text = JSON.stringify({ ...CHAT, user: 'a'.repeat(1_100) });
  expect(await harness().send(text, {}, { atOnce: 600 })).toMatchObject({ status: 200, text });
  expect(await harness().send(text, {}, { atOnce: text.length })).toMatchObject({ status: 400, json: { error: { code: 'FragmentedBody' } }, unasked: 1_026 });
});

test.each(['', '0', '-1', '+5', '5, 5', '65537', '1e3'])('nothing but a short body of a length that was said comes so: "%s"', async (length) =>
  expect(harness().send(CHAT, { 'content-length': length }, { atOnce: 1 })).rejects.toThrow('not to be sent at once'),
);

test('what has no answer in time is an error, also when it is a refusal that cannot be written; a reservation is given back', async () => {
  const never = new Promise<never>(() => {});
  const settled: string[] = [];
  const ledger: LedgerPort = { reserve: () => never, settle: async ({ id, tokens }) => void settled.push(`${id} ${tokens}`) };
  const silent = harness({ policy: policyWith(1_000_000), ledger, answerMs: 50, holdMs: 10_000 });
  await expect(silent.send(CHAT, { 'x-clrk-id': 'late' }, { atOnce: 1 })).rejects.toThrow('no answer within 50 ms');
  await expect.poll(() => settled).toEqual(['late 0']);
  const full = harness({ record: () => never, answerMs: 50 });
  await expect(full.send(CHAT, {}, { atOnce: 1 })).rejects.toThrow('no answer within 50 ms');
  await expect(full.send(CHAT, { ':path': '/v1/files' }, { atOnce: 1 })).rejects.toThrow('no answer within 50 ms');
});

const KIB = 1024;
const bodyOf = (bodies: ShortBodies, source: string, length = 64 * KIB) => {
  const body = bodies.begin({ gateway: 'demo/egress', source, contentLength: String(length) } as RequestHead);
  return { body, begin: () => body.add(Buffer.alloc(1), false), end: () => body.add(Buffer.alloc(length - 1), true) };
};

test('when bodies that are not whole fill the room, the sandbox that holds most gives way, its oldest first', () => {
  const bodies = new ShortBodies(256 * KIB);
  const [first, second, third] = ['a', 'a', 'a'].map((source) => bodyOf(bodies, source)) as [
    ReturnType<typeof bodyOf>,
    ReturnType<typeof bodyOf>,
    ReturnType<typeof bodyOf>,
  ];
  for (const one of [first, second, third]) one.begin();
  const other = bodyOf(bodies, 'b');
  other.begin();
  // Full. Who has most is refused; who has least takes from who has most.
  expect(() => bodyOf(bodies, 'a').begin()).toThrow(/too many requests under way/);
  const another = bodyOf(bodies, 'c');
  another.begin();
  expect(() => first.end()).toThrow(/had most of them/);
  expect(second.end()).toHaveLength(64 * KIB);
  expect(other.end()).toHaveLength(64 * KIB);
  expect(another.end()).toHaveLength(64 * KIB);
  for (const { body } of [first, second, third, other, another]) {
    body[Symbol.dispose]();
    body[Symbol.dispose](); // counts once
  }
  const again = ['a', 'a', 'a', 'a'].map((source) => bodyOf(bodies, source));
  for (const one of again) one.begin();
  expect(() => bodyOf(bodies, 'a').begin()).toThrow(/too many requests under way/);
});

test('a body that comes whole takes no room, and a tiny one takes a page', () => {
  const bodies = new ShortBodies(8 * KIB);
  expect(bodyOf(bodies, 'a').body.add(Buffer.alloc(64 * KIB), true)).toHaveLength(64 * KIB);
  bodyOf(bodies, 'a', 2).begin();
  bodyOf(bodies, 'a', 2).begin();
  expect(() => bodyOf(bodies, 'a', 2).begin()).toThrow(/too many requests under way/);
});
