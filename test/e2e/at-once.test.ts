import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from './harness.ts';
import { aiRoute, CHAT, EgressLab, OPENAI } from './support/egress-lab.ts';
import type { Opening, Outcome } from './support/pieces-client.ts';
import { openRequest, type PiecesClient } from './support/pieces.ts';

/**
 * Bodies that go to the engine as they come, short ones with a length, beside those that Envoy holds back: nothing of either leaves
 * before the verdict, whatever the client does with it.
 */

let lab: EgressLab;
let address: string;
beforeAll(async () => {
  lab = await EgressLab.start();
  await eventually('claims are granted', async () => ((await lab.claim()).refused === '' ? true : undefined));
  address = await lab.addressOf(OPENAI);
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const PATH = '/v1/chat/completions';
const TYPE = { 'content-type': 'application/json' };
const sized = (length: number | string) => ({ ...TYPE, 'content-length': String(length) });
const LENGTH = Buffer.byteLength(CHAT);

const open = (http: 1 | 2, headers: Readonly<Record<string, string>>, more: Partial<Opening> = {}): PiecesClient =>
  openRequest(lab.sandbox.netns, { address, host: OPENAI, http, headers: { ':path': PATH, ...headers }, ...more });

/** One request whose body is sent whole. */
const ask = async (http: 1 | 2, body: string, headers: Readonly<Record<string, string>> = sized(Buffer.byteLength(body))): Promise<Outcome> => {
  using client = open(http, headers);
  void client.send({ data: body, end: true });
  return await client.outcome;
};
const codeOf = ({ body }: Outcome) => (JSON.parse(body.slice(body.indexOf('{'))) as { error: { code: string; decision: string } }).error.code;
const seen = async () => (await lab.seen()).length;
/** A request of the neighbour's kind gets through, and Envoy is the one it was. */
const works = async (): Promise<void> => expect((await ask(2, CHAT)).status).toBe(200);

const padded = (length: number): string => {
  const empty = JSON.stringify({ ...(JSON.parse(CHAT) as object), user: '' });
  return empty.replace('"user":""', `"user":"${'a'.repeat(length - Buffer.byteLength(empty))}"`);
};

test.each([1, 2] as const)(
  'HTTP/%i: bodies of all sizes arrive as they were, with their length, and with what the engine judged in the record',
  async (http) => {
    for (const length of [LENGTH, 65_535, 65_536, 65_537, 1_000_000]) {
      const body = length === LENGTH ? CHAT : padded(length);
      const { status } = await ask(http, body);
      const request = (await lab.seen()).at(-1)!;
      expect([length, status, request.headers['content-length'], request.headers['transfer-encoding'], request.body === body]).toEqual([
        length,
        200,
        String(length),
        undefined,
        true,
      ]);
    }
    const { engine } = await eventually('its line', async () => (await lab.accessLines()).findLast((line) => line.path === PATH && line.engine));
    expect(engine).toMatchObject({ verdict: 'Allowed', provider: 'openai', operation: 'chat', model: 'gpt-4o-mini' });
  },
);

test.each([1, 2] as const)('HTTP/%i: nothing leaves before the body is whole and judged', async (http) => {
  const before = await seen();
  using client = open(http, sized(LENGTH));
  await client.send({ data: CHAT.slice(0, 10) });
  await client.send({ data: CHAT.slice(10, 30) });
  await works();
  expect(await seen()).toBe(before + 1); // the one that works
  await client.send({ data: CHAT.slice(30), end: true });
  expect((await client.outcome).status).toBe(200);
  expect((await lab.seen()).at(-1)!.body).toBe(CHAT);
});

test('without a length, or asked for before it is sent, it comes through as well', async () => {
  using chunked = open(1, { ...TYPE, 'transfer-encoding': 'chunked' });
  await chunked.send({ data: `${LENGTH.toString(16)}\r\n${CHAT}\r\n0\r\n\r\n` });
  expect((await chunked.outcome).status).toBe(200);
  expect(await ask(2, CHAT, TYPE)).toMatchObject({ status: 200 });
  using expecting = open(1, { ...sized(LENGTH), expect: '100-continue' });
  await expecting.send({ data: CHAT });
  const { status, body } = await expecting.outcome;
  expect([status, body.startsWith('HTTP/1.1 100 ')]).toEqual([200, true]);
});

test('trailers end a body as well', async () => {
  for (const length of [sized(LENGTH), TYPE]) {
    using client = open(2, length);
    await client.send({ data: CHAT });
    await client.send({ trailers: { 'x-last': 'word' } });
    expect(await client.outcome).toMatchObject({ status: 200 });
    expect((await lab.seen()).at(-1)!.body).toBe(CHAT);
  }
});

test.each([1, 2] as const)('HTTP/%i: what the headers refuse is answered without the body, what the body refuses when it is there', async (http) => {
  const before = await seen();
  for (const [headers, status, code] of [
    [{ ...sized(LENGTH), ':path': '/v1/files' }, 403, 'EndpointNotBuilt'],
    [{ ...sized(LENGTH), 'content-type': 'text/plain' }, 415, 'UnsupportedMediaType'],
    [{ ...sized(LENGTH), 'content-encoding': 'gzip' }, 415, 'EncodedBody'],
  ] as const) {
    using client = open(http, headers);
    const outcome = await client.outcome;
    expect([outcome.status, codeOf(outcome)]).toEqual([status, code]);
  }
  const model = await ask(http, '{"model":"gpt-4o-mini","model":"o3","messages":[]}');
  expect([model.status, codeOf(model)]).toEqual([400, 'DuplicateKey']);
  const { decision } = (JSON.parse(model.body.slice(model.body.indexOf('{'))) as { error: { decision: string } }).error;
  expect((await lab.lineOf(decision)).engine).toMatchObject({ verdict: 'Denied', reason: 'DuplicateKey' });
  expect(await seen()).toBe(before);
});

test('a length that is not true gets nowhere', async () => {
  const before = await seen();
  for (const [length, sent, more] of [
    [LENGTH + 5, CHAT, {}],
    [LENGTH - 5, CHAT, {}],
    [5, '', { ended: true }],
    ['0', CHAT, {}],
    [`${LENGTH}, ${LENGTH}`, CHAT, {}],
  ] as const) {
    using client = open(2, sized(length), more);
    if (!('ended' in more)) void client.send({ data: sent, end: true });
    expect([length, await client.outcome]).toEqual([length, { status: 0, body: '', error: expect.any(String) }]);
  }
  expect(await seen()).toBe(before);
  await works();
});

test('a body in single bytes is refused before it costs much', async () => {
  const before = await seen();
  using client = open(2, sized(padded(20_000).length));
  void client.send({ data: padded(20_000), bytewise: true, end: true });
  const outcome = await client.outcome;
  expect([outcome.status, codeOf(outcome)]).toEqual([400, 'FragmentedBody']);
  expect(await seen()).toBe(before);
});

test.each([1, 2] as const)('HTTP/%i: a client that leaves in the middle leaves nothing behind', async (http) => {
  const before = await seen();
  for (let n = 0; n < 3; n++) {
    using client = open(http, sized(LENGTH));
    await client.send({ data: CHAT.slice(0, -1) });
    void client.send({ leave: true });
    await client.outcome;
  }
  expect(await seen()).toBe(before);
  await works();
});

test('a route that is chosen after the body, and cannot serve it, answers with its reason', async () => {
  const pid = await lab.envoyPid();
  const only = (model: string) => [{ index: 0, matches: [{ provider: 'openai' as const, models: [model] }], budgets: [], notBuilt: [] }];
  const lacking = { policy: 'default/none', credential: 'cred:default/none', inject: { kind: 'Header', header: 'authorization' } } as const;
  await lab.enforce(
    lab.policyOf({
      aiRoutes: [
        { ...aiRoute, rules: only('gpt-4o') },
        { ...aiRoute, route: { namespace: 'default', name: 'second' }, createdAt: 2, rules: only('gpt-4o-mini'), credential: lacking },
      ],
    }),
  );
  const before = await seen();
  for (const body of [CHAT, padded(100_000)]) {
    const outcome = await ask(2, body);
    expect([outcome.status, codeOf(outcome)]).toEqual([503, 'SecretNotFound']);
  }
  expect(await seen()).toBe(before);
  expect((await ask(2, CHAT.replace('gpt-4o-mini', 'gpt-4o'))).status).toBe(200);
  expect(await lab.envoyPid()).toBe(pid);
  await lab.enforce(lab.policyOf());
});

test('an engine that stands still refuses in bounded time, also what it has begun; nothing leaves, and afterwards all is well', async () => {
  const before = await seen();
  using begun = open(2, sized(LENGTH));
  await begun.send({ data: CHAT.slice(0, 10) });
  await works();
  const pid = await lab.egressPid();
  process.kill(pid, 'SIGSTOP');
  try {
    const started = performance.now();
    void begun.send({ data: CHAT.slice(10), end: true });
    for (const outcome of await Promise.all([
      begun.outcome,
      ask(2, CHAT),
      ask(1, CHAT),
      ask(2, padded(100_000)),
      ask(2, '', { ':method': 'GET', ':path': '/v1/models' }),
    ]))
      expect([outcome.status, codeOf(outcome)]).toEqual([503, 'EngineUnavailable']);
    expect(performance.now() - started).toBeLessThan(6_000);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await eventually('it answers again', async () => ((await ask(2, CHAT)).status === 200 ? true : undefined));
  expect((await lab.seen()).slice(before).filter(({ body }) => body !== CHAT)).toEqual([]);
  expect(await seen()).toBe(before + 2);
});

test('an engine that dies in the middle of a body refuses it', async () => {
  const before = await seen();
  using begun = open(2, sized(LENGTH));
  await begun.send({ data: CHAT.slice(0, 10) });
  await works();
  process.kill(await lab.egressPid(), 'SIGKILL');
  void begun.send({ data: CHAT.slice(10), end: true });
  const outcome = await begun.outcome;
  expect([outcome.status, codeOf(outcome)]).toEqual([503, 'EngineUnavailable']);
  expect(await seen()).toBe(before + 1);
  await eventually('it answers again', async () => ((await ask(2, CHAT)).status === 200 ? true : undefined), 20_000);
});
