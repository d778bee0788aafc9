import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { relayFromSocket, relayToSocket } from '../../../src/cli/relay.ts';

let dir: string;
let server: Server;
let port: number;
/** Answers, once its caller has said everything, with how much that was, and a megabyte. */
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'relay-'));
  server = createServer({ allowHalfOpen: true }, (socket) => {
    let size = 0;
    socket.on('data', (chunk: Buffer) => (size += chunk.length));
    socket.once('end', () => socket.end(Buffer.concat([Buffer.from(`${size}\n`), Buffer.alloc(1 << 20)])));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterEach(async () => {
  server.close();
  await rm(dir, { recursive: true });
});

test('bytes go both ways to their end, through a socket that is ours alone; a port that is taken is replaced', async () => {
  const path = join(dir, 's');
  await using inside = await relayFromSocket(path, port);
  expect(inside.port).toBe(0);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  await using outside = await relayToSocket(path, port);
  expect(outside.port).not.toBe(port);
  const answers = await Promise.all(
    [1, 100_000, 3_000_000].map(async (size) => {
      const socket = connect({ host: '127.0.0.1', port: outside.port, allowHalfOpen: true });
      socket.end(Buffer.alloc(size));
      const answer = await buffer(socket);
      return [answer.subarray(0, answer.indexOf('\n')).toString(), answer.length - answer.indexOf('\n') - 1];
    }),
  );
  expect(answers).toEqual([1, 100_000, 3_000_000].map((size) => [String(size), 1 << 20]));
});

test('nobody behind it: the caller is hung up on', async () => {
  await using outside = await relayToSocket(join(dir, 'nothing'), 0);
  const socket = connect(outside.port, '127.0.0.1');
  await new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
});
