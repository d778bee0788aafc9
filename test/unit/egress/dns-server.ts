import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { AUTHORITATIVE_ANSWER, decode, encode, RECURSION_AVAILABLE, streamDecode, streamEncode, TRUNCATED_RESPONSE, type Answer } from 'dns-packet';

export interface Reply {
  /** 0 = NOERROR, 2 = SERVFAIL, 3 = NXDOMAIN. */
  readonly rcode?: number;
  readonly answers?: readonly Answer[];
  /** Say nothing at all. */
  readonly silent?: boolean;
}

export interface DnsServer extends AsyncDisposable {
  /** `host:port` */
  readonly address: string;
  /** Every question, `A name`; with ` tcp` when it came that way. */
  readonly asked: string[];
}

/** A name server, UDP and TCP; on a free port of loopback by default. Answers of more than 1,232 bytes are truncated over UDP, as a real one does. */
export const serveNames = async (
  reply: (name: string, type: string) => Reply | Promise<Reply>,
  { host = '127.0.0.1', port: at = 0 } = {},
): Promise<DnsServer> => {
  const asked: string[] = [];
  const answer = async (packet: Buffer, tcp: boolean): Promise<Buffer | undefined> => {
    const { id = 0, questions = [] } = tcp ? streamDecode(packet) : decode(packet);
    const { name, type } = questions[0]!;
    asked.push(`${type} ${name}${tcp ? ' tcp' : ''}`);
    const { rcode = 0, answers = [], silent } = await reply(name.toLowerCase(), type);
    if (silent) return undefined;
    const whole = { id, type: 'response' as const, flags: AUTHORITATIVE_ANSWER | RECURSION_AVAILABLE | rcode, questions, answers: [...answers] };
    if (tcp) return streamEncode(whole);
    const bytes = encode(whole);
    return bytes.length <= 1232 ? bytes : encode({ ...whole, flags: whole.flags | TRUNCATED_RESPONSE, answers: [] });
  };
  let udp: ReturnType<typeof createSocket>;
  const open = new Set<Socket>();
  const tcp = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {}).on('close', () => open.delete(socket));
    let buffer: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      if (buffer.length < 2 || buffer.length < 2 + buffer.readUInt16BE(0)) return;
      void answer(buffer, true).then((bytes) => bytes && socket.write(bytes));
    });
  });
  // A port that was free for one protocol may be taken for the other.
  for (let tries = 1; ; tries++) {
    tcp.listen(at, host);
    await once(tcp, 'listening');
    udp = createSocket('udp4');
    try {
      udp.bind((tcp.address() as AddressInfo).port, host);
      await once(udp, 'listening');
      break;
    } catch (error) {
      if (at !== 0 || tries === 10) throw error;
      udp.close();
      await new Promise((done) => tcp.close(done));
    }
  }
  const { port } = udp.address();
  udp.on('message', (packet, from) => void answer(packet, false).then((bytes) => bytes && udp.send(bytes, from.port, from.address, () => {})));
  return {
    address: `${host}:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await Promise.all([new Promise<void>((done) => udp.close(done)), new Promise((done) => tcp.close(done))]);
    },
  };
};

export const a = (name: string, data: string, ttl = 60): Answer => ({ type: 'A', name, data, ttl, class: 'IN' });
export const aaaa = (name: string, data: string, ttl = 60): Answer => ({ type: 'AAAA', name, data, ttl, class: 'IN' });
export const cname = (name: string, data: string, ttl = 60): Answer => ({ type: 'CNAME', name, data, ttl, class: 'IN' });
