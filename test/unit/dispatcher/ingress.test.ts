import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '#lib';
import { startIngress } from '#trigger';
import { attachedWorker, remove, send, Stack, type HttpAnswer, type Worker } from './kit.ts';

/** The ingress and those it must not answer, on raw sockets where an HTTP client would not let one. */

let stack: Stack;
let worker: Worker;
let before: number;
beforeAll(async () => {
  const ingress = { headersTimeout: 150, requestTimeout: 300, connectionsCheckingInterval: 30, slowReaderMs: 150 };
  stack = await Stack.start({ maxInFlightBytes: 1024 * 1024, ingress });
});
beforeEach(async () => {
  worker = await attachedWorker(stack);
  before = stack.journal.list({}).length;
});
afterEach(() => worker.kill());
afterAll(async () => {
  await stack[Symbol.asyncDispose]();
  remove(stack.dir);
});

/** Nothing was accepted since the test began. */
const nothingRan = (): void => expect(stack.journal.list({}).length).toBe(before);

const open = async (text: string | Uint8Array): Promise<Socket> => {
  const socket = connect(stack.port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write(text);
  return socket;
};

/** What is answered until the other side closes; the request says `Connection: close`, or is bad. */
const raw = async (text: string | Uint8Array): Promise<string> => {
  const socket = await open(text);
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
  await once(socket, 'close');
  return answer;
};
const head = (line: string, ...headers: string[]): string =>
  `${[line, ...headers.map((one) => one.replaceAll('HOST', `127.0.0.1:${stack.port}`)), 'Connection: close'].join('\r\n')}\r\n\r\n`;
const POST = 'POST /default/hello HTTP/1.1';

const served = async (answering: Promise<HttpAnswer>): Promise<void> => {
  worker.update((await worker.next('assignment')).invocation, 'Succeeded');
  expect((await answering).status).toBe(200);
};

describe('which agent', () => {
  test('is named by the path, or at / by X-Clrk-TaskAgent', async () => {
    for (const path of ['/', '/?x=1', '/default/hello']) {
      const answering = stack.post(path, 'x', { 'x-clrk-taskagent': 'default/hello' });
      const { agent, invocation } = await worker.next('assignment');
      expect(agent).toBe('hello');
      worker.update(invocation, 'Succeeded');
      expect((await answering).status).toBe(200);
    }
    expect(await stack.post('/', '', { 'x-clrk-taskagent': 'default/nobody' })).toMatchObject({ status: 404, json: { error: { code: 'AgentNotFound' } } });
  });

  test('that names none, wrongly, or two, is 400 and says how to name one', async () => {
    const refused = async (path: string, headers: Record<string, string>, reason: string): Promise<void> => {
      const answer = await stack.post(path, '', headers);
      expect(answer, JSON.stringify(headers)).toMatchObject({ status: 400, json: { error: { code: 'BadTrigger', reason } } });
      expect(answer.json.error.message).toMatch(/NAMESPACE\/AGENT|only one of them/);
    };
    await refused('/', {}, 'TargetMissing');
    for (const value of [
      '',
      'hello',
      'default/',
      '/hello',
      'default/hello/x',
      'Default/hello',
      'default/hello, default/other',
      ' default / hello',
      '../hello',
      'default/-x',
    ]) {
      await refused('/', { 'x-clrk-taskagent': value }, 'TargetInvalid');
    }
    await refused('/default/hello', { 'x-clrk-taskagent': 'default/other' }, 'TargetMismatch');
    const twice = await raw(head('POST / HTTP/1.1', 'Host: HOST', 'X-Clrk-TaskAgent: default/hello', 'X-Clrk-TaskAgent: default/hello'));
    expect(twice).toMatch(/^HTTP\/1\.1 400[^]*TargetInvalid/);
    nothingRan();
  });

  test('is not at other paths, nor triggered by other methods', async () => {
    for (const path of ['/default', '/default/hello/', '/default/Hello', '/default/../hello', '/a/b/c', '//default/hello', '/%64efault/hello']) {
      expect(await stack.post(path), path).toMatchObject({ status: 404, json: { error: { code: 'PathNotFound' } } });
    }
    for (const [method, path] of [
      ['GET', '/'],
      ['GET', '/default/hello'],
      ['PUT', '/default/hello'],
      ['OPTIONS', '/default/hello'],
    ] as const) {
      const answer = await send(stack.port, { method, path });
      expect(answer).toMatchObject({ status: 405, json: { error: { code: 'MethodNotAllowed' } } });
      expect(answer.headers.allow).toBe('POST');
    }
    expect(await raw(head('POST http://evil.example/default/hello HTTP/1.1', 'Host: HOST'))).toMatch(/^HTTP\/1\.1 404/);
    expect(await raw(head('OPTIONS * HTTP/1.1', 'Host: HOST'))).toMatch(/^HTTP\/1\.1 404/);
    expect(await raw(head('CONNECT 127.0.0.1:80 HTTP/1.1', 'Host: HOST'))).not.toMatch(/^HTTP\/1\.1 2/);
    nothingRan();
  });
});

describe('browsers', () => {
  test('a Host that is not this ingress is refused, however it is written', async () => {
    const { port } = stack;
    const hosts = [
      'evil.example',
      `evil.example:${port}`,
      `127.0.0.1:${port + 1}`,
      '127.0.0.1',
      `localhost.:${port}`,
      `127.1:${port}`,
      `0.0.0.0:${port}`,
      `2130706433:${port}`,
    ];
    hosts.push(
      `[::ffff:127.0.0.1]:${port}`,
      `[::]:${port}`,
      `[::1%25lo]:${port}`,
      `x@127.0.0.1:${port}`,
      `127.0.0.1:${port}, evil.example`,
      `127.0.0.1:0${port}`,
      `127.0.0.1:${port}/`,
    );
    for (const host of hosts) expect(await raw(head(POST, `Host: ${host}`)), host).toMatch(/^HTTP\/1\.1 403[^]*ForeignHost/);
    expect(await raw(head(POST, 'Host:'))).toMatch(/^HTTP\/1\.1 40[03]/);
    expect(await raw(head(POST))).toMatch(/^HTTP\/1\.1 400/);
    expect(await raw(head('POST /default/hello HTTP/1.0'))).toMatch(/^HTTP\/1\.1 403[^]*ForeignHost/);
    expect(await raw(head(POST, 'Host: HOST', 'Host: evil.example'))).toMatch(/^HTTP\/1\.1 40[03]/);
    expect(await raw(head(POST, 'Host: HOST', 'Host: HOST'))).toMatch(/^HTTP\/1\.1 40[03]/);
    nothingRan();
    for (const host of ['localhost', '[::1]', 'LOCALHOST', '127.0.0.1']) await served(stack.post('/default/hello', '', { host: `${host}:${port}` }));
  });

  test.each([
    ['another origin', { origin: 'https://evil.example' }],
    ['no origin that could be named', { origin: 'null' }],
    ['another port of this machine', { origin: 'http://localhost:3000', 'sec-fetch-site': 'same-site' }],
    ['its own name with TLS', { origin: 'https://127.0.0.1:PORT' }],
    ['two origins', { origin: 'http://127.0.0.1:PORT http://evil.example' }],
    ['an empty origin', { origin: '' }],
    ['cross-site', { 'sec-fetch-site': 'cross-site' }],
    ['same-site, own origin', { 'sec-fetch-site': 'same-site', origin: 'http://localhost:PORT' }],
    ['a word nobody knows', { 'sec-fetch-site': 'other' }],
    ['an old browser: a page', { referer: 'http://evil.example/page' }],
    ['an old browser: a referrer that is none', { referer: 'about:blank' }],
    ['an old browser: a form', { 'upgrade-insecure-requests': '1', 'content-type': 'application/x-www-form-urlencoded' }],
  ])('a page of another site is refused: %s', async (_, headers: Record<string, string>) => {
    const own = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replaceAll('PORT', String(stack.port))]));
    const answer = await stack.post('/default/hello', 'a=b', own);
    expect(answer).toMatchObject({ status: 403, json: { error: { code: 'CallerRefused', reason: 'CrossSite' } } });
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    nothingRan();
  });

  test('a preflight is refused without a word that would allow what follows', async () => {
    const headers = { origin: 'http://evil.example', 'access-control-request-method': 'POST', 'access-control-request-private-network': 'true' };
    const answer = await send(stack.port, { method: 'OPTIONS', path: '/default/hello', headers });
    expect(answer.status).toBe(403);
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  test('a WebSocket is not opened', async () => {
    const upgrade = ['Host: HOST', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
    for (const extra of [[], ['Origin: http://evil.example']]) {
      const text = ['GET /default/hello HTTP/1.1', 'Connection: Upgrade, close', ...upgrade, ...extra]
        .join('\r\n')
        .replaceAll('HOST', `127.0.0.1:${stack.port}`);
      expect(await raw(`${text}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 40[35]/);
    }
    nothingRan();
  });

  test('its own pages, and those who are no browser, are served', async () => {
    for (const headers of [
      {},
      { 'sec-fetch-site': 'none' },
      { 'sec-fetch-site': 'same-origin', origin: 'http://127.0.0.1:PORT', referer: 'http://127.0.0.1:PORT/' },
    ]) {
      const own = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replaceAll('PORT', String(stack.port))]));
      await served(stack.post('/default/hello', '', own));
    }
  });
});

describe('requests two parties may read differently', () => {
  const CHUNKED = 'Transfer-Encoding: chunked';
  test.each([
    ['a length and chunks', [POST, 'Host: HOST', 'Content-Length: 4', CHUNKED], '0\r\n\r\n'],
    ['chunks and a length', [POST, 'Host: HOST', CHUNKED, 'Content-Length: 4'], '0\r\n\r\n'],
    ['two lengths', [POST, 'Host: HOST', 'Content-Length: 4', 'Content-Length: 5'], 'abcde'],
    ['two lengths in one', [POST, 'Host: HOST', 'Content-Length: 4, 4'], 'abcd'],
    ['a length with a sign', [POST, 'Host: HOST', 'Content-Length: +4'], 'abcd'],
    ['a length that overflows', [POST, 'Host: HOST', 'Content-Length: 18446744073709551620'], 'abcd'],
    ['chunked, but not last', [POST, 'Host: HOST', 'Transfer-Encoding: chunked, identity'], '0\r\n\r\n'],
    ['a coding nobody knows', [POST, 'Host: HOST', 'Transfer-Encoding: xchunked'], '0\r\n\r\n'],
    ['a space before the colon', [POST, 'Host: HOST', 'Content-Length : 4'], 'abcd'],
    ['a folded header', [POST, 'Host: HOST', 'X-A: b\r\n c'], ''],
    ['NUL in a header', [POST, 'Host: HOST', 'X-A: b\0c'], ''],
    ['a chunk size that is none', [POST, 'Host: HOST', CHUNKED], '0x4\r\nabcd\r\n0\r\n\r\n'],
    ['a chunk longer than it says', [POST, 'Host: HOST', CHUNKED], '3\r\nabcd\r\n0\r\n\r\n'],
    ['HTTP/2', ['PRI * HTTP/2.0', 'Host: HOST'], 'SM\r\n\r\n'],
    ['a name with a space', [`POST  /default/hello HTTP/1.1`, 'Host: HOST', 'X A: b'], ''],
  ])('%s: refused, and nothing runs', async (_, [line, ...headers], body) => {
    const answer = await raw(head(line!, ...headers) + body);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    nothingRan();
  });

  test('lines that end with a bare LF: refused, and nothing runs', async () => {
    expect(await raw(head(POST, 'Host: HOST', 'X-A: b').replace('X-A: b\r\n', 'X-A: b\n'))).toMatch(/^HTTP\/1\.1 400 /);
    nothingRan();
  });

  test('more headers than 100, or longer ones than 16 KiB, are refused rather than ignored', async () => {
    const many = Array.from({ length: 100 }, (_, i) => `X-${i}: 1`);
    expect(await raw(head(POST, 'Host: HOST', ...many, 'Origin: http://evil.example'))).toMatch(/^HTTP\/1\.1 400[^]*TooManyHeaders/);
    expect(await raw(head(POST, 'Host: HOST', `X-Big: ${'x'.repeat(20_000)}`))).toMatch(/^HTTP\/1\.1 431/);
    nothingRan();
  });

  test('a second request before the first is answered ends the connection, and does not run', async () => {
    const one = `${POST}\r\nHost: 127.0.0.1:${stack.port}\r\nContent-Length: 0\r\n\r\n`;
    const closing = raw(one + one + one);
    const { invocation } = await worker.next('assignment');
    expect(await closing).toBe('');
    expect(await worker.next('cancel')).toMatchObject({ invocation, reason: 'CallerGone' });
    worker.update(invocation, 'Failed', { reason: 'CallerGone' });
    expect(stack.journal.list({}).length).toBe(before + 1);
  });
});

describe('slow callers', () => {
  test('one that sends its headers or its body slowly is cut off, and nothing runs', async () => {
    expect(await raw(`${POST}\r\nHost: 127.0.0.1:${stack.port}\r\nX-Slow: `)).toMatch(/^HTTP\/1\.1 408 /);
    expect(await raw(head(POST, 'Host: HOST', 'Content-Length: 100') + 'x')).toMatch(/^HTTP\/1\.1 408 |^$/);
    nothingRan();
  });

  test('bodies beyond what may be held are refused, in whatever pieces they come; the room is free again when they have gone', async () => {
    const half = Buffer.alloc(600 * 1024, 'a');
    const slow = await open(head(POST, 'Host: HOST', `Content-Length: ${half.length + 1}`));
    slow.write(half);
    while (stack.invoker.inFlight.bytes < half.length) await new Promise((resolve) => setImmediate(resolve));
    // A second one is not held while it comes, and is told when it is there.
    const second = await open(head(POST, 'Host: HOST', `Content-Length: ${half.length + 1}`));
    second.write(half);
    const refused = await stack.post('/default/hello', half);
    expect(refused).toMatchObject({ status: 503, json: { error: { code: 'Overloaded', reason: 'Overloaded' } } });
    expect(refused.headers['retry-after']).toBe('1');
    const pieces = '1\r\na\r\n'.repeat(1_000);
    const small = raw(`${head(POST, 'Host: HOST', 'Transfer-Encoding: chunked')}${pieces}0\r\n\r\n`);
    const { invocation } = await worker.next('assignment');
    worker.update(invocation, 'Succeeded');
    expect(await small).toMatch(/^HTTP\/1\.1 200 /);
    expect(stack.invoker.inFlight.bytes).toBeLessThanOrEqual(1024 * 1024);
    const told = once(second, 'data');
    second.write('a');
    expect(String((await told)[0])).toMatch(/^HTTP\/1\.1 503 /);
    slow.destroy();
    await once(slow, 'close');
    while (stack.invoker.inFlight.bytes > 0) await new Promise((resolve) => setImmediate(resolve));
    await served(stack.post('/default/hello', half));
    expect(stack.journal.list({}).length).toBe(before + 2);
  });

  test('one that takes nothing of a long answer is cut off, and its run ends', async () => {
    const socket = await open(head(POST, 'Host: HOST'));
    socket.pause();
    const { invocation } = await worker.next('assignment');
    worker.update(invocation, 'Running');
    const chunk = Buffer.alloc(64 * 1024, 'a');
    let credit = 1024 * 1024;
    // Sends what there is credit for until the dispatcher cancels the run.
    const cancelled = (async () => {
      for (;;) {
        for (; credit >= chunk.length; credit -= chunk.length) worker.output(invocation, chunk);
        const message = await worker.any();
        if (message.case === 'credit') credit += message.value.bytes;
        else if (message.case === 'cancel') return message.value;
      }
    })();
    expect(await cancelled).toMatchObject({ invocation, reason: 'CallerGone' });
    worker.update(invocation, 'Failed', { reason: 'CallerGone' });
    expect(await stack.until({ id: invocation }, ({ phase }) => phase === 'Failed')).toMatchObject({ reason: 'CallerGone' });
    socket.destroy();
  });

  test('what counted for an answer is free again when it has left', async () => {
    while (stack.invoker.inFlight.bytes > 0) await new Promise((resolve) => setImmediate(resolve));
    const answering = stack.post('/default/hello');
    const { invocation } = await worker.next('assignment');
    worker.output(invocation, Buffer.alloc(900 * 1024, 'a'));
    worker.update(invocation, 'Succeeded');
    expect((await answering).bytes).toBe(900 * 1024);
    while (stack.invoker.inFlight.bytes > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});

test('on the port of last time when it is free, else on another', async () => {
  const { invoker } = stack;
  const again = await startIngress({ invoker, preferredPort: stack.port, log: silentLogger });
  expect(again.port).not.toBe(stack.port);
  expect(again.port).toBeGreaterThan(0);
  const { port } = again;
  await again[Symbol.asyncDispose]();
  await using last = await startIngress({ invoker, preferredPort: port, log: silentLogger });
  expect(last.port).toBe(port);
});
