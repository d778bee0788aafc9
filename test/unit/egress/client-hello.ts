import { randomBytes } from 'node:crypto';

/** Makes TLS client hellos by hand (RFC 8446, 4.1.2), well formed or not. */

export const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);

export const extension = (type: number, content: Uint8Array = Buffer.alloc(0)): Buffer => Buffer.concat([u16(type), u16(content.length), content]);

/** `server_name` with one or more host names. */
export const serverName = (...names: string[]): Buffer => {
  const list = Buffer.concat(names.map((name) => Buffer.concat([Buffer.from([0]), u16(name.length), Buffer.from(name)])));
  return extension(0, Buffer.concat([u16(list.length), list]));
};

/** What TLS 1.3 cannot do without: versions, groups, signatures. */
export const USUAL: readonly Buffer[] = [
  extension(43, Buffer.from([2, 3, 4])),
  extension(10, Buffer.from([0, 2, 0, 29])),
  extension(13, Buffer.from([0, 2, 4, 3])),
];

export const ECH = 0xfe0d;

export const handshake = (type: number, body: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([type, body.length >> 16, (body.length >> 8) & 0xff, body.length & 0xff]), body]);

/** The body of a hello up to its extensions. */
export const HEAD = Buffer.concat([
  Buffer.from([3, 3]),
  randomBytes(32),
  Buffer.from([32]),
  randomBytes(32),
  u16(4),
  u16(0x1301),
  u16(0x1302),
  Buffer.from([1, 0]),
]);

export const clientHello = (extensions: readonly Uint8Array[]): Buffer => {
  const all = Buffer.concat(extensions);
  return handshake(1, Buffer.concat([HEAD, u16(all.length), all]));
};

/** A handshake message in TLS records of at most so many bytes each. */
export const records = (message: Uint8Array, size = 16_384): Buffer => {
  const all: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    all.push(Buffer.concat([Buffer.from([22, 3, 1]), u16(part.length), part]));
  }
  return Buffer.concat(all);
};
