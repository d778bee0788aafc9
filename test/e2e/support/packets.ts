/**
 * Sockets inside a namespace, as they are told by JSON lines on stdin; one JSON line is the answer to each. Run as a program it
 * obeys; imported it starts itself in a namespace.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { exited, spawnChild } from '#lib';

export type Order =
  /** TCP that says `<port it was told>` and closes, on each port. */
  | { readonly do: 'greet'; readonly ports: readonly number[] }
  /** UDP that answers `<port it was told> <data>`, on each port, each at `address` (all by default). */
  | { readonly do: 'echo'; readonly ports: readonly number[]; readonly address?: string }
  /** Dials and reads until the end. */
  | { readonly do: 'dial'; readonly address: string; readonly port: number }
  /** Sends a datagram from the socket of that name, connected to the address at its first use, and waits for one from there. */
  | { readonly do: 'send'; readonly socket: string; readonly address: string; readonly port: number; readonly data: string; readonly waitMs?: number };

export interface Outcome {
  readonly received?: string;
  /** A code (`ECONNREFUSED`), or `silence`. */
  readonly error?: string;
  readonly ms: number;
}

const sockets = new Map<string, Socket>();

const socketTo = async (name: string, port: number, address: string): Promise<Socket> => {
  const known = sockets.get(name);
  if (known) return known;
  const socket = createSocket('udp4');
  sockets.set(name, socket);
  socket.connect(port, address);
  await once(socket, 'connect');
  return socket;
};

const obey = async (order: Order): Promise<Omit<Outcome, 'ms'>> => {
  if (order.do === 'greet') {
    for (const port of order.ports) await once(createServer((socket) => socket.on('error', () => {}).end(`${port}`)).listen(port, '0.0.0.0'), 'listening');
    return {};
  }
  if (order.do === 'echo') {
    for (const port of order.ports) {
      const socket = createSocket('udp4');
      socket.on('message', (data, from) => socket.send(`${port} ${data.toString()}`, from.port, from.address));
      socket.bind(port, order.address ?? '0.0.0.0');
      await once(socket, 'listening');
    }
    return {};
  }
  if (order.do === 'dial') {
    const socket = connect({ host: order.address, port: order.port });
    let received = '';
    socket.on('data', (chunk) => (received += chunk.toString()));
    socket.setTimeout(5_000, () => socket.destroy(new Error('silence')));
    await once(socket, 'close'); // rejects with an error
    return { received };
  }
  const socket = await socketTo(order.socket, order.port, order.address);
  const heard = Promise.withResolvers<string>();
  const hear = (data: Buffer): void => heard.resolve(data.toString());
  socket.once('message', hear).once('error', heard.reject);
  const timer = setTimeout(() => heard.reject(new Error('silence')), order.waitMs ?? 2_000);
  socket.send(order.data, (error) => error && heard.reject(error));
  try {
    return { received: await heard.promise };
  } finally {
    clearTimeout(timer);
    socket.off('message', hear).off('error', heard.reject);
  }
};

export interface Packets extends AsyncDisposable {
  tell(order: Order): Promise<Outcome>;
}

/** The program in a network namespace (path of its file). */
export const startPackets = (netns: string): Packets => {
  const child = spawnChild(process.execPath, [import.meta.filename], { netns, stdio: ['pipe', 'pipe', 'inherit'] });
  const answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  let last: Promise<unknown> = Promise.resolve();
  const tell = (order: Order): Promise<Outcome> => {
    const answer = last.then(async () => {
      child.stdin!.write(`${JSON.stringify(order)}\n`);
      return JSON.parse((await answers.next()).value as string) as Outcome;
    });
    last = answer.catch(() => {});
    return answer;
  };
  return {
    tell,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};

if (import.meta.main) {
  for await (const line of createInterface({ input: process.stdin })) {
    const start = performance.now();
    const outcome = await obey(JSON.parse(line) as Order).catch((error: NodeJS.ErrnoException) => ({ error: error.code ?? error.message }));
    console.log(JSON.stringify({ ...outcome, ms: Math.round(performance.now() - start) }));
  }
}
