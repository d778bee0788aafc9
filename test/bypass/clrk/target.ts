import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists, run as runCommand } from '#lib';
import { workerLayout, type StdioLine } from '#model';
import { HOST, type Sighting } from '../../fixtures/canary/places.ts';
import type { SeenRequest } from '../../fixtures/openai/server.ts';
import { eventually, prepareStack, type Exchange, type TestStack } from '../../e2e/harness.ts';
import type { Step } from '../steps.ts';
import type { Part, Run, Target, TargetRecord } from '../target.ts';
import type { VariantName } from '../variants.ts';
import { createWorld, newLines, type World } from '../world.ts';
import { BUILT } from './built.ts';
import { deny, earlyAgent, manifestsOf } from './manifests.ts';

/** clrk itself: `clrk dev` in a namespace whose whole internet are canaries. */

const PROBE = join(import.meta.dirname, '..', '..', 'fixtures', 'probe', 'index.js');
const PROCESSES: Readonly<Record<Part, string>> = {
  proxy: 'envoy',
  'policy-engine': 'egress',
  ledger: 'dispatcher',
  'control-plane': 'controller-manager',
  dns: 'front',
  recorder: 'recorder',
};
const NEIGHBOUR_PORT = 7070;
/** Records take a second to the store, and much longer where the machine has too much to do. */
const RECORDS_MS = 20_000;

const fromProvider = ({ time, method, path, headers, body, sni, source }: SeenRequest): Sighting => ({
  time: Date.parse(time),
  canary: 'provider',
  event: 'request',
  local: '10.213.0.2:443',
  source,
  sni,
  method,
  path,
  headers,
  bytes: body,
});

const trigger = (steps: readonly Step[]): string => JSON.stringify({ steps });

class ClrkTarget implements Target {
  readonly name = 'clrk';
  readonly has: Target['has'] = BUILT;
  readonly key: string;
  readonly stack: TestStack;
  readonly #world: World;
  readonly #seen: () => Promise<readonly SeenRequest[]>;
  readonly #runs = new Set<string>();
  #values: Record<string, string> = {};
  #odd = 0;
  #early = 0;
  #prepared: readonly VariantName[] = [];
  readonly #resources = new AsyncDisposableStack();
  #neighbour: () => Promise<readonly Sighting[]> = async () => [];

  constructor(stack: TestStack, world: World) {
    this.stack = stack;
    this.key = stack.key;
    this.#world = world;
    this.#seen = newLines<SeenRequest>(join(stack.dir, 'fixture', 'seen.jsonl'));
  }

  get values(): Readonly<Record<string, string>> {
    return this.#values;
  }

  async prepare(variants: readonly VariantName[]): Promise<void> {
    const { stack } = this;
    this.#prepared = variants;
    await stack.start();
    await stack.secret('openai', { authorization: `Bearer ${stack.key}` });
    await stack.secret('second', { authorization: 'Bearer sk-second' });
    const provider = await readFile(join(stack.dir, 'fixture', 'ca.pem'), 'utf8');
    for (const [name, bundle] of [
      ['canary-ca', this.#world.ca + provider],
      ['weak-ca', this.#world.ca + this.#world.weakCa],
    ] as const) {
      const file = join(stack.dir, `${name}.pem`);
      await writeFile(file, bundle);
      const { code, stderr } = await stack.clrk(['secret', 'set', name, '--from-file', `ca.crt=${file}`]);
      if (code !== 0) throw new Error(stderr);
    }
    const manifests = variants.flatMap((variant) => manifestsOf(variant, stack.lab.fixtureIp));
    await stack.apply(...manifests);
    for (const { metadata } of manifests.filter(({ kind }) => kind === 'EgressGateway')) {
      // Says that it does not take the weak authority; the rest is in force.
      if (metadata.name === 'weak') await stack.condition('egressgateways', 'weak', 'Ready', 'False', 60_000);
      else await stack.condition('egressgateways', metadata.name, 'Ready', 'True', 60_000);
    }
    for (const { metadata } of manifests.filter(({ kind }) => kind === 'TaskAgent'))
      await stack.condition('taskagents', metadata.name, 'Ready', 'True', 60_000);
    const [, ingress] = /:(\d+)/.exec(stack.urls.ingress.replace('http://', '')) ?? [];
    const [, api] = /:(\d+)/.exec(stack.urls.api.replace('https://', '')) ?? [];
    const addressOf = async (variant: VariantName, name: string): Promise<string> => {
      if (!variants.includes(variant)) return '198.18.0.1';
      const [found] = (await this.run(variant, [{ lookup: name }])).results as [{ address: string }[]];
      return found[0]!.address;
    };
    this.#values = {
      aiAddress: await addressOf('ai', 'api.openai.com'),
      friendAddress: await addressOf('friend', 'allowed.test'),
      ingress: ingress!,
      api: api!,
      host: HOST.address,
      hostPort: String(HOST.port),
      neighbourPort: String(NEIGHBOUR_PORT),
    };
  }

  async run(variant: VariantName, steps: readonly Step[]): Promise<Run> {
    const answer = await this.stack.invoke(variant, trigger(steps), { 'content-type': 'application/json' });
    if (answer.status !== 200) throw new Error(`the run under ${variant} failed: ${answer.status} ${answer.text.slice(0, 2_000)}`);
    const { results } = answer.json() as { results: readonly unknown[] };
    return { id: answer.invocation, results };
  }

  async early(variant: VariantName, steps: readonly Step[]): Promise<Run> {
    const names: string[] = [];
    const results: unknown[] = [];
    for (const step of steps) {
      const name = `early-${this.#early++}`;
      const at = Date.now();
      await this.stack.apply(earlyAgent(name, variant, step));
      const { reason, message } = await eventually(
        `${name} gave its attempt away`,
        async () => {
          const found = await this.stack.condition('taskagents', name, 'WarmPool', 'False', 40_000);
          return found.reason === 'Starting' ? undefined : found;
        },
        40_000,
      );
      results.push([{ at, ms: Date.now() - at, result: [`${reason}: ${message}`] }]);
      names.push(name);
    }
    return { id: `agents ${names.join(' ')}`, results };
  }

  async outside(steps: readonly Step[]): Promise<Run> {
    const { stdout } = await runCommand(process.execPath, [PROBE], { netns: this.stack.lab.stack, input: JSON.stringify({ data: { steps } }) });
    return { id: '', results: (JSON.parse(stdout) as { results: unknown[] }).results };
  }

  async records(run: Run, complete: (records: readonly TargetRecord[]) => boolean): Promise<readonly TargetRecord[]> {
    let last: readonly Exchange[] = [];
    const wanted = (records: readonly Exchange[]): boolean => complete((last = records));
    try {
      if (!run.id.startsWith('agents ')) return await this.stack.egressLog(run.id, wanted, RECORDS_MS);
      return await eventually(
        'records of parked sandboxes',
        async () => ((await this.#ofAgents(run.id.split(' ').slice(1), wanted)) ? last : undefined),
        RECORDS_MS,
      );
    } catch {
      return last;
    }
  }

  async #ofAgents(names: readonly string[], wanted: (records: readonly Exchange[]) => boolean): Promise<boolean> {
    const logs = await Promise.all(names.map((name) => this.stack.clrk(['egress', 'log', '--agent', name, '-o', 'json'])));
    return wanted(
      logs
        .flatMap(({ stdout }) => stdout.split('\n'))
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Exchange),
    );
  }

  async sightings(): Promise<readonly Sighting[]> {
    const packets = await this.#world.odd();
    const odd: Sighting[] =
      packets > this.#odd ? [{ time: Date.now(), canary: 'internet', event: 'packet', local: '', source: '', bytes: `${packets - this.#odd} packets` }] : [];
    this.#odd = packets;
    const all = [
      ...(await this.#world.sightings()),
      ...(await this.#seen()).map(fromProvider),
      ...odd,
      ...(await this.#neighbour()),
      ...(await this.#newRuns()),
    ];
    return all.toSorted((a, b) => a.time - b.time);
  }

  /** Runs of agent `web`, which only attempts at the ingress start. */
  async #newRuns(): Promise<readonly Sighting[]> {
    if (!this.#prepared.includes('web')) return [];
    const { items } = await this.stack.api<{ items: { metadata: { name: string } }[] }>(
      'GET',
      '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/invocations?agent=web',
    );
    const fresh = items.map(({ metadata }) => metadata.name).filter((name) => !this.#runs.has(name));
    for (const name of fresh) this.#runs.add(name);
    return fresh.map((name): Sighting => ({ time: Date.now(), canary: 'runs', event: 'request', local: '', source: '', name }));
  }

  async disturb(part: Part, how: 'frozen' | 'killed'): Promise<() => Promise<void>> {
    const pids = await this.stack.pids(PROCESSES[part]);
    const victims = part === 'proxy' ? await this.#envoyOf('ai', pids) : pids;
    for (const pid of victims) process.kill(pid, how === 'frozen' ? 'SIGSTOP' : 'SIGKILL');
    return async () => {
      if (how === 'frozen') for (const pid of victims) process.kill(pid, 'SIGCONT');
      else await eventually(`${part} is back`, async () => ((await this.stack.pids(PROCESSES[part])).length >= pids.length ? true : undefined), 20_000);
    };
  }

  /** The Envoy of one gateway, by the rules it was given at its start. */
  async #envoyOf(gateway: string, pids: readonly number[]): Promise<readonly number[]> {
    for (const pid of pids) {
      const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
      const config = argv[argv.indexOf('-c') + 1]!;
      if ((await readIfExists(this.stack.inside(config)))?.includes(`default/${gateway}`)) return [pid];
    }
    return pids;
  }

  async change(variant: VariantName): Promise<() => Promise<void>> {
    const name = `broken-${variant}`;
    const kind = ['ai', 'two'].includes(variant) ? 'AIProviderRoute' : 'EgressL4Route';
    await this.stack.apply(deny(name, kind, variant));
    await this.stack.programmed(variant);
    return async () => {
      await this.stack.api('DELETE', `/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/egressdenypolicies/${name}`);
      await this.stack.programmed(variant);
    };
  }

  async neighbour(): Promise<void> {
    const id = randomUUID();
    const headers = { 'content-type': 'application/json', 'x-clrk-invocation-id': id };
    const abort = new AbortController();
    const ended = this.stack.invoke('ai', trigger([{ listen: { port: NEIGHBOUR_PORT, forMs: 120_000 } }]), headers, abort.signal).catch(() => {});
    this.#resources.defer(async () => {
      abort.abort();
      await ended;
    });
    const { bindings, stdioLog } = workerLayout(this.stack.state, this.stack.run, '0');
    const line = await eventually('the neighbour has an address', async () => (await readFile(bindings, 'utf8')).split('\n').find((text) => text.includes(id)));
    const { address } = JSON.parse(line) as { address: string };
    this.#values = { ...this.#values, neighbour: address, neighbourGateway: address.replace(/\d+$/, (last) => String(Number(last) - 1)) };
    const said = newLines<StdioLine>(stdioLog);
    this.#neighbour = async () =>
      (await said())
        .filter(({ invocation, iostream }) => invocation === id && iostream === 'stderr')
        .map(({ time, body }): Sighting => ({
          time: Date.parse(time),
          canary: 'neighbour',
          event: 'bytes',
          local: this.#values['neighbour']!,
          source: '',
          bytes: body,
        }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
    await this.#world[Symbol.asyncDispose]();
    await this.stack[Symbol.asyncDispose]();
  }
}

export const createClrkTarget = async (): Promise<ClrkTarget> => {
  const stack = await prepareStack(BUILT.has('l4') ? { devArgs: ['--upstream-dns', '10.213.0.2:53'] } : {});
  try {
    return new ClrkTarget(stack, await createWorld(stack.lab, join(stack.dir, 'canary')));
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
};
