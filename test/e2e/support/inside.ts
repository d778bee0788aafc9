/**
 * Runs inside a stack's network namespace and does HTTP requests for the tests, which are outside of it. One JSON object a
 * line: `{id, url, method, headers, body, tls?}` in (`{abort: id}` gives up), `{id, status, headers, body}` or `{id, error}`
 * out; bodies in base64.
 */
import { request as http } from 'node:http';
import { request as https } from 'node:https';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';

export interface Call {
  readonly id: number;
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** A Unix socket to use instead of the URL's address. */
  readonly socketPath?: string;
}

export type Reply =
  | { readonly id: number; readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: string; readonly complete: boolean }
  | { readonly id: number; readonly error: string };

const calls = new Map<number, AbortController>();
const tell = (reply: Reply): void => void process.stdout.write(`${JSON.stringify(reply)}\n`);

const perform = ({ url, method, headers, body, tls, socketPath }: Call, signal: AbortSignal): Promise<Omit<Extract<Reply, { status: number }>, 'id'>> =>
  new Promise((resolve, reject) => {
    const request = (url.startsWith('https:') ? https : http)(url, { method, headers, signal, agent: false, ...tls, ...(socketPath ? { socketPath } : {}) });
    request.once('error', reject);
    request.once('response', (response) => {
      buffer(response).then(
        (bytes) =>
          resolve({
            status: response.statusCode!,
            headers: response.headers as Record<string, string>,
            body: bytes.toString('base64'),
            complete: response.complete,
          }),
        reject,
      );
    });
    request.end(Buffer.from(body, 'base64'));
  });

createInterface({ input: process.stdin }).on('line', (line) => {
  const message = JSON.parse(line) as Call | { readonly abort: number };
  if ('abort' in message) return calls.get(message.abort)?.abort();
  const abort = new AbortController();
  calls.set(message.id, abort);
  perform(message, abort.signal)
    .then((reply) => tell({ id: message.id, ...reply }))
    .catch((error: Error & { code?: string }) => tell({ id: message.id, error: error.code ?? error.message }))
    .finally(() => calls.delete(message.id));
});
