import type { IncomingMessage, ServerResponse } from 'node:http';
import type { InFlight } from './in-flight.ts';
import { MAX_BODY_BYTES } from './limits.ts';

/** How much of a body that is not taken is read and thrown away, so that its sender sees the answer and not a reset. */
const MAX_DRAINED_BYTES = 4 * MAX_BODY_BYTES;
const FIRST_BYTES = 1024;

/** A body so far, in one piece: what is kept of it does not depend on the pieces it came in. Its memory is counted. */
class Held implements Disposable {
  readonly #inFlight: InFlight;
  #buffer = Buffer.alloc(0);
  #size = 0;

  constructor(inFlight: InFlight) {
    this.#inFlight = inFlight;
  }

  /** False when there is no memory for it. */
  push(chunk: Uint8Array): boolean {
    const size = this.#size + chunk.byteLength;
    if (size > this.#buffer.byteLength) {
      const capacity = Math.min(Math.max(size, 2 * this.#buffer.byteLength, FIRST_BYTES), Math.max(size, MAX_BODY_BYTES));
      if (!this.#inFlight.take(capacity - this.#buffer.byteLength)) return false;
      const grown = Buffer.allocUnsafeSlow(capacity);
      grown.set(this.#buffer.subarray(0, this.#size));
      this.#buffer = grown;
    }
    this.#buffer.set(chunk, this.#size);
    this.#size = size;
    return true;
  }

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#size);
  }

  [Symbol.dispose](): void {
    this.#inFlight.release(this.#buffer.byteLength);
    this.#buffer = Buffer.alloc(0);
    this.#size = 0;
  }
}

/** The body of a request, or why it is not taken. Rejects when the caller goes away. */
export const readBody = async (request: IncomingMessage, response: ServerResponse, inFlight: InFlight): Promise<Uint8Array | 'TooLarge' | 'Overloaded'> => {
  const announced = Number(request.headers['content-length'] ?? 0);
  const waits = request.headers.expect?.toLowerCase() === '100-continue';
  if (announced > MAX_BODY_BYTES && (waits || announced > MAX_DRAINED_BYTES)) {
    response.shouldKeepAlive = false;
    return 'TooLarge';
  }
  if (waits) response.writeContinue();
  // Ends with this function: whoever takes the body counts it then, in the same turn.
  using held = new Held(inFlight);
  let size = 0;
  let refused: 'TooLarge' | 'Overloaded' | undefined;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > MAX_DRAINED_BYTES) {
      response.shouldKeepAlive = false;
      return 'TooLarge';
    }
    if (size > MAX_BODY_BYTES) refused = 'TooLarge';
    else if (refused || held.push(chunk)) continue;
    else refused = 'Overloaded';
    held[Symbol.dispose]();
  }
  return refused ?? held.bytes;
};
