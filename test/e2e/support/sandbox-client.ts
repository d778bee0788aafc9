/**
 * What a hostile or ordinary agent does on the network, run inside its namespace: one step (JSON as the only argument), one JSON
 * line as the answer. Names, addresses, SNI and Host are chosen apart from each other.
 */
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { connect as connectTcp } from 'node:net';
import { request as requestHttp } from 'node:http';
import { connect as connectH2 } from 'node:http2';
import { request } from 'node:https';
import { Readable } from 'node:stream';
import { connect as connectTls } from 'node:tls';

export interface DnsStep {
  readonly do: 'dns';
  readonly name: string;
  readonly type: 'A' | 'AAAA' | 'TXT';
}

export interface HttpsStep {
  readonly do: 'https';
  readonly address: string;
  readonly port?: number;
  readonly sni: string;
  readonly host?: string;
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** PEM. */
  readonly ca: string;
}

/** Opens a connection, sends the bytes, and says how it ended. */
export interface RawStep {
  readonly do: 'raw';
  readonly address: string;
  readonly port: number;
  /** A character a byte (latin1). */
  readonly send: string;
  /** `send` is hex. */
  readonly hex?: true;
  /** TLS with this server name first. */
  readonly sni?: string;
  /** Done when these bytes have come; else when the other side ends it. */
  readonly until?: string;
}

/** A request in the clear, to an address. */
export interface HttpStep {
  readonly do: 'http';
  readonly address: string;
  readonly port?: number;
  readonly host: string;
  readonly path: string;
}

/** Sends the bytes on so many connections, and reads nothing that comes. */
export interface StallStep {
  readonly do: 'stall';
  readonly address: string;
  readonly port: number;
  readonly send: string;
  readonly connections: number;
  readonly forMs: number;
}

/** Opens a connection and keeps it: says when bytes come, and how and when it ended. */
export interface HoldStep {
  readonly do: 'hold';
  readonly address: string;
  readonly port: number;
  readonly forMs: number;
  readonly send?: string;
}

/** One datagram, and what comes back. */
export interface DatagramStep {
  readonly do: 'datagram';
  readonly address: string;
  readonly port: number;
  readonly send: string;
}

/** A request over HTTP/2; the answer has its trailers among the headers. `mib`: so much of a body. */
export interface Http2Step {
  readonly do: 'h2';
  readonly address: string;
  readonly port: number;
  readonly sni: string;
  readonly path: string;
  readonly mib?: number;
  readonly ca: string;
}

export type Single = DnsStep | HttpsStep | RawStep | HttpStep | HoldStep | DatagramStep | Http2Step | StallStep | PortsStep;

/** Connects to each port of a range and closes again, some at a time. */
export interface PortsStep {
  readonly do: 'ports';
  readonly address: string;
  readonly from: number;
  readonly to: number;
}

/** Several at the same time; the answer has theirs in order. */
export interface ManyStep {
  readonly do: 'many';
  readonly steps: readonly Single[];
}

export type Step = Single | ManyStep;

export interface StepAnswer {
  readonly error?: string;
  readonly addresses?: readonly string[];
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly received?: string;
  /** Of the body. */
  readonly bytes?: number;
  readonly answers?: readonly StepAnswer[];
}

const dns = async ({ name, type }: DnsStep): Promise<StepAnswer> => {
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  resolver.setServers(['198.19.255.3']);
  return { addresses: ((await resolver.resolve(name, type)) as (string | string[])[]).flat() };
};

const https = (step: HttpsStep): Promise<StepAnswer> =>
  new Promise((resolve, reject) => {
    const { address, port = 443, sni, host = sni, method = 'GET', path, headers, body = '', ca } = step;
    const options = {
      host: address,
      port,
      servername: sni,
      method,
      path,
      ca,
      headers: { host, ...headers, 'content-length': Buffer.byteLength(body) },
      timeout: 15_000,
    };
    const call = request(options, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.once('end', () => resolve({ status: answer.statusCode!, headers: answer.headers as Record<string, string>, body: text }));
      answer.once('error', reject);
    });
    call.once('timeout', () => call.destroy(new Error('timeout')));
    call.once('error', reject);
    call.end(body);
  });

const raw = ({ address, port, send, hex, sni, until }: RawStep): Promise<StepAnswer> =>
  new Promise((resolve, reject) => {
    const options = { host: address, port, timeout: 7_000 };
    const socket = sni === undefined ? connectTcp(options) : connectTls({ ...options, servername: sni, rejectUnauthorized: false });
    let received = '';
    socket.setTimeout(7_000, () => socket.destroy(new Error('timeout')));
    socket.once(sni === undefined ? 'connect' : 'secureConnect', () => socket.write(Buffer.from(send, hex ? 'hex' : 'latin1')));
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      if (/\}\}\s*$/.test(received) || (until !== undefined && received.includes(until))) socket.end(); // a whole denial
    });
    socket.once('error', reject);
    socket.once('close', () => resolve({ received }));
  });

const http = ({ address, port = 80, host, path }: HttpStep): Promise<StepAnswer> =>
  new Promise((resolve, reject) => {
    const call = requestHttp({ host: address, port, path, headers: { host }, timeout: 7_000 }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.once('end', () => resolve({ status: answer.statusCode!, headers: answer.headers as Record<string, string>, body: text }));
    });
    call.once('timeout', () => call.destroy(new Error('timeout')));
    call.once('error', reject);
    call.end();
  });

const hold = ({ address, port, forMs, send }: HoldStep): Promise<StepAnswer> =>
  new Promise((resolve) => {
    let received = '';
    const socket = connectTcp({ host: address, port });
    if (send !== undefined) socket.write(send);
    const timer = setTimeout(() => resolve({ received }), forMs);
    const ended = (error: string): void => {
      clearTimeout(timer);
      resolve({ received, error });
    };
    socket.on('data', (chunk) => {
      if (received === '') process.stderr.write('held\n');
      received += chunk.toString('latin1');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => ended(error.code ?? error.message));
    socket.once('close', () => ended('closed'));
  });

const datagram = ({ address, port, send }: DatagramStep): Promise<StepAnswer> =>
  new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => (socket.close(), resolve({ error: 'silence' })), 3_000);
    socket.once('message', (message) => {
      clearTimeout(timer);
      socket.close();
      resolve({ received: message.toString('latin1') });
    });
    socket.once('error', reject);
    // Connected, so that a refusal is told.
    socket.connect(port, address, () => socket.send(send));
  });

const h2 = ({ address, port, sni, path, mib = 0, ca }: Http2Step): Promise<StepAnswer> =>
  new Promise((resolve, reject) => {
    const session = connectH2(`https://${sni}:${port}`, {
      createConnection: () => connectTls({ host: address, port, servername: sni, ca, ALPNProtocols: ['h2'] }),
    });
    session.once('error', reject);
    const stream = session.request({ ':path': path, ':method': mib > 0 ? 'POST' : 'GET', te: 'trailers' });
    let headers: Record<string, string> = {};
    let body = '';
    let bytes = 0;
    stream.once('response', (fields) => (headers = { ...(fields as Record<string, string>) }));
    stream.once('trailers', (fields) => (headers = { ...headers, ...(fields as Record<string, string>) }));
    stream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (body.length < 1024) body += chunk.toString('latin1').slice(0, 1024);
    });
    stream.once('error', reject);
    stream.once('end', () => (session.close(), resolve({ status: Number(headers[':status']), headers, body, bytes })));
    Readable.from(chunksOf(mib)).pipe(stream);
  });

const ports = async ({ address, from, to }: PortsStep): Promise<StepAnswer> => {
  let next = from;
  const dial = async (): Promise<void> => {
    while (next <= to) {
      const socket = connectTcp({ host: address, port: next++ });
      await new Promise<void>((done) =>
        socket
          .once('connect', () => setTimeout(done, 20))
          .once('error', () => done())
          .once('close', () => done()),
      );
      socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: 64 }, dial));
  return {};
};

function* chunksOf(mib: number): Generator<Buffer> {
  const chunk = Buffer.alloc(1024 * 1024, 'x');
  for (let i = 0; i < mib; i++) yield chunk;
}

const failed = (error: NodeJS.ErrnoException): StepAnswer => ({ error: error.code ?? error.message });

const stall = ({ address, port, send, connections, forMs }: StallStep): Promise<StepAnswer> =>
  new Promise((resolve) => {
    for (let n = 0; n < connections; n++) {
      const socket = connectTcp({ host: address, port });
      socket.once('error', () => {});
      socket.once('connect', () => socket.write(send));
    }
    process.stderr.write('stalled\n');
    setTimeout(() => resolve({}), forMs);
  });

const perform = async (step: Step): Promise<StepAnswer> => {
  switch (step.do) {
    case 'many':
      return { answers: await Promise.all(step.steps.map((one) => perform(one).catch(failed))) };
    case 'ports':
      return ports(step);
    case 'h2':
      return h2(step);
    case 'datagram':
      return datagram(step);
    case 'dns':
      return dns(step);
    case 'https':
      return https(step);
    case 'http':
      return http(step);
    case 'hold':
      return hold(step);
    case 'stall':
      return stall(step);
    case 'raw':
      return raw(step);
  }
};

const step = JSON.parse(process.argv[2]!) as Step;
const answer = JSON.stringify(await perform(step).catch(failed));
process.stdout.write(`${answer}\n`, () => process.exit(0));
