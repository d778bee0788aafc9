import { answerTo, headerTo, parseQuestion } from './wire.ts';

/** What `Names` of `egress` answers. */
export interface Resolved {
  readonly rcode: string;
  /** IPv4. */
  readonly addresses: readonly string[];
  /** Of a reverse question: the name. */
  readonly pointer?: string;
  readonly ttl: number;
}

/** Where questions go: `Names` of `egress`. */
export type Resolve = (question: { readonly source: string; readonly name: string; readonly type: string }) => Promise<Resolved>;

const FAILED: Resolved = { rcode: 'SERVFAIL', addresses: [], ttl: 0 };

/**
 * The answer to one DNS message; undefined for what is no question (never answer an answer). Exactly one question of class IN
 * is taken, whatever else the message holds. No answer is longer than 512 bytes, so none is ever truncated.
 */
export const respond = async (packet: Buffer, source: string, resolve: Resolve): Promise<Buffer | undefined> => {
  if (packet.length < 12 || (packet[2]! & 0x80) !== 0) return undefined;
  if ((packet[2]! & 0x78) !== 0) return headerTo(packet, 'NOTIMP');
  const question = parseQuestion(packet);
  if (!question) return headerTo(packet, 'FORMERR');
  if (question.edns && question.edns.version > 0) return answerTo(packet, question, { ...FAILED, rcode: 'BADVERS' });
  if (question.class !== 'IN') return answerTo(packet, question, { ...FAILED, rcode: 'REFUSED' });
  const { name, type } = question;
  return answerTo(packet, question, await resolve({ source, name, type }).catch(() => FAILED));
};
