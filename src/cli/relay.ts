import { chmod } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type ListenOptions, type Socket } from 'node:net';
import { systemCode } from '#lib';

/** Byte relays. Unix sockets do not belong to a network namespace, so two of them join a port inside one with a port outside. */

export interface Relay extends AsyncDisposable {
  /** TCP port it listens on; 0 for a Unix socket. */
  readonly port: number;
}

/** Joins two connections until both have ended; an error of one ends both. */
const join = (one: Socket, other: Socket): void => {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.on('error', () => to.destroy());
    // What was read to its end is still on its way out of the other one.
    from.on('close', () => (from.readableEnded ? to.resume() : to.destroy()));
    from.pipe(to);
  }
};

const listen = async (where: ListenOptions, dial: () => Socket): Promise<Relay> => {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (incoming) => {
    const outgoing = dial();
    for (const socket of [incoming, outgoing]) {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
    }
    join(incoming, outgoing);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, resolve);
  });
  const address = server.address() as AddressInfo | string;
  return {
    port: typeof address === 'string' ? 0 : address.port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
};

/** Inside the namespace: what connects to the Unix socket `path` (ours alone) reaches `port` of loopback. */
export const relayFromSocket = async (path: string, port: number): Promise<Relay> => {
  const relay = await listen({ path }, () => connect({ host: '127.0.0.1', port, allowHalfOpen: true }));
  await chmod(path, 0o600);
  return relay;
};

/** Outside: what connects to loopback reaches the Unix socket `path`. The same port as inside when it is free, else any. */
export const relayToSocket = async (path: string, port: number): Promise<Relay> => {
  const at = (wanted: number): Promise<Relay> => listen({ host: '127.0.0.1', port: wanted }, () => connect({ path, allowHalfOpen: true }));
  return await at(port).catch((error: unknown) => {
    if (systemCode(error) !== 'EADDRINUSE') throw error;
    return at(0);
  });
};
