import type { Resolved } from './message.ts';

/** Messages of DNS as bytes (RFC 1035, 4.1): only what a question and our answers to it need, nothing else is looked at. */

const RCODE: Readonly<Record<string, number>> = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 };
const TYPE: Readonly<Record<string, number>> = { A: 1, PTR: 12, AAAA: 28, OPT: 41 };
const TYPE_NAME = new Map(Object.entries(TYPE).map(([name, value]) => [value, name]));
const IN = 1;

const RESPONSE = 0x8000;
const AUTHORITATIVE = 0x0400;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;

const HEADER = 12;
/** What we say of the datagrams we take (DNS flag day 2020). */
const PAYLOAD = 1232;
/** A pointer to the name of the question. */
const QUESTION_NAME = 0xc000 | HEADER;

export interface WireQuestion {
  /** Labels joined by dots; a label that holds what is no part of a host name (a dot, a space, a byte above 126) has it as `\ddd`. */
  readonly name: string;
  /** `A`, `AAAA`, `PTR`, else `TYPE<number>`. */
  readonly type: string;
  readonly class: string;
  /** The question as it came, with its spelling (0x20): it is repeated byte by byte. */
  readonly bytes: Buffer;
  /** What an OPT record of the asker says (RFC 6891). */
  readonly edns?: { readonly version: number };
}

const textOf = (label: Buffer): string =>
  [...label]
    .map((byte) => (byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c ? String.fromCharCode(byte) : `\\${`${byte}`.padStart(3, '0')}`))
    .join('');

/** The one question of a message. Undefined when it is cut, its name is longer than 255 bytes or points elsewhere. */
export const parseQuestion = (packet: Buffer): WireQuestion | undefined => {
  if (packet.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = HEADER;
  for (;;) {
    const length = packet[at];
    if (length === undefined || length > 63) return undefined;
    at++;
    if (length === 0) break;
    if (at + length > packet.length || at + length - HEADER > 254) return undefined;
    labels.push(textOf(packet.subarray(at, at + length)));
    at += length;
  }
  if (at + 4 > packet.length) return undefined;
  const [type, of] = [packet.readUInt16BE(at), packet.readUInt16BE(at + 2)];
  const end = at + 4;
  const edns = ednsOf(packet, end);
  return {
    name: labels.join('.'),
    type: TYPE_NAME.get(type) ?? `TYPE${type}`,
    class: of === IN ? 'IN' : `CLASS${of}`,
    bytes: packet.subarray(HEADER, end),
    ...(edns && { edns }),
  };
};

/** The OPT record of a question: the first of the additional ones, as every resolver sends it. Elsewhere it is not looked for. */
const ednsOf = (packet: Buffer, at: number): WireQuestion['edns'] => {
  const [answers, authorities, additional] = [packet.readUInt16BE(6), packet.readUInt16BE(8), packet.readUInt16BE(10)];
  if (answers + authorities > 0 || additional === 0 || at + 11 > packet.length) return undefined;
  return packet[at] === 0 && packet.readUInt16BE(at + 1) === TYPE['OPT'] ? { version: packet[at + 6]! } : undefined;
};

const header = (packet: Buffer, rcode: number, questions: number, answers: number, additional: number): Buffer => {
  const bytes = Buffer.alloc(HEADER);
  packet.copy(bytes, 0, 0, 2);
  const desired = packet.readUInt16BE(2) & RECURSION_DESIRED;
  bytes.writeUInt16BE(RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | desired | (rcode & 15), 2);
  bytes.writeUInt16BE(questions, 4);
  bytes.writeUInt16BE(answers, 6);
  bytes.writeUInt16BE(additional, 10);
  return bytes;
};

const record = (type: number, ttl: number, data: Buffer): Buffer => {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(QUESTION_NAME, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(IN, 4);
  head.writeUInt32BE(ttl, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
};

const nameBytes = (name: string): Buffer =>
  Buffer.concat([...name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])), Buffer.from([0])]);

const optRecord = (rcode: number): Buffer => {
  const bytes = Buffer.alloc(11);
  bytes.writeUInt16BE(TYPE['OPT']!, 1);
  bytes.writeUInt16BE(PAYLOAD, 3);
  bytes[5] = rcode >> 4;
  return bytes;
};

/** A header alone, for a message whose question cannot be repeated. */
export const headerTo = (packet: Buffer, rcode: string): Buffer => header(packet, RCODE[rcode]!, 0, 0, 0);

/** The whole answer to a question. */
export const answerTo = (packet: Buffer, { bytes, edns }: WireQuestion, { rcode, addresses, pointer, ttl }: Resolved): Buffer => {
  const code = RCODE[rcode] ?? RCODE['SERVFAIL']!;
  const answers = [
    ...addresses.map((address) => record(TYPE['A']!, ttl, Buffer.from(address.split('.').map(Number)))),
    ...(pointer ? [record(TYPE['PTR']!, ttl, nameBytes(pointer))] : []),
  ];
  return Buffer.concat([header(packet, code, 1, answers.length, edns ? 1 : 0), bytes, ...answers, ...(edns ? [optRecord(code)] : [])]);
};
