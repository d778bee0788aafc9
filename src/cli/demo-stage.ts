import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { egressGateways, taskAgents, type TaskAgent } from '#api';
import { ClrkError, poll } from '#lib';
import { startStack } from '#supervisor';
import { exchangeTable } from './exchange-table.ts';
import { fetchExchanges, type Exchange } from './exchanges.ts';
import { addressed, applyOne } from './manifests/apply.ts';
import { progress, type Io } from './output.ts';
import type { Urls } from './demo-keep.ts';
import { applySecret } from './secrets.ts';
import { localTarget, type Target } from './target.ts';

export interface DemoOptions {
  readonly io: Io;
  readonly dir: string;
  readonly tools: string;
  readonly manifests: string;
  readonly document: string;
  /** With `fixture`, a stand-in serves the provider's name at this address, with a certificate of this CA (a file). */
  readonly provider: { readonly key: string; readonly fixture?: { readonly ip: string; readonly ca: string } };
  readonly signal: AbortSignal;
  readonly title: (text: string) => void;
  /** What happens before the stack ends; nothing by default. */
  readonly keep?: (stack: Urls) => Promise<void>;
}

const NAMESPACE = 'default';
const AGENT = 'summarizer';

/** The manifests of the quickstart, with the gateway's upstream pointed at the fixture instead of the real provider. */
const applyManifests = async (target: Target, { manifests, provider }: DemoOptions): Promise<void> => {
  for (const item of await addressed(target, [manifests], { recursive: false, namespace: NAMESPACE })) {
    const { manifest, kind } = item;
    const { fixture } = provider;
    if (!fixture || kind.kind !== egressGateways.kind) await applyOne(target, item, { force: true });
    else {
      const upstreamTLS = { hostAliases: [{ ip: fixture.ip, hostnames: ['api.openai.com'] }], additionalTrustBundleSecretRef: { name: 'fixture-ca' } };
      const spec = { ...(manifest.value['spec'] as object), upstreamTLS };
      await applyOne(target, { ...item, manifest: manifest.with({ spec }) }, { force: true });
    }
  }
};

const condition = (agent: TaskAgent | undefined) => agent?.status?.conditions?.find(({ type }) => type === 'Ready');

/** Resolves when the agent and its gateway are in force; says what is missing when that takes more than 30 s. */
const agentReady = async ({ client }: Target, signal: AbortSignal): Promise<void> => {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(30_000)]);
  let pending = '';
  try {
    await poll(
      async () => {
        const agent = condition(await client.get(taskAgents, NAMESPACE, AGENT));
        const gateway = (await client.get(egressGateways, NAMESPACE, 'default'))?.status?.conditions?.find(({ type }) => type === 'Ready');
        pending = `agent: ${agent?.message ?? 'no status'}; gateway: ${gateway?.message ?? 'no status'}`;
        return agent?.status === 'True' && gateway?.status === 'True' ? true : undefined;
      },
      100,
      limit,
    );
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ClrkError('StackNotReady', { seconds: 30, pending });
  }
};

/** The records of an invocation, once those of its two completions and of its refused upload are there. */
const recordsOf = async (target: Target, invocation: string, signal: AbortSignal): Promise<Exchange[]> => {
  const complete = (records: readonly Exchange[]): boolean =>
    records.filter((r) => r.verdict === 'Allowed' && r.inputTokens !== undefined).length >= 2 &&
    records.some((r) => r.verdict === 'Denied' && r.protocol === 'https');
  let records: Exchange[] = [];
  const limit = AbortSignal.any([signal, AbortSignal.timeout(15_000)]);
  await poll(
    async () => {
      records = await fetchExchanges(target, { namespace: NAMESPACE, invocation });
      return complete(records) ? true : undefined;
    },
    100,
    limit,
  ).catch((error: unknown) => {
    if (signal.aborted) throw error; // an incomplete table is shown as it is, and judged by the caller
  });
  return records;
};

/** Plays the demo inside its namespace: exit code 0 when the agent answered and its three requests are on record. */
export const playDemo = async (options: DemoOptions): Promise<number> => {
  const { io, dir, tools, provider, signal, title } = options;
  const note = progress(io);
  const log = createWriteStream(join(dir, 'demo.log'), { flags: 'w' });
  note('stack', 'start', `log in ${join(dir, 'demo.log')}`);
  await using stack = await startStack({ dir, tools, write: (line) => log.write(`${line}\n`) });
  note('stack', 'done', `API ${stack.api}, ingress ${stack.ingress}`);

  const target = await localTarget(dir);
  note('manifests', 'start', 'apply examples/quickstart/manifests');
  await applySecret(target, NAMESPACE, 'openai', { authorization: `Bearer ${provider.key}` });
  if (provider.fixture) await applySecret(target, NAMESPACE, 'fixture-ca', { 'ca.crt': await readFile(provider.fixture.ca) });
  await applyManifests(target, options);
  await agentReady(target, signal);
  note('manifests', 'done', 'agent and gateway are in force');

  const url = `${stack.ingress}/${NAMESPACE}/${AGENT}`;
  title(`POST ${url} < examples/quickstart/document.txt`);
  const begun = performance.now();
  const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: await readFile(options.document), signal });
  const text = await answer.text();
  const invocation = answer.headers.get('x-clrk-invocation-id') ?? '';
  io.out(`HTTP ${answer.status} in ${((performance.now() - begun) / 1000).toFixed(2)} s, invocation ${invocation}\n\n${text.trimEnd()}\n`);

  title('What left the sandbox (from the ClickHouse records of this invocation)');
  const records = await recordsOf(target, invocation, signal);
  io.out(exchangeTable(io, records));
  io.out('\nThe agent never had the key: the gateway put it in after the requests had left the sandbox.\n');
  const allowed = records.filter((r) => r.verdict === 'Allowed').length;
  const denied = records.filter((r) => r.verdict === 'Denied' && r.protocol === 'https').length;
  await options.keep?.(stack);
  return answer.status === 200 && allowed >= 2 && denied >= 1 ? 0 : 1;
};
