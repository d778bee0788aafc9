import { RpcError } from '#wire';
import { Refusal, type RequestHead } from './request.ts';

/**
 * Bodies that Envoy sends as they come, together with the headers, so that a request makes one trip to the engine. It does so
 * only with short ones whose length is said (translate/at-once.ts); longer ones it holds itself until they are whole.
 */

export const MAX_SHORT_BODY = 64 * 1024;
/** Each piece costs the engine a message, and HTTP/2 lets an agent send its body byte by byte. */
const MAX_PIECES = 1_024;
/** What the engine holds of bodies that are not whole, of all gateways. */
const MAX_HELD = 64 * 1024 * 1024;
/** What one takes at least, whatever its length. */
const MIN_HELD = 4 * 1024;

interface Holder {
  bytes: number;
  readonly bodies: Set<ShortBody>;
}

/** All that are on their way. Where there is no room left, the sandbox that holds most gives way, so none can shut out the others. */
export class ShortBodies {
  #left: number;
  readonly #holders = new Map<string, Holder>();

  constructor(most = MAX_HELD) {
    this.#left = most;
  }

  /** Begins the body of a request. */
  begin({ gateway, source, contentLength }: RequestHead): ShortBody {
    const length = /^\d+$/.test(contentLength) ? Number(contentLength) : 0;
    if (length < 1 || length > MAX_SHORT_BODY) throw new RpcError('INVALID_ARGUMENT', `a body of "${contentLength}" bytes is not to be sent at once`);
    return new ShortBody(length, `${gateway} ${source}`, this);
  }

  /** Takes room for what has to be held, or refuses it. */
  hold(body: ShortBody): void {
    const bytes = sizeOf(body);
    while (this.#left < bytes) this.#makeRoom(body.source, bytes);
    this.#left -= bytes;
    const holder = this.#holders.getOrInsertComputed(body.source, () => ({ bytes: 0, bodies: new Set() }));
    holder.bytes += bytes;
    holder.bodies.add(body);
  }

  release(body: ShortBody): void {
    const holder = this.#holders.get(body.source);
    if (!holder?.bodies.delete(body)) return;
    this.#left += sizeOf(body);
    holder.bytes -= sizeOf(body);
    if (holder.bodies.size === 0) this.#holders.delete(body.source);
  }

  #makeRoom(source: string, bytes: number): void {
    let most = (this.#holders.get(source)?.bytes ?? 0) + bytes;
    let largest: Holder | undefined;
    for (const holder of this.#holders.values()) {
      if (holder.bytes <= most) continue;
      most = holder.bytes;
      largest = holder;
    }
    if (!largest) throw new Refusal(503, 'GatewayBusy', 'This sandbox has too many requests under way whose bodies are not whole; end some of them first.');
    const [oldest] = largest.bodies;
    oldest!.drop();
  }
}

const sizeOf = ({ length }: ShortBody): number => Math.max(length, MIN_HELD);

/** One of them. Its pieces are copied: each would keep all that was read from the socket with it. */
export class ShortBody implements Disposable {
  readonly length: number;
  /** Whose it is. */
  readonly source: string;
  readonly #all: ShortBodies;
  #bytes: Buffer | undefined;
  #filled = 0;
  #pieces = 0;
  #dropped = false;

  constructor(length: number, source: string, all: ShortBodies) {
    this.length = length;
    this.source = source;
    this.#all = all;
  }

  /** Takes a piece; returns the whole body when it was the last one. */
  add(piece: Uint8Array, last: boolean): Uint8Array | undefined {
    if (this.#dropped) throw new Refusal(503, 'GatewayBusy', 'The gateway had no room left for bodies that are not whole, and this sandbox had most of them.');
    if (++this.#pieces > MAX_PIECES) throw new Refusal(400, 'FragmentedBody', `The body comes in more than ${MAX_PIECES} pieces.`);
    if (this.#filled + piece.byteLength > this.length) throw mismatch();
    if (last && !this.#bytes) return this.#whole(piece);
    if (!this.#bytes) {
      this.#all.hold(this);
      this.#bytes = Buffer.allocUnsafeSlow(this.length);
    }
    this.#bytes.set(piece, this.#filled);
    this.#filled += piece.byteLength;
    return last ? this.#whole(this.#bytes.subarray(0, this.#filled)) : undefined;
  }

  #whole(bytes: Uint8Array): Uint8Array {
    if (bytes.byteLength !== this.length) throw mismatch();
    return bytes;
  }

  /** Frees what it holds; the request is refused when more of it comes. */
  drop(): void {
    this.#dropped = true;
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#bytes = undefined;
    this.#all.release(this);
  }
}

const mismatch = (): Refusal => new Refusal(400, 'ContentLengthMismatch', 'The body is not as long as its content-length says.');
