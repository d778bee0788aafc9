// Tries every URL in the text it is sent, one after the other, and prints a line for each: what came back, or how it was refused.
//   https://HOST/PATH, http://HOST/PATH   a GET
//   tcp://HOST:PORT                       connects, and waits for a first word of the other side
//   postgres://HOST:PORT                  asks whether the server speaks TLS, as every PostgreSQL client does first
//   udp://HOST:PORT                       sends a line, and waits for an answer
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { json } from 'node:stream/consumers';

const WAIT_MS = 3_000;
/** PostgreSQL's SSLRequest: its length, and a number that stands for it. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

const get = async (url) => {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000), redirect: 'manual' });
  const body = await response.text();
  if (response.ok) return `${response.status}`;
  // A refusal of the gateway is JSON that says why.
  const { error } = body.startsWith('{"error"') ? JSON.parse(body) : {};
  return error?.decision ? `${response.status} ${error.code}: ${error.message}` : `${response.status}`;
};

/** The first bytes the other side says after `request`; undefined when it says nothing for a while. Fails when it ends the connection. */
const firstBytes = ({ hostname, port }, request) =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) });
    const timer = setTimeout(() => finish(() => (connected ? resolve(undefined) : reject(new Error('no answer')))), WAIT_MS);
    let connected = false;
    const finish = (how) => {
      clearTimeout(timer);
      socket.destroy();
      how();
    };
    socket.once('connect', () => {
      connected = true;
      if (request) socket.write(request);
    });
    socket.once('data', (data) => finish(() => resolve(data)));
    socket.once('error', (error) => finish(() => reject(connected ? new Error('connected, then closed') : error)));
    socket.once('close', () => finish(() => reject(new Error('connected, then closed'))));
  });

const text = (bytes) => JSON.stringify(bytes.toString('latin1').trim().slice(0, 80));

const ask = ({ hostname, port }) =>
  new Promise((resolve, reject) => {
    const socket = createSocket(hostname.startsWith('[') ? 'udp6' : 'udp4');
    const timer = setTimeout(() => finish(() => reject(new Error('no answer'))), WAIT_MS);
    const finish = (how) => {
      clearTimeout(timer);
      socket.close();
      how();
    };
    socket.once('message', (data) => finish(() => resolve(`answered ${text(data)}`)));
    socket.once('error', (error) => finish(() => reject(error)));
    socket.connect(Number(port), hostname.replace(/^\[|\]$/g, ''), (error) => (error ? socket.emit('error', error) : socket.send('hello\n')));
  });

const TRIES = {
  'https:': ({ href }) => get(href),
  'http:': ({ href }) => get(href),
  'tcp:': async (url) => {
    const said = await firstBytes(url);
    return said ? `connected, and heard ${text(said)}` : 'connected';
  },
  'postgres:': async (url) => {
    const answer = { S: 'with TLS', N: 'without TLS' }[(await firstBytes(url, SSL_REQUEST))?.toString()];
    return answer ? `a PostgreSQL server, ${answer}` : 'connected, but it is no PostgreSQL server';
  },
  'udp:': ask,
};

const event = await json(process.stdin);
for (const word of String(event.data ?? '')
  .split(/\s+/)
  .filter(Boolean)) {
  try {
    const url = new URL(word);
    console.log(`${word} -> ${await TRIES[url.protocol](url)}`);
  } catch (error) {
    console.log(`${word} -> ${error.cause?.code ?? error.code ?? error.message}`);
  }
}
process.exit(0);
