import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { poll, readIfExists, writeFileAtomic } from '#lib';
import { relayFromSocket, relayToSocket } from './relay.ts';
import { paint, type Io } from './output.ts';

/** `clrk demo --keep`: what the part inside the namespace and the part outside do so that the stack can be used from the host. */

const API = 'api.sock';
const INGRESS = 'ingress.sock';
/** Is there when both are; a file, because the part inside executes itself anew and keeps no descriptors. */
const SERVED = 'served';

export interface Urls {
  readonly api: string;
  readonly ingress: string;
}

const portOf = (url: string): number => Number(new URL(url).port);

/** Inside: serves API and ingress as Unix sockets in `dir`, and ends with `signal`. */
export const serveInside = async (dir: string, { api, ingress }: Urls, signal: AbortSignal): Promise<void> => {
  await using _api = await relayFromSocket(join(dir, API), portOf(api));
  await using _ingress = await relayFromSocket(join(dir, INGRESS), portOf(ingress));
  await writeFileAtomic(join(dir, SERVED), ingress);
  if (!signal.aborted) await once(signal, 'abort');
};

/** Outside: waits until they are served, and returns the ingress as the stack itself knows it; undefined when `ended` comes first. */
export const isServed = async (dir: string, ended: Promise<unknown>): Promise<string | undefined> => {
  const over = new AbortController();
  void ended.then(() => over.abort());
  return poll(() => readIfExists(join(dir, SERVED)), 50, over.signal).catch(() => undefined);
};

/** Outside: the same ports on the host's loopback, until disposed. Where a port is taken, dev.json and kubeconfig name another. */
export const serveOutside = async (dir: string, state: string): Promise<Urls & AsyncDisposable> => {
  await using made = new AsyncDisposableStack();
  const info = JSON.parse(await readFile(join(state, 'dev.json'), 'utf8')) as Urls;
  const relayed = async (socket: string, url: string): Promise<string> => {
    const { port } = made.use(await relayToSocket(join(dir, socket), portOf(url)));
    return url.replace(/:\d+$/, `:${port}`);
  };
  const urls = { api: await relayed(API, info.api), ingress: await relayed(INGRESS, info.ingress) };
  await writeFileAtomic(join(state, 'dev.json'), `${JSON.stringify({ ...info, ...urls }, null, 2)}\n`);
  const kubeconfig = join(state, 'kubeconfig.host');
  await writeFileAtomic(kubeconfig, (await readFile(kubeconfig, 'utf8')).replaceAll(info.api, urls.api));
  const all = made.move();
  return { ...urls, [Symbol.asyncDispose]: () => all.disposeAsync() };
};

/** Commands that work while the stack stays up. `inside` is the ingress as the stack itself knows it. */
export const printUses = (io: Io, state: string, { ingress }: Urls, inside: string, document: string): void => {
  // The ingress answers to its own name only, which a port of the host that was free is not.
  const host = ingress === inside ? '' : ` -H 'host: ${new URL(inside).host}'`;
  io.out(`
${paint(io, 'bold', 'The stack stays up until Ctrl-C. In another shell:')}
  kubectl --kubeconfig ${join(state, 'kubeconfig.host')} get taskagents,egressgateways,aiproviderroutes,invocations,events
  curl --data-binary @${document} -H 'content-type: text/plain'${host} ${ingress}/default/summarizer
  ./clrk egress log --clrk-dir ${state}
`);
};
