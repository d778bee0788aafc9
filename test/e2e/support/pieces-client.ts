import { createInterface } from 'node:readline';
import { connect as connectH2 } from 'node:http2';
import { connect as connectTls } from 'node:tls';

/**
 * One request, sent piece by piece as stdin says, run inside the namespace of a sandbox. Argument: an Opening as JSON. Each line of
 * stdin is a Piece; what happens is said in lines of JSON on stdout: `{"sent":n}` after each, then the answer (an Outcome).
 */

export interface Opening {
  readonly address: string;
  readonly host: string;
  readonly http: 1 | 2;
  readonly headers: Readonly<Record<string, string>>;
  /** The headers end the request (HTTP/2). */
  readonly ended?: true;
}

export interface Piece {
  readonly data?: string;
  /** HTTP/2: each byte of `data` in a frame of its own. */
  readonly bytewise?: true;
  readonly end?: true;
  /** HTTP/2: trailers end the request. */
  readonly trailers?: Readonly<Record<string, string>>;
  /** The client goes away. */
  readonly leave?: true;
}

export interface Outcome {
  readonly status: number;
  /** HTTP/1.1: all that came. */
  readonly body: string;
  /** The request or its connection was ended without an answer. */
  readonly error?: string;
}

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const over = (outcome: Outcome): never => {
  say(outcome);
  process.exit(0);
};

type Sender = (piece: Piece) => Promise<void> | void;

const over2 = ({ address, host, headers, ended }: Opening): Sender => {
  const session = connectH2(`https://${address}`, { servername: host, rejectUnauthorized: false });
  session.once('error', (error) => over({ status: 0, body: '', error: error.message }));
  const stream = session.request({ ':method': 'POST', ':authority': host, ...headers }, { endStream: ended ?? false, waitForTrailers: true });
  let trailers = {};
  let [status, body] = [0, ''];
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  stream.once('response', (head) => (status = head[':status']!));
  stream.setEncoding('utf8').on('data', (text: string) => (body += text));
  stream.once('error', (error) => over({ status, body, error: error.message }));
  stream.once('close', () => over({ status, body, ...(status === 0 && { error: `ended with ${stream.rstCode}` }) }));
  const write = (text: string): Promise<void> => new Promise((written) => stream.write(text, () => written()));
  return async ({ data = '', bytewise, end, trailers: last, leave }) => {
    if (leave) return session.destroy();
    for (const text of bytewise ? data : [data]) if (text !== '') await write(text);
    if (last) trailers = last;
    if (end || last) stream.end();
  };
};

const over1 = ({ address, host, headers }: Opening): Sender => {
  const socket = connectTls({ host: address, port: 443, servername: host, rejectUnauthorized: false });
  const { ':path': path, ':method': method = 'POST', ...rest } = headers;
  const lines = [`${method} ${path} HTTP/1.1`, `host: ${host}`, ...Object.entries(rest).map(([name, value]) => `${name}: ${value}`)];
  socket.setNoDelay(true).write(`${lines.join('\r\n')}\r\n\r\n`);
  let body = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    body += text;
    const [, status] = /^HTTP\/1\.1 ([2-5]\d\d)/m.exec(body) ?? [];
    if (status && /\}\s*$|\r\n0\r\n\r\n$/.test(body)) over({ status: Number(status), body });
  });
  socket.once('error', (error) => over({ status: 0, body, error: error.message }));
  socket.once('close', () => over({ status: Number(/^HTTP\/1\.1 ([2-5]\d\d)/m.exec(body)?.[1] ?? 0), body, error: 'closed' }));
  return ({ data = '', leave }) => (leave ? void socket.destroy() : void (data !== '' && socket.write(data)));
};

const opening = JSON.parse(process.argv[2]!) as Opening;
const send = (opening.http === 2 ? over2 : over1)(opening);
let sent = 0;
createInterface({ input: process.stdin }).on('line', async (line) => {
  await send(JSON.parse(line) as Piece);
  // After what was written is on its way.
  setImmediate(() => say({ sent: ++sent }));
});
