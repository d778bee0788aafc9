import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exited, spawnChild } from '#lib';
import type { Call, Reply } from './inside.ts';

export interface HttpRequest {
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly tls?: Call['tls'];
  readonly socketPath?: string;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  json(): unknown;
}

/** HTTP from inside a network namespace. Rejects with the code of a transport error (`ECONNREFUSED`, `ECONNRESET`, …) as message. */
export interface NamespaceClient extends AsyncDisposable {
  readonly pid: number;
  request(request: HttpRequest, signal?: AbortSignal): Promise<HttpAnswer>;
}

export const startNamespaceClient = async (netns: string): Promise<NamespaceClient> => {
  const child = spawnChild(process.execPath, [join(import.meta.dirname, 'inside.ts')], { netns, stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child, 'spawn');
  const waiting = new Map<number, { resolve: (answer: HttpAnswer) => void; reject: (error: Error) => void }>();
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const reply = JSON.parse(line) as Reply;
    const { resolve, reject } = waiting.get(reply.id)!;
    waiting.delete(reply.id);
    if ('error' in reply) return reject(new Error(reply.error));
    if (!reply.complete) return reject(new Error('the answer was cut'));
    const text = Buffer.from(reply.body, 'base64').toString();
    resolve({ status: reply.status, headers: reply.headers, text, json: () => JSON.parse(text) as unknown });
  });
  void exited(child).then(() => {
    for (const { reject } of waiting.values()) reject(new Error('the client in the namespace has ended'));
  });
  let next = 0;
  const send = (message: object): void => void child.stdin!.write(`${JSON.stringify(message)}\n`);
  return {
    pid: child.pid!,
    request({ url, method = 'GET', headers = {}, body = '', tls, socketPath }, signal) {
      const id = next++;
      const call: Call = {
        id,
        url,
        method,
        headers,
        body: Buffer.from(body).toString('base64'),
        ...(tls ? { tls } : {}),
        ...(socketPath ? { socketPath } : {}),
      };
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        signal?.addEventListener('abort', () => send({ abort: id }), { once: true });
        send(call);
      });
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};
