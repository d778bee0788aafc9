import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, inject, onTestFailed } from 'vitest';
import { parse } from 'yaml';
import { exited, messageOf, poll, run as runCommand, spawnChild } from '#lib';
import { createLab, type Lab } from '../../src/supervisor/lab.ts';
import { runDirOf } from '../../src/supervisor/run-dir.ts';
import type { SeenRequest } from '../fixtures/openai/server.ts';
import { APP } from '../fixtures/quickstart.ts';
import { command, type CommandOptions, type CommandResult } from './support/command.ts';
import { linkImages } from './support/images.ts';
import { mountsOf, pidsInNamespace, processesOf, withoutForks } from './support/leftovers.ts';
import { fixtureGateway, probeAgent, quickstart, type Manifest } from './support/manifests.ts';
import { startNamespaceClient, type HttpAnswer, type NamespaceClient } from './support/namespace-client.ts';

/** A whole stack on real parts: `clrk dev` in a namespace whose only neighbour is the provider fixture. */

const CLRK = [process.execPath, join(APP, 'src', 'cmd', 'clrk.ts')];
export const TOOLS = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools');
const RUNTIME = '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default';

/** A line of `clrk egress log -o json`. */
export interface Exchange {
  readonly time: string;
  readonly invocation: string;
  readonly agent: string;
  readonly gateway: string;
  readonly route: string;
  readonly protocol: string;
  readonly method: string;
  readonly host: string;
  readonly destination: string;
  readonly path: string;
  readonly status: number;
  readonly verdict: 'Allowed' | 'Denied';
  readonly reason: string;
  readonly decisionId: string;
  readonly revision: string;
  readonly model: string;
  /** null while unknown: denied, or never answered. */
  readonly inputTokens: number | null;
  readonly outputTokens: number | null;
  readonly durationMs: number;
  readonly provider: string;
  readonly operation: string;
  readonly stream: boolean;
  readonly routeMatched: boolean;
  readonly maxTokens: number | null;
  readonly responseModel: string;
  readonly responseId: string;
  readonly finishReasons: readonly string[];
  readonly cachedInputTokens: number | null;
  readonly reasoningTokens: number | null;
  readonly reservedTokens: number | null;
  readonly costUsd: number | null;
  readonly costEstimated: boolean;
  readonly budgetOverrun: boolean;
  readonly providerFetches: readonly string[];
  readonly credentialsReplaced: readonly string[];
  readonly credentialsEchoed: readonly string[];
  readonly traceId: string;
  readonly spanId: string;
}

export interface Invocation {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly parentRef: { readonly name: string }; readonly trigger: { readonly type: string } };
  readonly status: {
    readonly phase: string;
    readonly reason?: string;
    readonly message?: string;
    readonly revision?: string;
    readonly worker?: string;
    readonly traceId?: string;
    readonly exitCode?: number;
    readonly firstByteMs?: number;
    readonly outputBytes?: number;
    readonly queuedMs?: number;
  };
}

/** What a caller of the ingress gets. */
export interface InvokeResult extends HttpAnswer {
  /** `x-clrk-invocation-id`. */
  readonly invocation: string;
}

/** How the steps of a probe went, in their order (see test/fixtures/probe). */
export interface ProbeAnswer {
  readonly event: Readonly<Record<string, unknown>>;
  readonly results: readonly (Readonly<Record<string, unknown>> | null)[];
}

interface K8sObject extends Manifest {
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[];
    readonly [field: string]: unknown;
  };
}

export interface HarnessOptions {
  /** More arguments for `clrk dev`. */
  readonly devArgs?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Puts the state directory (but for images) on a file system of its own with this much room, in bytes. */
  readonly diskBytes?: number;
}

/** Resolves with what `probe` returns once it is not undefined; fails with `what` (and the last error) after `ms`. */
export const eventually = async <T>(what: string, probe: () => Promise<T | undefined> | T | undefined, ms = 15_000, everyMs = 100): Promise<T> => {
  let last = '';
  const signal = AbortSignal.timeout(ms);
  const attempt = async (): Promise<T | undefined> => {
    try {
      return await probe();
    } catch (error) {
      last = `; last error: ${messageOf(error)}`;
      return undefined;
    }
  };
  try {
    return await poll(attempt, everyMs, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Error(`not within ${ms} ms: ${what}${last}`, { cause: error });
  }
};

const startProvider = async (lab: Lab, dir: string, key: string): Promise<AsyncDisposable> => {
  await mkdir(dir, { recursive: true });
  const argv = [join(APP, 'test/fixtures/openai/main.ts'), '--listen', `${lab.fixtureIp}:443`, '--dir', dir, '--api-key', key];
  const child = spawnChild(process.execPath, argv, { netns: lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = exited(child).then(() => {
    throw new Error('the provider fixture ended');
  });
  ended.catch(() => {});
  await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), ended]);
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};

/** A `clrk dev` process with its log; disposing it stops it the way a person would, and checks that it went well. */
const startDev = async (lab: Lab, state: string, logFile: string, { devArgs = [], env = {} }: HarnessOptions) => {
  const log = createWriteStream(logFile, { flags: 'a' });
  const child = spawnChild(CLRK[0]!, [CLRK[1]!, 'dev', '--clrk-dir', state, ...devArgs], {
    netns: lab.stack,
    env: { ...process.env, CLRK_TOOLS: TOOLS, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout!.pipe(log, { end: false });
  child.stderr!.pipe(log, { end: false });
  return {
    pid: child.pid!,
    exited: exited(child),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      const exit = await exited(child);
      clearTimeout(timer);
      log.end();
      if (exit.code !== 0) throw new Error(`clrk dev ended with ${exit.code ?? exit.signal} on SIGTERM`);
    },
  };
};

/** Nothing of a stack may be left but its state: no process, mount, socket directory, or inhabitant of its namespaces. */
const assertNothingLeft = async (state: string, lab: Lab, own: readonly number[], mounts: readonly string[], mountNamespace: number): Promise<void> => {
  const run = runDirOf(state);
  expect(
    (await processesOf(state, run)).map(({ argv }) => argv.join(' ')),
    'processes left behind',
  ).toEqual([]);
  expect(await mountsOf('self', state, run), 'mounts left behind').toEqual(mounts);
  expect(await pidsInNamespace('mnt', mountNamespace), 'processes left with the mounts of the stack').toEqual([]);
  await expect(stat(run), 'run directory left behind').rejects.toThrow('ENOENT');
  await expect(stat(join(state, 'dev.json')), 'dev.json left behind').rejects.toThrow('ENOENT');
  expect(
    (await pidsInNamespace('net', (await stat(lab.stack)).ino)).filter((pid) => !own.includes(pid)),
    'processes left in the namespace',
  ).toEqual([]);
  const links = (await runCommand('ip', ['-json', 'link'], { netns: lab.stack })).stdout;
  expect((JSON.parse(links) as { ifname: string }[]).map(({ ifname }) => ifname).toSorted(), 'links left in the namespace').toEqual(['lo', 'uplink0']);
  expect((await runCommand('nft', ['list', 'tables'], { netns: lab.stack })).stdout, 'rules left in the namespace').toBe('');
};

export class TestStack implements AsyncDisposable {
  readonly dir: string;
  readonly state: string;
  readonly run: string;
  readonly lab: Lab;
  /** The real key, which no part of the stack may show. */
  readonly key: string;
  readonly logFile: string;
  readonly client: NamespaceClient;
  readonly #resources: AsyncDisposableStack;
  readonly #options: HarnessOptions;
  #dev: Awaited<ReturnType<typeof startDev>> | undefined;
  #urls: { readonly api: string; readonly ingress: string; readonly pid: number } | undefined;
  /** Mounts that are the harness's own. */
  #mounts: readonly string[] = [];
  #tls: { ca: string; cert: string; key: string } | undefined;

  constructor(parts: Pick<TestStack, 'dir' | 'state' | 'lab' | 'key' | 'client'>, resources: AsyncDisposableStack, options: HarnessOptions) {
    this.dir = parts.dir;
    this.state = parts.state;
    this.run = runDirOf(parts.state);
    this.lab = parts.lab;
    this.key = parts.key;
    this.client = parts.client;
    this.logFile = join(parts.dir, 'dev.log');
    this.#resources = resources;
    this.#options = options;
  }

  /** Starts `clrk dev` and waits until it is usable. */
  async start(): Promise<void> {
    this.#mounts = await mountsOf('self', this.state);
    this.#dev = await startDev(this.lab, this.state, this.logFile, this.#options);
    const ended = this.#dev.exited.then(async (exit) => {
      throw new Error(`clrk dev ended early (${exit.code ?? exit.signal}):\n${await this.log()}`);
    });
    ended.catch(() => {});
    const ready = this.clrk(['dev', 'wait-ready', '--timeout', '60s', '--interval', '200ms']).then(async ({ code, stderr }) => {
      if (code !== 0) throw new Error(`not ready: ${stderr}\n${await this.log()}`);
    });
    await Promise.race([ready, ended]);
    this.#urls = JSON.parse(await readFile(join(this.state, 'dev.json'), 'utf8')) as { api: string; ingress: string; pid: number };
    const config = parse(await readFile(join(this.state, 'kubeconfig.host'), 'utf8')) as {
      clusters: [{ cluster: Record<string, string> }];
      users: [{ user: Record<string, string> }];
    };
    const pem = (text: string | undefined): string => Buffer.from(text!, 'base64').toString();
    const { user } = config.users[0];
    this.#tls = {
      ca: pem(config.clusters[0].cluster['certificate-authority-data']),
      cert: pem(user['client-certificate-data']),
      key: pem(user['client-key-data']),
    };
  }

  /** Kills `clrk dev` with SIGKILL; its children must go with it. */
  async killDev(): Promise<void> {
    const dev = this.#dev!;
    this.#dev = undefined;
    process.kill(dev.pid, 'SIGKILL');
    await dev.exited;
  }

  /** Stops `clrk dev` with SIGTERM and checks that only state is left. */
  async stop(): Promise<void> {
    const dev = this.#dev;
    if (!dev) return;
    this.#dev = undefined;
    const { ino } = await stat(`/proc/${dev.pid}/ns/mnt`);
    expect(ino, 'mounts of its own').not.toBe((await stat('/proc/self/ns/mnt')).ino);
    await dev[Symbol.asyncDispose]();
    await assertNothingLeft(this.state, this.lab, [this.client.pid], this.#mounts, ino);
  }

  get devPid(): number {
    return this.#dev!.pid;
  }
  /** A file of the stack's mount namespace (namespaces of sandboxes are mounts there), for processes outside. */
  inside(path: string): string {
    return `/proc/${this.devPid}/root${path}`;
  }
  get urls(): { readonly api: string; readonly ingress: string; readonly pid: number } {
    return this.#urls!;
  }

  /** The command line, inside the stack's namespace and against its state directory. */
  clrk(args: readonly string[], { env = {}, ...options }: Omit<CommandOptions, 'netns'> = {}): Promise<CommandResult> {
    return command([...CLRK, ...args, '--clrk-dir', this.state], { ...options, netns: this.lab.stack, env: { CLRK_TOOLS: TOOLS, ...env } });
  }

  kubectl(args: readonly string[]): Promise<CommandResult> {
    return command(['kubectl', '--kubeconfig', join(this.state, 'kubeconfig.host'), ...args], { netns: this.lab.stack, env: { HOME: this.dir } });
  }

  /** A call of the API as admin; a status of 400 and above is an error with the API's message. */
  async api<T = K8sObject>(method: string, path: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<T> {
    const answer = await this.client.request({
      url: `${this.urls.api}${path}`,
      method,
      headers: { accept: 'application/json', 'content-type': 'application/json', ...headers },
      tls: this.#tls!,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.json() as T;
  }

  /** An object of our kinds in namespace default. */
  get(plural: string, name: string): Promise<K8sObject> {
    return this.api('GET', `/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/${plural}/${name}`);
  }

  /** Applies objects with `clrk apply`. */
  async apply(...manifests: readonly Manifest[]): Promise<void> {
    const file = join(this.dir, `apply-${randomBytes(4).toString('hex')}.json`);
    await writeFile(file, manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n'));
    const { code, stderr } = await this.clrk(['apply', '-f', file]);
    await rm(file);
    if (code !== 0) throw new Error(`clrk apply: ${stderr}`);
  }

  /** Sets a Secret with `clrk secret set`. */
  async secret(name: string, values: Readonly<Record<string, string>>): Promise<void> {
    const { code, stderr } = await this.clrk([
      'secret',
      'set',
      name,
      ...Object.entries(values).flatMap(([key, value]) => ['--from-literal', `${key}=${value}`]),
    ]);
    if (code !== 0) throw new Error(`clrk secret set: ${stderr}`);
  }

  /** Waits for a condition of an object and returns it. */
  condition(plural: string, name: string, type: string, status: 'True' | 'False', ms?: number) {
    return eventually(
      `${plural}/${name} has ${type}=${status}`,
      async () => {
        const { conditions } = (await this.get(plural, name)).status ?? {};
        const found = conditions?.find((condition) => condition.type === type);
        if (found?.status !== status) throw new Error(`conditions: ${JSON.stringify(conditions)}`);
        return found;
      },
      ms,
    );
  }

  /** Waits until the gateway's rules that name the newest generation are in force on its worker. */
  async programmed(gateway = 'default'): Promise<void> {
    await this.condition('egressgateways', gateway, 'Ready', 'True');
  }

  async invoke(agent: string, body: unknown = '', headers: Readonly<Record<string, string>> = {}, signal?: AbortSignal): Promise<InvokeResult> {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await this.client.request(
      {
        url: `${this.urls.ingress}/default/${agent}`,
        method: 'POST',
        headers: { 'content-type': typeof body === 'string' ? 'text/plain' : 'application/json', ...headers },
        body: text,
      },
      signal,
    );
    return { ...answer, invocation: answer.headers['x-clrk-invocation-id'] ?? '' };
  }

  /** Runs the steps of a probe agent, which must succeed. */
  async probe(agent: string, ...steps: object[]): Promise<ProbeAnswer & { readonly invocation: string }> {
    const answer = await this.invoke(agent, { steps });
    if (answer.status !== 200) throw new Error(`probe: ${answer.status} ${answer.text}`);
    return { ...(answer.json() as ProbeAnswer), invocation: answer.invocation };
  }

  invocation(id: string): Promise<Invocation> {
    return this.api<Invocation>('GET', `${RUNTIME}/invocations/${id}`);
  }

  /** The invocation once it has ended. */
  ended(id: string, ms?: number): Promise<Invocation> {
    return eventually(
      `invocation ${id} ends`,
      async () => {
        const invocation = await this.invocation(id);
        if (!['Succeeded', 'Failed', 'Timeout', 'Rejected'].includes(invocation.status.phase)) throw new Error(`phase ${invocation.status.phase}`);
        return invocation;
      },
      ms,
    );
  }

  /**
   * The records of an invocation by `clrk egress log`, once `complete` holds (records lag by about a second); without the questions
   * of DNS that were answered, of which there is one before nearly everything.
   */
  egressLog(invocation: string, complete: (records: readonly Exchange[]) => boolean, ms?: number): Promise<Exchange[]> {
    return eventually(
      `the records of ${invocation} are complete`,
      async () => {
        const { code, stdout, stderr } = await this.clrk(['egress', 'log', '--invocation', invocation, '-o', 'json']);
        if (code !== 0) throw new Error(stderr);
        const records = stdout
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line) as Exchange)
          .filter(({ protocol, verdict }) => protocol !== 'dns' || verdict === 'Denied');
        if (!complete(records)) throw new Error(`records: ${JSON.stringify(records)}`);
        return records;
      },
      ms,
    );
  }

  /** What the provider saw, in order. */
  async seen(): Promise<SeenRequest[]> {
    const text = await readFile(join(this.dir, 'fixture', 'seen.jsonl'), 'utf8');
    return text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as SeenRequest);
  }

  /** What the provider saw of one trace, once there are `count` requests. */
  seenOf(traceId: string, count = 1): Promise<SeenRequest[]> {
    return eventually(`the provider sees ${count} requests of trace ${traceId}`, async () => {
      const requests = (await this.seen()).filter(({ headers }) => String(headers['traceparent']).includes(traceId));
      return requests.length >= count ? requests : undefined;
    });
  }

  /** Pids of a program of this stack: one of `src/cmd` (`worker`, `egress`, …), or `envoy`, `runsc-sandbox`, …. */
  async pids(component: string): Promise<number[]> {
    const all = await processesOf(this.state, this.run);
    const found = all.filter(({ argv }) => (argv[0]!.endsWith('node') ? basename(argv[1] ?? '') === `${component}.ts` : basename(argv[0]!) === component));
    return withoutForks(found.map(({ pid }) => pid));
  }

  /** Kills the one process of a component with SIGKILL and returns its pid. */
  async kill(component: string): Promise<number> {
    const pids = await this.pids(component);
    expect(pids, `processes of ${component}`).toHaveLength(1);
    process.kill(pids[0]!, 'SIGKILL');
    return pids[0]!;
  }

  /** Resolves when another process of that component runs than `before`. */
  restarted(component: string, before: number): Promise<number> {
    return eventually(`${component} is back`, async () => (await this.pids(component)).find((pid) => pid !== before), 20_000);
  }

  /** The end of what `clrk dev` printed, without what Envoy says about its own API. */
  async log(lines = 60): Promise<string> {
    const text = await readFile(this.logFile, 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => !line.includes('marked as work-in-progress'))
      .slice(-lines)
      .join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } finally {
      await this.#resources.disposeAsync();
    }
  }
}

/** Prints the end of the stack's log when the running test fails. Call it in `beforeEach`. */
export const showLogOnFailure = (stack: () => TestStack | undefined): void =>
  onTestFailed(async () => {
    console.error(`---- log of clrk dev\n${await stack()?.log()}\n----`);
  });

/** A namespace, a provider and an empty state directory with images in it; `clrk dev` is not started yet. */
export const prepareStack = async (options: HarnessOptions = {}): Promise<TestStack> => {
  const resources = new AsyncDisposableStack();
  const dir = await realpath(await mkdtemp(join(tmpdir(), 'clrk-e2e-')));
  resources.defer(() => (process.env['CLRK_KEEP'] ? undefined : rm(dir, { recursive: true, force: true })));
  try {
    const lab = resources.use(await createLab(join(dir, 'lab')));
    const key = `sk-proj-${randomBytes(30).toString('base64url')}`;
    resources.use(await startProvider(lab, join(dir, 'fixture'), key));
    const client = resources.use(await startNamespaceClient(lab.stack));
    const state = join(dir, 'state');
    await mkdir(state, { mode: 0o700 });
    if (options.diskBytes !== undefined) {
      await runCommand('mount', ['-t', 'tmpfs', '-o', `size=${options.diskBytes},mode=0700`, 'clrk-test', state]);
      resources.defer(async () => void (await runCommand('umount', ['--lazy', state])));
      await mkdir(join(dir, 'images'));
      await mkdir(join(state, 'images'));
      await runCommand('mount', ['--bind', join(dir, 'images'), join(state, 'images')]);
    }
    await linkImages(inject('images'), join(options.diskBytes === undefined ? state : dir, 'images'));
    return new TestStack({ dir, state, lab, key, client }, resources, options);
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
};

/** A running stack with the quickstart applied, and agent `probe` beside it, both ready. */
export const startStack = async (options: HarnessOptions = {}): Promise<TestStack> => {
  const stack = await prepareStack(options);
  try {
    await stack.start();
    await stack.secret('openai', { authorization: `Bearer ${stack.key}` });
    const ca = join(stack.dir, 'fixture', 'ca.pem');
    const { code, stderr } = await stack.clrk(['secret', 'set', 'fixture-ca', '--from-file', `ca.crt=${ca}`]);
    if (code !== 0) throw new Error(stderr);
    const manifests = (await quickstart()).map((manifest) => (manifest.kind === 'EgressGateway' ? fixtureGateway(manifest, stack.lab.fixtureIp) : manifest));
    await stack.apply(...manifests, probeAgent('probe'));
    await stack.programmed();
    for (const agent of ['summarizer', 'probe']) await stack.condition('taskagents', agent, 'Ready', 'True', 60_000);
    return stack;
  } catch (error) {
    const log = await stack.log();
    await stack[Symbol.asyncDispose]().catch(() => {});
    throw new Error(`the stack did not start: ${messageOf(error)}\n${log}`, { cause: error });
  }
};
