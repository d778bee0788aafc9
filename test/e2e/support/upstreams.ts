/**
 * What sandboxes connect to in the tests of connections, run inside the namespace of the fixtures: TCP that speaks first (5432)
 * and TCP that answers (7000), UDP that answers (both), HTTP with WebSocket (80, 8080), HTTPS (8443 as web.example, 9443 as
 * other.example; the provider has 443; to those who ask for a name with a certificate in the folder, as that). Every connection is a line on standard output.
 */
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { existsSync, readFileSync } from 'node:fs';
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer as createTcp, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { createSecureContext, type SecureContext } from 'node:tls';

const [ip = '', certificates = ''] = process.argv.slice(2);
const say = (what: object): void => void process.stdout.write(`${JSON.stringify(what)}\n`);
const quiet = (socket: { on(event: 'error', listener: () => void): unknown }): void => void socket.on('error', () => {});

for (const port of [5432, 7000]) {
  const socket = createSocket('udp4');
  socket.on('message', (message, { address, port: from }) => socket.send(`got ${message.toString('latin1')}`, from, address));
  socket.bind(port, ip);
}

createTcp((socket) => {
  quiet(socket);
  say({ port: 5432 });
  socket.write('ready\n');
  socket.on('data', (data) => socket.write(`got ${data.toString()}`));
}).listen(5432, ip);

createTcp((socket) => {
  quiet(socket);
  socket.once('data', (data) => {
    say({ port: 7000, said: data.toString('latin1').slice(0, 40) });
    socket.write('got ');
    socket.write(data);
  });
}).listen(7000, ip);

const answer = (port: number) => (request: IncomingMessage, response: ServerResponse) => {
  say({ port, host: request.headers.host, method: request.method, url: request.url, headers: request.headers });
  if (request.url === '/stream') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let n = 0;
    const timer = setInterval(() => response.write(`data: ${n++}\n\n`), 50);
    response.once('close', () => clearInterval(timer));
    return;
  }
  const url = new URL(request.url!, 'http://upstream');
  if (url.pathname === '/grpc') {
    response.writeHead(200, { 'content-type': 'application/grpc' });
    response.addTrailers({ 'grpc-status': '0' });
    return void response.end('frame');
  }
  if (url.pathname === '/bytes') {
    let bytes = 0;
    request.on('data', (chunk: Buffer) => (bytes += chunk.length));
    const mib = Number(url.searchParams.get('mib'));
    response.setHeader('content-type', url.searchParams.get('type') ?? 'application/octet-stream');
    request.on('end', () => Readable.from([`got ${bytes}\n`, ...Array.from({ length: mib }, () => Buffer.alloc(1024 * 1024, 'y'))]).pipe(response));
    return;
  }
  response.writeHead(200, { 'x-clrk-status': '599', 'alt-svc': 'h3=":443"' });
  response.end(`${port} ${request.method} ${request.url}`);
};

const upgrade = (request: IncomingMessage, socket: Socket): void => {
  quiet(socket);
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\nhello`);
};

for (const port of [80, 8080]) createHttp(answer(port)).on('upgrade', upgrade).listen(port, ip);

/** Whoever wants no weak key has to say so itself. */
const WITH_WEAK_KEYS = 'DEFAULT@SECLEVEL=0';

/** The certificate of this name, when there is one. */
const contextOf = (name: string): SecureContext | undefined => {
  const file = `${certificates}/${name}`;
  if (!existsSync(`${file}.pem`)) return undefined;
  return createSecureContext({ cert: readFileSync(`${file}.pem`), key: readFileSync(`${file}.key`), ciphers: WITH_WEAK_KEYS });
};

for (const [port, name] of [
  [8443, 'web.example'],
  [9443, 'other.example'],
] as const) {
  const options = {
    cert: readFileSync(`${certificates}/${name}.pem`),
    key: readFileSync(`${certificates}/${name}.key`),
    allowHTTP1: true,
    ciphers: WITH_WEAK_KEYS,
    SNICallback: (asked: string, done: (error: null, context?: SecureContext) => void) => done(null, contextOf(asked)),
  };
  createSecureServer(options, answer(port) as never)
    .on('upgrade', upgrade as never)
    .on('sessionError', () => {})
    .listen(port, ip);
}
say({ ready: true });
