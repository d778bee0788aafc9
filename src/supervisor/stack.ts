import { mkdir, readFile, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ClrkError, readIfExists, sweepTemporaries, writeFileAtomic } from '#lib';
import { stringify } from 'yaml';
import { identities, layout } from '#model';
import { APP } from './app.ts';
import { startProgram, supervisorLogger, type StackContext } from './children.ts';
import { lockHolder, takeLock } from './lock.ts';
import { makeSocketDirs, ownKeys, ownState } from './ownership.ts';
import { ensurePki } from './pki.ts';
import { bindPlace, checkPlace } from './place.ts';
import { renderLogLine } from './render-log.ts';
import { createRunDir, runDirOf } from './run-dir.ts';
import { checkTools } from './setup.ts';
import { claimUids } from './uids.ts';
import { Workers } from './workers.ts';

/** What `DIR/dev.json` says about a running stack. */
export interface DevInfo {
  readonly pid: number;
  /** URLs. */
  readonly api: string;
  readonly ingress: string;
  readonly startedAt: string;
}

export interface Stack extends AsyncDisposable, DevInfo {}

export interface StackOptions {
  /** State directory; made when absent. */
  readonly dir: string;
  /** Where `bin/envoy` and `bin/runsc` are. */
  readonly tools: string;
  readonly write: (line: string) => void;
  /** Name servers that names of upstreams are asked of, instead of the machine's: `address` or `address:port`, with commas between. */
  readonly upstreamDns?: string | undefined;
}

/** Where the tools of a state directory are; `CLRK_TOOLS` shares one set among several. */
export const toolsDirOf = (dir: string): string => process.env['CLRK_TOOLS'] ?? join(dir, 'tools');

/**
 * Starts a whole stack and resolves when its API and ingress answer. Disposing it ends every process, namespace and mount;
 * what stays is state. Refused with StackRunning while another one holds the directory.
 *
 * Start order: consumes nothing -> store (records) -> controller-manager (API, desired state) -> dispatcher (triggers, journal)
 * -> workers, as many as pools want.
 */
export const startStack = async ({ dir, tools, write, upstreamDns }: StackOptions): Promise<Stack> => {
  if (process.getuid?.() !== 0) throw new ClrkError('NotRoot', { command: 'clrk dev' });
  await mkdir(dir, { recursive: true, mode: 0o711 });
  const state = await realpath(dir);
  await using started = new AsyncDisposableStack();
  started.use(await takeLock(join(state, 'dev.lock'), dir));
  await Promise.all([state, join(state, 'pki')].map((each) => sweepTemporaries(each)));
  await checkTools(tools);
  const run = runDirOf(state);
  started.use(await createRunDir(run));
  const { base } = started.use(await claimUids(state));
  const ids = identities(base);
  await ensurePki(join(state, 'pki'));
  await Promise.all([ownState(state, ids), ownKeys(join(state, 'pki'), ids), makeSocketDirs(run, ids)]);
  const place = await bindPlace(run, { state, tools });
  await checkPlace(place, tools, ids.worker('0').egress);

  const says = ownPaths([place.state, state], [place.app, APP], [place.tools, tools]);
  const context: StackContext = { place, run, write: (line) => write(says(line)), log: supervisorLogger(write, renderLogLine) };
  const [, manager] = await Promise.all([
    startProgram(context, 'store', ids.store).then((program) => started.use(program)),
    startProgram(context, 'controller-manager', ids.controllerManager).then((program) => started.use(program)),
  ]);
  const api = `https://127.0.0.1:${portOf(manager.report, 'api')}`;
  const devJson = join(state, 'dev.json');
  const startedAt = new Date().toISOString();
  const publish = (ingress: string): Promise<void> => {
    const info: DevInfo = { pid: process.pid, api, ingress, startedAt };
    return writeFileAtomic(devJson, `${JSON.stringify(info, null, 2)}\n`);
  };
  const ingressOf = (report: Record<string, unknown>): string => `http://127.0.0.1:${portOf(report, 'ingress')}`;
  // A dispatcher that is started again and finds its port taken has another one.
  let published: string | undefined;
  const moved = (report: Record<string, unknown>): void => {
    if (published === undefined || published === ingressOf(report)) return;
    published = ingressOf(report);
    publish(published).catch((error: unknown) => context.log.error('dev.json cannot be written', { err: error }));
  };
  const dispatcher = started.use(await startProgram(context, 'dispatcher', ids.dispatcher, ['--api', api], 'dispatcher', moved));
  const ingress = ingressOf(dispatcher.report);
  const workerArgs = upstreamDns === undefined ? [] : ['--upstream-dns', upstreamDns];
  started.use(new Workers({ context, uids: base, desiredSocket: layout(state, run).desiredSocket, args: workerArgs }));

  await writeFileAtomic(join(state, 'kubeconfig.host'), await kubeconfig(state, api));
  started.defer(() => rm(devJson, { force: true }));
  await publish((published = ingress));

  const all = started.move();
  return { pid: process.pid, api, ingress, startedAt, [Symbol.asyncDispose]: () => all.disposeAsync() };
};

/** Lines of children name things by the paths a person knows. */
const ownPaths =
  (...names: readonly (readonly [short: string, own: string])[]) =>
  (line: string): string =>
    names.reduce((text, [short, own]) => text.replaceAll(short, own), line);

const portOf = (report: Record<string, unknown>, name: string): number => {
  const port = (report['ports'] as Record<string, number> | undefined)?.[name];
  if (!port) throw new ClrkError('Internal', { what: `a program became ready without telling its ${name} port` });
  return port;
};

const kubeconfig = async (state: string, server: string): Promise<string> => {
  const data = async (file: string): Promise<string> => (await readFile(join(state, 'pki', file))).toString('base64');
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'clrk',
    clusters: [{ name: 'clrk', cluster: { server, 'certificate-authority-data': await data('ca.crt') } }],
    users: [{ name: 'admin', user: { 'client-certificate-data': await data('admin.crt'), 'client-key-data': await data('admin.key') } }],
    contexts: [{ name: 'clrk', context: { cluster: 'clrk', user: 'admin', namespace: 'default' } }],
  });
};

/** What runs in a state directory; throws StackNotRunning when nothing does (a dev.json left by a killed stack counts as nothing). */
export const runningStack = async (dir: string): Promise<DevInfo> => {
  const text = await readIfExists(join(dir, 'dev.json'));
  const info = text === undefined ? undefined : (JSON.parse(text) as DevInfo);
  if (!info || (await lockHolder(join(dir, 'dev.lock'))) !== info.pid) throw new ClrkError('StackNotRunning', { dir });
  return info;
};
