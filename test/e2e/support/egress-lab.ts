import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import { AsyncQueue, contentRevision, exited, readyReport, READY_STDIO, run, spawnChild, stopChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import { layout, type AccessLine, type AiRoute, type EgressDesired, type EgressLine, type EgressReport, type PolicySet } from '#model';
import { Claims, connect, createRpcServer, Desired, type Implementation } from '#wire';
import { createSandboxNetwork, type SandboxNetwork } from '../../../src/sandbox/sandbox-network.ts';
import { createLab, type Lab } from '../../../src/supervisor/lab.ts';
import type { SeenRequest } from '../../fixtures/openai/server.ts';
import { eventually } from '../harness.ts';
import { processes } from './leftovers.ts';
import { createPlace, UIDS, type TestPlace } from './place.ts';
import type { Step, StepAnswer } from './sandbox-client.ts';

/**
 * Worker, egress, front and Envoy as they are, in a namespace beside the provider fixture; the test is controller-manager, and
 * namespaces of their own stand in for sandboxes.
 */

const APP = join(import.meta.dirname, '..', '..', '..');
export const TOOLS = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools');

export const KEY = `sk-${randomUUID()}`;
export const GATEWAY = 'default/gw';
export const OPENAI = 'api.openai.com';
export const JSON_BODY = { 'content-type': 'application/json' };
export const CHAT = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 16 });

/** Sandbox `n` of agent `n` (0 to 15): a block of its own. */
export const pairOf = (n: number) => ({ block: `100.64.${n * 16}.0/20`, host: `100.64.${n * 16}.4`, sandbox: `100.64.${n * 16}.5`, inherited: false });
export const PAIR = pairOf(0);

export const aiRoute: AiRoute = {
  route: { namespace: 'default', name: 'llm' },
  createdAt: 1,
  listeners: ['tls'],
  rules: [{ index: 0, matches: [{ provider: 'openai' }], budgets: [], notBuilt: [] }],
  credential: { policy: 'default/key', credential: 'cred:default/key', inject: { kind: 'Header', header: 'authorization' } },
  hosts: [OPENAI],
};

const toMessage = ({ gateways }: EgressDesired) => ({ gateways: gateways.map((gateway) => ({ ...gateway, credentials: [...gateway.credentials] })) });

const lines = async <Line>(path: string): Promise<readonly Line[]> =>
  (await readFile(path, 'utf8').catch(() => ''))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);

export class EgressLab implements AsyncDisposable {
  readonly resources = new AsyncDisposableStack();
  readonly #desired = new Set<AsyncQueue<ReturnType<typeof toMessage>>>();
  #wanted: EgressDesired = { gateways: [] };
  report: EgressReport | undefined;
  /** Values of credentials beside that of the AI route. */
  readonly values = new Map([['cred:default/other', 'Bearer other']]);
  state!: string;
  runDir!: string;
  place!: TestPlace;
  lab!: Lab;
  at!: ReturnType<ReturnType<typeof layout>['worker']>;
  /** Directory of the provider fixture. */
  provider!: string;
  rootPem!: string;
  #intermediate!: { certPem: string; keyPem: string };
  sandbox!: SandboxNetwork;
  trustBundle!: string;

  /** `nameServer`: where names of upstreams are asked for. */
  static async start(change: Partial<PolicySet> = {}, nameServer?: string): Promise<EgressLab> {
    const lab = new EgressLab();
    try {
      await lab.#start(change, nameServer);
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(change: Partial<PolicySet>, nameServer: string | undefined): Promise<void> {
    const { resources } = this;
    this.state = await mkdtemp(join(tmpdir(), 'clrk-e2e-'));
    resources.defer(() => rm(this.state, { recursive: true, force: true }));
    this.runDir = await mkdtemp('/run/clrk-e2e-');
    resources.defer(() => rm(this.runDir, { recursive: true, force: true }));
    this.at = layout(this.state, this.runDir).worker('0');
    this.place = resources.use(await createPlace(this.runDir, { state: this.state, tools: TOOLS }));
    this.provider = join(this.state, 'provider');
    await mkdir(this.provider);
    this.lab = resources.use(await createLab(join(this.runDir, 'lab')));

    const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
    const authority = await createAuthority({ subject: 'CN=root', ca: { pathLength: 1 }, ...valid });
    this.rootPem = authority.certPem;
    this.#intermediate = await (await loadSigner(authority)).issue({ subject: 'CN=intermediate', ca: { pathLength: 0 }, ...valid });

    for (const socket of [layout(this.state, this.runDir).desiredSocket, layout(this.state, this.runDir).desiredEgressSocket])
      await resources.use(createRpcServer().add(Desired, this.#controller())).listen(socket);

    await this.#startProvider(this.lab.fixture);
    this.trustBundle = await readFile(join(this.provider, 'ca.pem'), 'utf8');
    await this.#startWorker(this.lab.stack, nameServer === undefined ? [] : ['--upstream-dns', nameServer]);
    await this.enforce(this.policyOf(change));
    this.sandbox = await this.newSandbox(0);
  }

  #controller(): Implementation<typeof Desired> {
    const desired = this.#desired;
    const wanted = (): EgressDesired => this.#wanted;
    const heard = (report: EgressReport): void => void (this.report = report);
    return {
      async *workers() {},
      async *worker() {
        yield { revisions: [], gateways: [] };
        await new Promise(() => {});
      },
      async *egress(reports, { signal }) {
        const queue = new AsyncQueue<ReturnType<typeof toMessage>>();
        desired.add(queue);
        signal.addEventListener('abort', () => (desired.delete(queue), queue.end()));
        void (async () => {
          for await (const next of reports) heard(next);
        })();
        if (wanted().gateways.length > 0) queue.push(toMessage(wanted()));
        yield* queue;
      },
    };
  }

  async #startProvider(netns: string): Promise<void> {
    const argv = [join(APP, 'test/fixtures/openai/main.ts'), '--listen', '10.213.0.2:443', '--dir', this.provider, '--api-key', KEY];
    const child = spawnChild(process.execPath, argv, { netns, stdio: ['ignore', 'pipe', 'inherit'] });
    this.resources.defer(async () => void (await stopChild(child)));
    await once(createInterface({ input: child.stdout! }), 'line');
  }

  async #startWorker(netns: string, more: readonly string[]): Promise<void> {
    const { place, runDir } = this;
    const argv = ['--state', place.state, '--run', runDir, '--tools', place.tools, '--name', '0', '--pool', 'default/default', '--uids', String(UIDS), ...more];
    const child = place.start('worker', argv, { netns, stdio: READY_STDIO, env: { ...process.env, CLRK_LOG_LEVEL: 'info' } });
    let log = '';
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
    this.resources.defer(async () => {
      await stopChild(child);
      if (process.env['CLRK_TEST_LOG']) console.error(log);
      expect(log).not.toContain(KEY);
    });
    await Promise.race([readyReport(child), exited(child).then(() => Promise.reject(new Error(`the worker ended:\n${log}`)))]);
  }

  /** The network of sandbox `n`, in place of the sandbox. */
  async newSandbox(n: number): Promise<SandboxNetwork> {
    const dir = join(this.state, `sandbox${n}`);
    await mkdir(dir);
    return this.resources.use(await createSandboxNetwork(this.place.outside(this.at.gatewayNetns), dir, `sb${n}`, pairOf(n)));
  }

  policyOf(change: Partial<PolicySet> = {}): PolicySet {
    const content = {
      gateway: { namespace: 'default', name: 'gw' },
      defaultPolicy: 'deny-all' as const,
      listeners: [{ name: 'tls', shape: 'tls-terminate' as const }],
      requestTimeoutMs: 10_000,
      lookupFamily: 'V4Preferred' as const,
      hostAliases: [{ ip: '10.213.0.2', hostnames: [OPENAI] }],
      trustBundle: this.trustBundle,
      aiRoutes: [aiRoute],
      l4Routes: [],
      mcpRoutes: [],
      ...change,
    };
    return { ...content, revision: contentRevision(content) };
  }

  /** Puts a policy in force, as a controller would, and waits until Envoy has it. */
  async enforce(policy: PolicySet, key = KEY): Promise<void> {
    this.#wanted = {
      gateways: [
        {
          gateway: GATEWAY,
          policySet: JSON.stringify(policy),
          rootPem: this.rootPem,
          intermediatePem: this.#intermediate.certPem,
          intermediateKeyPem: this.#intermediate.keyPem,
          credentials: [{ name: 'cred:default/key', value: `Bearer ${key}` }, ...[...this.values].map(([name, value]) => ({ name, value }))],
        },
      ],
    };
    for (const queue of this.#desired) queue.push(toMessage(this.#wanted));
    await eventually(`revision ${policy.revision} in force`, () => (this.report?.gateways[0]?.revision === policy.revision ? true : undefined));
  }

  async inSandbox(step: Step, network = this.sandbox): Promise<StepAnswer> {
    const { stdout } = await run(process.execPath, [join(APP, 'test/e2e/support/sandbox-client.ts'), JSON.stringify(step)], { netns: network.netns });
    return JSON.parse(stdout) as StepAnswer;
  }

  async addressOf(name: string, network = this.sandbox): Promise<string> {
    const { addresses, error } = await this.inSandbox({ do: 'dns', name, type: 'A' }, network);
    expect(error).toBeUndefined();
    expect(addresses).toHaveLength(1);
    return addresses![0]!;
  }

  /** Binds sandbox `n` to a run of agent `default/<agent>`. */
  async claim(n = 0, agent = 'agent', invocation = randomUUID()) {
    const { block, sandbox } = pairOf(n);
    const claims = connect(Claims, this.at.claimsSocket);
    try {
      const binding = { address: sandbox, block, namespace: 'default', agent, invocation, traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) };
      return await claims.bind({ ...binding, gateways: [GATEWAY] });
    } finally {
      claims.close();
    }
  }

  /** What the provider saw, in order. */
  seen(): Promise<readonly SeenRequest[]> {
    return lines<SeenRequest>(join(this.provider, 'seen.jsonl'));
  }

  accessLines(): Promise<readonly AccessLine[]> {
    return lines<AccessLine>(this.at.accessLog(0));
  }

  egressLines(): Promise<readonly EgressLine[]> {
    return lines<EgressLine>(this.at.egressLog);
  }

  /** The access line of the decision an answer names. */
  lineOf(id: string): Promise<AccessLine> {
    return eventually(`access line ${id}`, async () => (await this.accessLines()).find((line) => line.id === id));
  }

  async pidOf(commandLine: string): Promise<number> {
    return (await processes()).findLast(({ argv }) => argv.join(' ').includes(commandLine))!.pid;
  }

  egressPid(): Promise<number> {
    return this.pidOf(`src/cmd/egress.ts --state ${this.place.state}`);
  }

  envoyPid(): Promise<number> {
    return this.pidOf(`${this.runDir}/tools/bin/envoy -c ${this.at.dir}`);
  }

  /** What tells where packets went wrong: the ruleset of the gateway namespace and the last lines of both logs. */
  async diagnosis(): Promise<string> {
    const [ruleset, access, egress] = await Promise.all([
      run('nft', ['list', 'table', 'inet', 'gateway'], { netns: this.at.gatewayNetns }).then(({ stdout }) => stdout, String),
      this.accessLines(),
      this.egressLines(),
    ]);
    return [ruleset, ...[...access.slice(-8), ...egress.slice(-8)].map((line) => JSON.stringify(line))].join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.resources.disposeAsync();
  }
}

/** The JSON of a refusal. */
export const denialOf = ({ body }: StepAnswer) => (JSON.parse(body!) as { error: Record<string, string> }).error;
