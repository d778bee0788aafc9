import { AUTHORITATIVE_ANSWER, decode, encode, RECURSION_AVAILABLE, RECURSION_DESIRED, TRUNCATED_RESPONSE, type Packet } from 'dns-packet';

/** Where questions go: `Names` of `egress`. */
export type Resolve = (question: { readonly source: string; readonly name: string; readonly type: string }) => Promise<{
  readonly rcode: string;
  readonly addresses: readonly string[];
  readonly ttl: number;
}>;

const RCODE: Readonly<Record<string, number>> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 };

/** Header alone, for a packet whose question cannot be repeated. */
const bare = (id: number, rcode: string): Buffer => encode({ id, type: 'response', flags: RECURSION_AVAILABLE | RCODE[rcode]!, questions: [] });

const parse = (packet: Buffer): Packet | undefined => {
  try {
    return decode(packet);
  } catch {
    return undefined;
  }
};

/**
 * The answer to one DNS message, of at most `maxBytes`; undefined for what is no question (never answer an answer). Exactly one
 * question of class IN is taken; anything else in the message is ignored.
 */
export const respond = async (packet: Buffer, source: string, maxBytes: number, resolve: Resolve): Promise<Buffer | undefined> => {
  if (packet.length < 12 || (packet[2]! & 0x80) !== 0) return undefined;
  const id = packet.readUInt16BE(0);
  if ((packet[2]! & 0x78) !== 0) return bare(id, 'NOTIMP');
  // Records after the question are not looked at, so they are not parsed either.
  if (packet.readUInt16BE(4) !== 1) return bare(id, 'FORMERR');
  const head = Buffer.from(packet);
  head.fill(0, 6, 12);
  const question = parse(head)?.questions?.[0];
  if (!question || typeof question.name !== 'string') return bare(id, 'FORMERR');
  if (question.class !== undefined && question.class !== 'IN') return bare(id, 'REFUSED');
  const { rcode, addresses, ttl } = await resolve({ source, name: question.name, type: question.type }).catch(() => ({
    rcode: 'SERVFAIL',
    addresses: [],
    ttl: 0,
  }));
  const flags = AUTHORITATIVE_ANSWER | RECURSION_AVAILABLE | (packet[2]! & 1 ? RECURSION_DESIRED : 0) | (RCODE[rcode] ?? RCODE['SERVFAIL']!);
  const reply = { id, type: 'response', flags, questions: [question] } satisfies Packet;
  try {
    const whole = encode({ ...reply, answers: addresses.map((data) => ({ type: 'A', class: 'IN', name: question.name, ttl, data })) });
    return whole.length <= maxBytes ? whole : encode({ ...reply, flags: flags | TRUNCATED_RESPONSE });
  } catch {
    return bare(id, 'FORMERR'); // a name or type that can be read but not written
  }
};
