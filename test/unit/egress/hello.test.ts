import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HELLO_WASM } from '../../../src/egress/translate/wasm/gen/hello.ts';
import { WebAssembly, type Memory } from '../tools/wasm.ts';
import { clientHello, ECH, extension, handshake, HEAD, records, serverName, u16, USUAL } from './client-hello.ts';

/** The filter as Envoy runs it, in the WebAssembly of Node.js; the functions of proxy-wasm it calls are here. */

const module = new WebAssembly.Module(Buffer.from(HELLO_WASM, 'base64'));

interface Filter {
  readonly memory: Memory;
  proxy_on_memory_allocate(size: number): number;
  proxy_on_new_connection(context: number): number;
  proxy_on_downstream_data(context: number, size: number, ended: number): number;
}

/** One machine for all connections, as in Envoy; each has a buffer and a filter state of its own. */
const machine = () => {
  let connection = { held: Buffer.alloc(0), state: new Map<string, string>(), closed: false };
  const text = (at: number, length: number): string => Buffer.from(filter.memory.buffer, at, length).toString('latin1');
  const give = (bytes: Uint8Array, pointerAt: number, lengthAt: number): number => {
    const at = filter.proxy_on_memory_allocate(bytes.length);
    Buffer.from(filter.memory.buffer).set(bytes, at);
    const view = new DataView(filter.memory.buffer);
    view.setUint32(pointerAt, at, true);
    view.setUint32(lengthAt, bytes.length, true);
    return 0;
  };
  const env = {
    proxy_get_buffer_bytes: (type: number, start: number, length: number, pointerAt: number, lengthAt: number): number => {
      expect(type).toBe(2);
      return give(connection.held.subarray(start, start + length), pointerAt, lengthAt);
    },
    proxy_get_property: (at: number, length: number, pointerAt: number, lengthAt: number): number => {
      const value = connection.state.get(text(at, length));
      return value === undefined ? 1 : give(Buffer.from(value), pointerAt, lengthAt);
    },
    proxy_set_property: (at: number, length: number, valueAt: number, valueLength: number): number => {
      connection.state.set(text(at, length), text(valueAt, valueLength));
      return 0;
    },
    proxy_close_stream: (type: number): number => {
      expect(type).toBe(2);
      connection.closed = true;
      return 0;
    },
  };
  const filter = new WebAssembly.Instance(module, { env }).exports as unknown as Filter;

  /** What comes of a connection on which these pieces arrive: what was found, and what went on to the upstream. */
  return (pieces: readonly Uint8Array[], ended = false) => {
    connection = { held: Buffer.alloc(0), state: new Map<string, string>(), closed: false };
    expect(filter.proxy_on_new_connection(1)).toBe(1);
    let passed = Buffer.alloc(0);
    for (const [index, piece] of pieces.entries()) {
      connection.held = Buffer.concat([connection.held, piece]);
      const paused = filter.proxy_on_downstream_data(1, connection.held.length, ended && index === pieces.length - 1 ? 1 : 0);
      if (connection.closed) expect(paused).toBe(1);
      if (connection.closed) break;
      if (paused) continue;
      passed = Buffer.concat([passed, connection.held]);
      connection.held = Buffer.alloc(0);
    }
    return { found: connection.state.get('clrk.hello'), passed, closed: connection.closed };
  };
};

const HIDDEN = { found: 'HiddenServerName', passed: Buffer.alloc(0), closed: true };
const BAD = { found: 'BadClientHello', passed: Buffer.alloc(0), closed: true };
const clear = (passed: Buffer) => ({ found: 'Clear', passed, closed: false });

const GOOD = clientHello([serverName('api.test'), ...USUAL]);
const HIDING = clientHello([serverName('api.test'), ...USUAL, extension(ECH, randomBytes(200))]);

test('it is called for what Envoy asks of it: a filter without one of these would let all through', () => {
  expect(WebAssembly.Module.exports(module).map(({ name }) => name)).toEqual([
    'memory',
    'proxy_abi_version_0_2_1',
    'proxy_on_memory_allocate',
    'proxy_on_new_connection',
    'proxy_on_downstream_data',
  ]);
});

test('a hello without a hidden name goes on as it came, and what follows it too', () => {
  const play = machine();
  const bytes = records(GOOD);
  expect(play([bytes])).toEqual(clear(bytes));
  const later = [Buffer.from([20, 3, 3, 0, 1, 1]), Buffer.from('anything at all'), records(HIDING)];
  expect(play([bytes, ...later])).toEqual(clear(Buffer.concat([bytes, ...later])));
  expect(play([Buffer.concat([bytes, ...later])])).toEqual(clear(Buffer.concat([bytes, ...later])));
  expect(play([records(clientHello(USUAL))])).toMatchObject({ found: 'Clear' });
  expect(play([records(handshake(1, HEAD))])).toMatchObject({ found: 'Clear' });
  expect(play([records(clientHello([extension(21, Buffer.alloc(60_000)), serverName('api.test')]))])).toMatchObject({ found: 'Clear' });
});

test('a hello that hides a name is refused, wherever in it that is', () => {
  const play = machine();
  for (const type of [ECH, 0xfe02, 0xfe08, 0xfe0a, 0xfd00, 0xffce])
    for (const content of [Buffer.alloc(0), Buffer.from([1]), randomBytes(300)]) {
      const hiding = extension(type, content);
      expect([type, play([records(clientHello([serverName('api.test'), hiding, ...USUAL]))])]).toEqual([type, HIDDEN]);
      expect(play([records(clientHello([hiding, serverName('api.test'), ...USUAL]))])).toEqual(HIDDEN);
      expect(play([records(clientHello([...USUAL, extension(21, Buffer.alloc(17_000)), hiding]))])).toEqual(HIDDEN);
    }
  for (const type of [0xfe01, 0xfe0e, 0xfd01, 0xfcff, 0xffcd, 0x0a0a])
    expect(play([records(clientHello([extension(type)]))])).toMatchObject({ found: 'Clear' });
});

test('nothing goes on before all of the hello is there, however it arrives', () => {
  const play = machine();
  for (const [message, expected] of [
    [GOOD, 'Clear'],
    [HIDING, 'HiddenServerName'],
  ] as const)
    for (const size of [20, 100, 16_384]) {
      const bytes = records(message, size);
      const pieces = [...bytes].map((byte) => Uint8Array.of(byte));
      expect(play(pieces.slice(0, -1))).toEqual({ found: undefined, passed: Buffer.alloc(0), closed: false });
      expect(play(pieces).found).toBe(expected);
      // A client that ends before is not waited for.
      expect(play(pieces.slice(0, -1), true)).toEqual(BAD);
    }
});

test('what is not a well-formed hello is refused', () => {
  const play = machine();
  const [name, ...usual] = [serverName('api.test'), ...USUAL];
  const body = GOOD.subarray(4);
  const changed = (at: number, ...bytes: number[]): Buffer => {
    const copy = Buffer.from(records(GOOD));
    copy.set(bytes, at);
    return copy;
  };
  const cases: Readonly<Record<string, Buffer>> = {
    'an HTTP request': Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    'an alert': Buffer.from([21, 3, 1, 0, 2, 2, 40]),
    'a server hello': records(handshake(2, body)),
    'an empty record': Buffer.concat([Buffer.from([22, 3, 1, 0, 0]), records(GOOD)]),
    'a record of 16385 bytes': Buffer.concat([Buffer.from([22, 3, 1, 0x40, 1]), Buffer.alloc(16_385)]),
    'SSL 2 in a record': changed(1, 2),
    'a version that is none': changed(9, 2),
    'a session id of 33 bytes': changed(43, 33),
    'ciphers of an odd length': changed(43 + 33, 0, 3),
    'no ciphers': records(handshake(1, Buffer.concat([Buffer.from([3, 3]), Buffer.alloc(32), Buffer.from([0]), u16(0), Buffer.from([1, 0])]))),
    'no compression method': records(handshake(1, Buffer.concat([HEAD.subarray(0, -2), Buffer.from([0])]))),
    'a hello of 1 byte': records(handshake(1, Buffer.from([3]))),
    'an empty hello': records(handshake(1, Buffer.alloc(0))),
    'a hello of more than 64 KiB': records(handshake(1, Buffer.concat([body, Buffer.alloc(65_536)]))),
    'more than 32 records': records(GOOD, 3),
    'another message in its record': records(Buffer.concat([GOOD, GOOD])),
    'another record type in between': Buffer.concat([records(GOOD.subarray(0, 50)), Buffer.from([20, 3, 3, 0, 1, 1]), records(GOOD.subarray(50))]),
    'extensions that end early': records(handshake(1, Buffer.concat([body, Buffer.alloc(3)]))),
    'extensions that end late': records(handshake(1, body.subarray(0, -1))),
    'one byte of extensions': records(handshake(1, Buffer.concat([HEAD, Buffer.alloc(1)]))),
    'half an extension': records(clientHello([name!, Buffer.from([0, 21, 0])])),
    'an extension past the end': records(clientHello([name!, Buffer.from([0, 21, 0, 9, 1])])),
    'an extension twice': records(clientHello([name!, ...usual, usual[0]!])),
    'two server_name': records(clientHello([name!, serverName('evil.test')])),
    'two names': records(clientHello([serverName('api.test', 'evil.test')])),
    'no name': records(clientHello([extension(0)])),
    'an empty name': records(clientHello([serverName('')])),
    'a name of another type': records(clientHello([extension(0, Buffer.from([0, 4, 1, 0, 1, 97]))])),
    'a name longer than its list': records(clientHello([extension(0, Buffer.from([0, 4, 0, 0, 2, 97]))])),
    'a list of names shorter than it says': records(clientHello([extension(0, Buffer.from([0, 5, 0, 0, 1, 97]))])),
  };
  for (const [what, bytes] of Object.entries(cases)) expect([what, play([bytes])]).toEqual([what, BAD]);
});

/** The same judgement, written in another way: what there is must be what is said. */
const expectation = (bytes: Buffer): string | undefined => {
  class Malformed extends Error {}
  const take = (from: { rest: Buffer }, length: number): Buffer => {
    if (from.rest.length < length) throw new Malformed();
    const taken = from.rest.subarray(0, length);
    from.rest = from.rest.subarray(length);
    return taken;
  };
  const vector = (from: { rest: Buffer }, lengthBytes: number): { rest: Buffer } => ({ rest: take(from, take(from, lengthBytes).readUIntBE(0, lengthBytes)) });
  const check = (holds: boolean): void => {
    if (!holds) throw new Malformed();
  };
  const stream = { rest: bytes };
  let message = Buffer.alloc(0);
  try {
    for (let count = 1; message.length < 4 || message.length < message.readUIntBE(1, 3) + 4; count++) {
      check(count <= 32);
      if (stream.rest.length < 5) return undefined;
      check(stream.rest[0] === 22 && stream.rest[1] === 3);
      const length = stream.rest.readUInt16BE(3);
      check(length > 0 && length <= 16_384);
      if (stream.rest.length < 5 + length) return undefined;
      take(stream, 3);
      message = Buffer.concat([message, vector(stream, 2).rest]);
      if (message.length >= 4) check(message[0] === 1 && message[1] === 0);
    }
    const whole = { rest: message.subarray(1) };
    const hello = vector(whole, 3);
    check(whole.rest.length === 0 && take(hello, 34)[0] === 3);
    check(vector(hello, 1).rest.length <= 32);
    const ciphers = vector(hello, 2).rest.length;
    check(ciphers > 0 && ciphers % 2 === 0 && vector(hello, 1).rest.length > 0);
    if (hello.rest.length === 0) return 'Clear';
    const extensions = vector(hello, 2);
    check(hello.rest.length === 0);
    const types = new Set<number>();
    while (extensions.rest.length > 0) {
      const type = take(extensions, 2).readUInt16BE();
      const content = vector(extensions, 2);
      check(!types.has(type));
      types.add(type);
      if ((type >= 0xfe02 && type <= 0xfe0d) || type === 0xfd00 || type === 0xffce) return 'HiddenServerName';
      if (type !== 0) continue;
      const names = vector(content, 2);
      check(content.rest.length === 0 && take(names, 1)[0] === 0 && vector(names, 2).rest.length > 0 && names.rest.length === 0);
    }
    return 'Clear';
  } catch (error) {
    if (error instanceof Malformed) return 'BadClientHello';
    throw error;
  }
};

/** A hello of random extensions in random records, with some bytes changed, removed or inserted. */
const anyHello = fc
  .record({
    types: fc.array(fc.oneof(fc.constantFrom(0, 10, 13, 16, 43, ECH, 0xfd00), fc.nat(0xffff)), { maxLength: 12 }),
    content: fc.uint8Array({ maxLength: 40 }),
    named: fc.boolean(),
    size: fc.integer({ min: 1, max: 400 }),
    edits: fc.array(fc.record({ at: fc.nat(400), drop: fc.nat(2), put: fc.uint8Array({ maxLength: 2 }) }), { maxLength: 2 }),
  })
  .map(({ types, content, named, size, edits }) => {
    const made = [...(named ? [serverName('api.test')] : []), ...types.map((type) => extension(type, content))];
    return edits.reduce((bytes, { at, drop, put }) => Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + drop)]), records(clientHello(made), size));
  });

test('random hellos, and random bytes: the same is said as by another way to write it down, and nothing traps', () => {
  const play = machine();
  const seen: Record<string, number> = {};
  const pieces = fc.array(fc.nat(600), { maxLength: 5 });
  fc.assert(
    fc.property(fc.oneof({ weight: 9, arbitrary: anyHello }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) }), pieces, (bytes, cuts) => {
      const all = Buffer.from(bytes);
      const at = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length];
      const { found, passed, closed } = play(at.slice(1).map((end, index) => all.subarray(at[index], end)));
      const expected = expectation(all);
      seen[expected ?? 'more'] = (seen[expected ?? 'more'] ?? 0) + 1;
      expect(found).toBe(expected);
      expect(closed).toBe(found !== undefined && found !== 'Clear');
      expect(passed).toEqual(found === 'Clear' ? all : Buffer.alloc(0));
    }),
    { numRuns: 3_000 },
  );
  for (const kind of ['Clear', 'HiddenServerName', 'BadClientHello', 'more']) expect([kind, (seen[kind] ?? 0) > 50]).toEqual([kind, true]);
});
