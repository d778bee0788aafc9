import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { messageOf, type Logger } from '#lib';
import { respond, type Resolve } from './message.ts';

export type { Resolve } from './message.ts';

export interface DnsOptions {
  readonly address: string;
  /** 0 = a free one. */
  readonly port: number;
  readonly resolve: Resolve;
  readonly log: Logger;
}

/** Questions of one sandbox that are answered at the same time; more are dropped, as a full server would. */
const MAX_PER_SOURCE = 32;
/** TCP connections of one sandbox, and how long one may be idle. */
const MAX_CONNECTIONS_PER_SOURCE = 8;
const IDLE_MS = 10_000;

/** Counts what each source has under way. */
class Limit {
  readonly #max: number;
  readonly #used = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  take(source: string): boolean {
    const used = this.#used.get(source) ?? 0;
    if (used >= this.#max) return false;
    this.#used.set(source, used + 1);
    return true;
  }

  give(source: string): void {
    const used = (this.#used.get(source) ?? 1) - 1;
    if (used > 0) this.#used.set(source, used);
    else this.#used.delete(source);
  }
}

/** DNS over UDP and TCP on one port. Whatever arrives, it answers or drops; it never fails. */
export const serveDns = async (options: DnsOptions): Promise<AsyncDisposable & { readonly port: number }> => {
  const { address, resolve, log } = options;
  const questions = new Limit(MAX_PER_SOURCE);
  const connections = new Limit(MAX_CONNECTIONS_PER_SOURCE);

  /** The answer to one packet; undefined when it is dropped. */
  const answer = async (packet: Buffer, source: string): Promise<Buffer | undefined> => {
    if (!questions.take(source)) return undefined;
    try {
      return await respond(packet, source, resolve);
    } catch (error) {
      log.warn('a DNS question failed', { cause: messageOf(error) });
      return undefined;
    } finally {
      questions.give(source);
    }
  };

  const udp = createSocket('udp4');
  udp.on('error', (error) => log.warn('DNS socket', { cause: messageOf(error) }));
  udp.on('message', (packet: Buffer, from: RemoteInfo) => {
    void answer(packet, from.address).then((reply) => reply && udp.send(reply, from.port, from.address, () => {}));
  });

  const open = new Set<Socket>();
  const tcp = createServer((socket) => {
    const source = socket.remoteAddress ?? '';
    if (!connections.take(source)) return void socket.destroy();
    open.add(socket);
    socket
      .on('error', () => {})
      .on('close', () => {
        open.delete(socket);
        connections.give(source);
      });
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    readFrames(socket, (packet) => answer(packet, source));
  });

  udp.bind(options.port, address);
  await once(udp, 'listening');
  const { port } = udp.address();
  tcp.listen(port, address);
  await once(tcp, 'listening');
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await Promise.all([new Promise<void>((done) => udp.close(done)), new Promise((done) => tcp.close(done))]);
    },
  };
};

/** Messages of DNS over TCP: two bytes of length before each (RFC 1035, 4.2.2). One at a time, so a fast sender waits. */
const readFrames = (socket: Socket, answer: (packet: Buffer) => Promise<Buffer | undefined>): void => {
  let buffer: Buffer = Buffer.alloc(0);
  let busy = false;
  const next = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    while (buffer.length >= 2 && buffer.length >= 2 + buffer.readUInt16BE(0)) {
      const end = 2 + buffer.readUInt16BE(0);
      const packet = buffer.subarray(2, end);
      buffer = buffer.subarray(end);
      socket.pause();
      const reply = await answer(packet);
      if (!reply) return void socket.destroy();
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    }
    busy = false;
    socket.resume();
  };
  socket.on('data', (chunk: Buffer) => {
    buffer = Buffer.concat([buffer, chunk]);
    void next();
  });
};
