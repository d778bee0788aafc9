import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { createApiServer, type ApiServer, type ApiServerOptions } from '#apiserver';
import { silentLogger } from '#lib';
import { createAuthority, loadSigner, type CertifiedKey, type Signer } from '#lib/x509';

/** A real API server over TLS, and clients with certificates of their own. */

const HOUR = 3_600_000;
const validity = () => ({ notBefore: new Date(Date.now() - HOUR), notAfter: new Date(Date.now() + HOUR) });

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  // The tests look into whatever came back.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

export interface CallOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly type?: string;
}

export interface WatchEvent {
  readonly type: string;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly object: any;
}

export interface TestClient {
  call(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>;
  /** Events as they come; ends with the watch. */
  watch(path: string, signal?: AbortSignal, headers?: Readonly<Record<string, string>>): AsyncGenerator<WatchEvent>;
}

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly dir: string;
  /** Ends the server, not its clients and files. */
  stop(): Promise<void>;
  /** Starts it again, with the same files and on the same port. */
  start(): Promise<void>;
  readonly authority: CertifiedKey;
  /** A client with this subject, by default the administrator; `null` = without certificate. */
  client(subject?: string | null, signer?: Signer): Promise<TestClient>;
  /** Path of a kubeconfig for this subject. */
  kubeconfig(subject?: string): Promise<string>;
}

export const ADMIN = 'CN=admin, O=system:masters';

export const makeClient = (url: string, agent: Agent): TestClient => ({
  async call(method, path, body, { headers = {}, type = 'application/json' } = {}) {
    const payload = body === undefined ? undefined : typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    const answer = await request(`${url}${path}`, {
      method: method as 'GET',
      dispatcher: agent,
      headers: { ...(payload !== undefined && { 'content-type': type }), ...headers },
      body: payload,
    });
    const text = await answer.body.text();
    let parsed: unknown = text;
    if (text && String(answer.headers['content-type']).includes('json')) parsed = JSON.parse(text);
    return { status: answer.statusCode, headers: answer.headers, body: parsed };
  },
  async *watch(path, signal, headers = {}) {
    const answer = await request(`${url}${path}`, { dispatcher: agent, headers, ...(signal && { signal }), bodyTimeout: 0 });
    if (answer.statusCode !== 200) throw new Error(`${answer.statusCode}: ${await answer.body.text()}`);
    let rest = '';
    for await (const chunk of answer.body.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop()!;
      for (const line of lines) yield JSON.parse(line) as WatchEvent;
    }
  },
});

export const startServer = async (options: Partial<ApiServerOptions> = {}): Promise<TestServer> => {
  const cleanup = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'clrk-api-'));
  cleanup.defer(() => rmSync(dir, { recursive: true, force: true }));
  const authority = await createAuthority({ subject: 'CN=test authority', ca: { pathLength: 0 }, ...validity() });
  const signer = await loadSigner(authority);
  const server = await signer.issue({ subject: 'CN=apiserver', usage: 'server', ips: ['127.0.0.1'], ...validity() });
  const make = (): ApiServer =>
    createApiServer({
      database: join(dir, 'api.db'),
      tls: { ca: authority.certPem, cert: server.certPem, key: server.keyPem },
      log: silentLogger,
      ...options,
    });
  let api: ApiServer | undefined = make();
  const stop = async (): Promise<void> => {
    const ended = api;
    api = undefined;
    await ended?.[Symbol.asyncDispose]();
  };
  cleanup.defer(stop);
  const port = await api.listen(0);
  const start = async (): Promise<void> => void (await (api = make()).listen(port));
  const url = `https://127.0.0.1:${port}`;
  return {
    url,
    dir,
    stop,
    start,
    authority,
    async client(subject = ADMIN, by = signer) {
      const own = subject === null ? undefined : await by.issue({ subject, usage: 'client', ...validity() });
      const agent = new Agent({ connect: { ca: authority.certPem, ...(own && { cert: own.certPem, key: own.keyPem }) } });
      cleanup.defer(() => agent.destroy());
      return makeClient(url, agent);
    },
    async kubeconfig(subject = ADMIN) {
      const own = await signer.issue({ subject, usage: 'client', ...validity() });
      const base64 = (text: string): string => Buffer.from(text).toString('base64');
      const path = join(dir, `${base64(subject).slice(0, 12)}.kubeconfig`);
      const config = {
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [{ name: 'c', cluster: { server: url, 'certificate-authority-data': base64(authority.certPem) } }],
        users: [{ name: 'u', user: { 'client-certificate-data': base64(own.certPem), 'client-key-data': base64(own.keyPem) } }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'default' } }],
        'current-context': 'x',
      };
      writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
      return path;
    },
    [Symbol.asyncDispose]: () => cleanup.disposeAsync(),
  };
};

export const ROOT = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default';

export const agent = (name: string, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind: 'TaskAgent',
  metadata: { name, ...metadata },
  spec: { workerPoolRef: 'default', template: { spec: { image: 'a/b:1' } }, ...spec },
});

export const configMap = (name: string, data: object = {}, metadata: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, ...metadata },
  data,
});
