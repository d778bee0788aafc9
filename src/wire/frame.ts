import type { Http2Stream } from 'node:http2';
import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { RpcError } from './status.ts';

/** What client and server share of gRPC on HTTP/2: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */

export const pathOf = (service: DescService, method: DescMethod): string => `/${service.typeName}/${method.name}`;

/** Longest message that is taken. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const PREFIX_BYTES = 5;
export const MIB = 1024 * 1024;

/** A message with its prefix: a zero for "not compressed", and its length. */
export const frameOf = (message: Uint8Array): Buffer => {
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + message.byteLength);
  frame[0] = 0;
  frame.writeUInt32BE(message.byteLength, 1);
  frame.set(message, PREFIX_BYTES);
  return frame;
};

/** Takes chunks as they come and gives whole messages. What comes after one that cannot be taken is thrown away. */
export const frames = (take: (message: Uint8Array) => void): ((chunk: Buffer) => void) => {
  let parts: Buffer[] = [];
  let held = 0;
  /** Bytes until there is something to do: a prefix, then the message behind it. */
  let needed = PREFIX_BYTES;
  let broken = false;
  return (chunk) => {
    if (broken) return;
    parts.push(chunk);
    held += chunk.byteLength;
    if (held < needed) return;
    let rest = parts.length === 1 ? chunk : Buffer.concat(parts, held);
    parts = [];
    broken = true; // unless this comes to its end
    for (;;) {
      needed = rest.byteLength < PREFIX_BYTES ? PREFIX_BYTES : PREFIX_BYTES + lengthOf(rest);
      if (rest.byteLength < needed) break;
      take(rest.subarray(PREFIX_BYTES, needed));
      rest = rest.subarray(needed);
    }
    broken = false;
    if (rest.byteLength > 0) parts.push(rest);
    held = rest.byteLength;
  };
};

const lengthOf = (frame: Buffer): number => {
  const length = frame.readUInt32BE(1);
  if (frame[0] !== 0) throw new RpcError('UNIMPLEMENTED', 'compressed messages are not understood');
  if (length > MAX_MESSAGE_BYTES) throw new RpcError('RESOURCE_EXHAUSTED', `a message of ${length} bytes is too large`);
  return length;
};

/** Resolves when a stream takes more, or never will. */
export const drained = (stream: Http2Stream): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
