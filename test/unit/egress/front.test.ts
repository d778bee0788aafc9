import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLogger, systemCode } from '#lib';
import { serveDns } from '#egress/front';

let server: Awaited<ReturnType<typeof serveDns>>;
let gate: Promise<void> = Promise.resolve();
let asked = 0;
const names: string[] = [];
const socket = createSocket('udp4');

beforeAll(async () => {
  const options: Parameters<typeof serveDns>[0] = {
    address: '127.0.0.1',
    port: 0,
    log: silentLogger,
    resolve: async ({ name, type, source }) => {
      asked++;
      names.push(name);
      await gate;
      if (name === 'down.example') throw new Error('egress is away');
      if (type === 'PTR') return { rcode: 'NOERROR', addresses: [], pointer: 'a.example', ttl: 60 };
      return name.toLowerCase() === 'a.example' && type === 'A' && source === '127.0.0.1'
        ? { rcode: 'NOERROR', addresses: ['198.18.0.1'], ttl: 60 }
        : { rcode: 'NXDOMAIN', addresses: [], ttl: 0 };
    },
  };
  // A port that is free for UDP can be somebody's for TCP.
  const start = (tries: number): ReturnType<typeof serveDns> =>
    serveDns(options).catch((error: unknown) => {
      if (tries === 0 || systemCode(error) !== 'EADDRINUSE') throw error;
      return start(tries - 1);
    });
  server = await start(5);
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
});
afterAll(async () => {
  socket.close();
  await server[Symbol.asyncDispose]();
});

const query = (name: string, type = 'A', id = 7): Buffer => encode({ id, type: 'query', flags: 0x100, questions: [{ name, type: type as 'A', class: 'IN' }] });

const udp = async (packet: Uint8Array): Promise<Packet> => {
  const answer = once(socket, 'message');
  socket.send(packet, server.port, '127.0.0.1');
  return decode(((await answer) as [Buffer])[0]);
};

test('answers questions over UDP, with the question and its id', async () => {
  const answer = await udp(query('a.example', 'A', 4711));
  expect(answer).toMatchObject({ id: 4711, type: 'response', rcode: 'NOERROR', answers: [{ name: 'a.example', type: 'A', ttl: 60, data: '198.18.0.1' }] });
  expect(answer.questions).toMatchObject([{ name: 'a.example', type: 'A' }]);
  expect(await udp(query('b.example', 'HTTPS'))).toMatchObject({ rcode: 'NXDOMAIN' });
  expect(await udp(query('down.example'))).toMatchObject({ rcode: 'SERVFAIL' });
});

const edns = (version: number, size: number): Buffer => {
  const packet = encode({
    id: 9,
    type: 'query',
    flags: 0x100,
    questions: [{ name: 'a.example', type: 'A' }],
    additionals: [{ type: 'OPT', name: '.', udpPayloadSize: size, ednsVersion: version, flags: 0, options: [] } as never],
  });
  return packet;
};

test('EDNS: the answer has an OPT record of its own; a later version is not understood (RFC 6891, 6.1.3)', async () => {
  for (const size of [512, 1232, 65_535]) {
    const answer = await udp(edns(0, size));
    expect(answer).toMatchObject({ id: 9, rcode: 'NOERROR', answers: [{ data: '198.18.0.1' }], additionals: [{ type: 'OPT', udpPayloadSize: 1232 }] });
  }
  const before = asked;
  expect(await udp(edns(1, 1232))).toMatchObject({ answers: [], additionals: [{ type: 'OPT', extendedRcode: 1, ednsVersion: 0 }] });
  expect(asked).toBe(before);
  expect(await udp(query('a.example'))).toMatchObject({ additionals: [] });
});

test('the question comes back byte by byte: its spelling (0x20), and names that are no host names', async () => {
  expect(await udp(query('A.eXaMpLe'))).toMatchObject({ questions: [{ name: 'A.eXaMpLe' }], answers: [{ name: 'A.eXaMpLe', data: '198.18.0.1' }] });
  const odd = query('aXb.example');
  odd[14] = 0x2e; // a dot inside of a label is not a dot between two
  const answer = once(socket, 'message');
  socket.send(odd, server.port, '127.0.0.1');
  const [reply] = (await answer) as [Buffer];
  expect(reply.subarray(12)).toEqual(odd.subarray(12));
  expect(names.at(-1)).toBe('a\\046b.example');
});

test('the longest name fits an answer of 512 bytes; a reverse question is answered with a name', async () => {
  const longest = ['a', 'b', 'c'].map((letter) => letter.repeat(63)).join('.') + `.${'d'.repeat(61)}`;
  expect(await udp(query(longest))).toMatchObject({ rcode: 'NXDOMAIN', flag_tc: false, questions: [{ name: longest }] });
  expect(await udp(query('1.0.18.198.in-addr.arpa', 'PTR'))).toMatchObject({ answers: [{ type: 'PTR', ttl: 60, data: 'a.example' }] });
  expect(await udp(query('1.0.18.198.in-addr.arpa', 'PTR'))).toMatchObject({ flag_tc: false });
});

test('answers over TCP, also when the bytes come one by one and two questions at once', async () => {
  const frame = (packet: Buffer): Buffer => Buffer.concat([Buffer.from([packet.length >> 8, packet.length & 255]), packet]);
  const client = connect(server.port, '127.0.0.1');
  await once(client, 'connect');
  let received = Buffer.alloc(0);
  client.on('data', (chunk: Buffer) => (received = Buffer.concat([received, chunk])));
  for (const byte of frame(query('a.example'))) client.write(Buffer.from([byte]));
  client.write(Buffer.concat([frame(query('b.example', 'A', 8)), frame(query('a.example', 'A', 9))]));
  const answers: Packet[] = [];
  while (answers.length < 3) {
    while (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) await once(client, 'data');
    const end = 2 + received.readUInt16BE(0);
    answers.push(decode(received.subarray(2, end)));
    received = received.subarray(end);
  }
  expect(answers.map(({ id }) => id)).toEqual([7, 8, 9]);
  client.destroy();
});

test('what is no question is dropped or answered with an error, and never asked', async () => {
  const before = asked;
  expect(await udp(Buffer.from(query('a.example')).fill(0x28, 2, 3))).toMatchObject({ rcode: 'NOTIMP' });
  expect(await udp(Buffer.from(query('a.example')).fill(2, 5, 6))).toMatchObject({ rcode: 'FORMERR' });
  expect(await udp(query('a.example').subarray(0, 14))).toMatchObject({ rcode: 'FORMERR' });
  const pointing = Buffer.concat([query('a.example').subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]); // a name that is itself
  expect(await udp(pointing)).toMatchObject({ rcode: 'FORMERR' });
  const tooLong = Buffer.concat([query('a.example').subarray(0, 12), ...Array.from({ length: 5 }, () => Buffer.alloc(64, 63)), Buffer.from([0, 0, 1, 0, 1])]);
  expect(await udp(tooLong)).toMatchObject({ rcode: 'FORMERR' });
  expect(await udp(encode({ id: 7, type: 'query', questions: [{ name: 'a.example', type: 'A', class: 'CH' }] }))).toMatchObject({ rcode: 'REFUSED' });
  expect(asked).toBe(before);
});

test('garbage never ends it', async () => {
  const packets = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc.tuple(fc.nat(40), fc.uint8Array({ minLength: 1, maxLength: 8 })).map(([at, bytes]) => {
      const packet = Buffer.from(query('a.example'));
      packet.set(bytes.subarray(0, Math.max(0, packet.length - at)), Math.min(at, packet.length));
      return packet;
    }),
    fc.nat(40).map((length) => query('some.longer.name.example').subarray(0, length)),
  );
  const flood = createSocket('udp4');
  for (const packet of fc.sample(packets, 3000)) flood.send(packet, server.port, '127.0.0.1');
  for (const packet of fc.sample(packets, 30)) {
    const client = connect(server.port, '127.0.0.1');
    client.on('error', () => {});
    await once(client, 'connect');
    client.end(packet);
  }
  flood.close();
  expect(await udp(query('a.example', 'A', 99))).toMatchObject({ id: 99, rcode: 'NOERROR' });
});

test('one source has at most 32 questions open', async () => {
  const open = Promise.withResolvers<void>();
  gate = open.promise;
  const before = asked;
  let answers = 0;
  const count = (): void => void answers++;
  socket.on('message', count);
  for (let i = 0; i < 100; i++) socket.send(query('a.example', 'A', i), server.port, '127.0.0.1');
  while (asked < before + 32) await new Promise(setImmediate);
  // A question over TCP from the same source counts too: when it is cut, all the datagrams before it have been seen.
  const client = connect(server.port, '127.0.0.1');
  client.on('error', () => {});
  await once(client, 'connect');
  const packet = query('a.example');
  client.write(Buffer.concat([Buffer.from([0, packet.length]), packet]));
  await once(client, 'close');
  open.resolve();
  gate = Promise.resolve();
  while (answers < 32) await new Promise(setImmediate);
  expect(asked - before).toBe(32);
  socket.off('message', count);
});
