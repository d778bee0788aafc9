import { randomUUID } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { run } from '#lib';
import { workerLayout } from '#model';
import { Claims, connect } from '#wire';
import { createSandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import type { TestStack } from '../e2e/harness.ts';
import { processesOf } from '../e2e/support/leftovers.ts';
import { quickstart, type Manifest } from '../e2e/support/manifests.ts';
import type { Processes } from './cpu.ts';
import { PROVIDER_HOST } from '../fixtures/openai/server.ts';
import { PORTS } from './upstream.ts';

/** A client's place behind a gateway of a running stack: an address bound to a run, as a sandbox has, without a sandbox. */
export interface Behind extends AsyncDisposable {
  readonly netns: string;
  /** The run its address is bound to. */
  readonly invocation: string;
  /** Asks the DNS of the gateway; in order. */
  resolve(names: readonly string[]): Promise<readonly string[]>;
}

const RESOLVE = `
const names = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const r = new (require('node:dns').promises.Resolver)();
r.setServers(['198.19.255.3']);
const found = {};
let next = 0;
const lane = async () => { for (let name; (name = names[next++]) !== undefined; ) found[name] = (await r.resolve4(name))[0]; };
Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(lane)).then(() => console.log(JSON.stringify(names.map((name) => found[name]))));
`;

/** `n` is different for each place of a stack. */
export const behind = async (stack: TestStack, gateway: string, n: number): Promise<Behind> => {
  const at = workerLayout(stack.state, stack.run, '0');
  const net = `100.127.${240 - n * 16}`;
  const pair = { block: `${net}.0/20`, host: `${net}.4`, sandbox: `${net}.5`, inherited: false };
  const claims = connect(Claims, at.claimsSocket);
  const binding = { address: pair.sandbox, block: pair.block, namespace: 'default', agent: 'probe', invocation: randomUUID() };
  const trace = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) };
  expect(await claims.bind({ ...binding, ...trace, gateways: [`default/${gateway}`] })).toMatchObject({ refused: '' });
  const dir = join(stack.dir, `perf-${n}`);
  await mkdir(dir);
  const network = await createSandboxNetwork(stack.inside(at.gatewayNetns), dir, `sbperf${n}`, pair);
  return {
    netns: network.netns,
    invocation: binding.invocation,
    async resolve(names) {
      const { stdout } = await run(process.execPath, ['-e', RESOLVE], { netns: network.netns, input: JSON.stringify(names) });
      return JSON.parse(stdout) as string[];
    },
    async [Symbol.asyncDispose]() {
      await network[Symbol.asyncDispose]();
      await claims.release({ address: pair.sandbox, invocation: binding.invocation });
      claims.close();
    },
  };
};

const manifest = (kind: string, name: string, spec: Record<string, unknown>): Manifest => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});

/** A gateway with a port for each way to take TLS, whose upstreams are trusted by Secret `bench-ca`. */
export const plainGateway = (name = 'plain'): Manifest =>
  manifest('EgressGateway', name, {
    defaultPolicy: 'deny-all',
    listeners: [
      { name: 'terminate', protocol: 'TLS', port: PORTS.http, tls: { mode: 'Terminate' } },
      { name: 'passthrough', protocol: 'TLS', port: PORTS.passthrough, tls: { mode: 'Passthrough' } },
      { name: 'tcp', protocol: 'TCP', port: PORTS.tcp },
    ],
    upstreamTLS: { additionalTrustBundleSecretRef: { name: 'bench-ca' } },
  });

/** Lets these names through at every port of a gateway. */
export const l4Route = (name: string, gateway: string, destinationHostnames: readonly string[]): Manifest =>
  manifest('EgressL4Route', name, {
    parentRefs: [{ group: 'clrk.apoxy.dev', kind: 'EgressGateway', name: gateway }],
    rules: [{ matches: [{ destinationHostnames }] }],
  });

/** Nobody's budget may run out, and a budget of any size costs the same. */
const MUCH = 1e12;
export const TOKENS_A_DAY = { maxTokensPerDay: MUCH };
/** A counter of each kind. */
export const EVERY_CAP = { maxTokensPerDay: MUCH, maxTokensPerExecution: MUCH, maxCostPerDay: '999999999', maxOutputTokensPerRequest: 4096 };

/** A gateway of the quickstart's route and credential, whose provider is at this address; without caps it has no budget. */
export const aiGateway = async (name: string, ip: string, tokenBudget?: Readonly<Record<string, unknown>>): Promise<Manifest[]> => {
  const upstreamTLS = { hostAliases: [{ ip, hostnames: [PROVIDER_HOST] }], additionalTrustBundleSecretRef: { name: 'bench-ca' } };
  const filters = tokenBudget && { filters: [{ type: 'TokenBudget', tokenBudget }] };
  const own = async (kind: string, change: (spec: Manifest['spec']) => Manifest['spec']): Promise<Manifest> => {
    const { spec } = (await quickstart()).find((one) => one.kind === kind)!;
    return manifest(kind, name, change(spec));
  };
  const parentOf = ({ parentRefs }: Manifest['spec']): Manifest['spec'] => ({ parentRefs: [{ ...(parentRefs as object[])[0], name }] });
  return [
    await own('EgressGateway', (spec) => ({ ...spec, upstreamTLS })),
    await own('AIProviderRoute', (spec) => ({
      ...parentOf(spec),
      rules: (spec['rules'] as { matches: object[] }[]).map(({ matches }) => ({ matches, ...filters })),
    })),
    await own('CredentialInjectionPolicy', (spec) => ({ ...spec, ...parentOf(spec) })),
  ];
};

/** The Envoy of a gateway in namespace default: each gateway has one. */
const envoyOf = async (stack: TestStack, gateway: string): Promise<number> => {
  for (const { pid, argv } of await processesOf(stack.run)) {
    if (!argv[0]!.endsWith('/envoy')) continue;
    const { node } = JSON.parse(await readFile(stack.inside(argv[argv.indexOf('-c') + 1]!), 'utf8')) as { node: { id: string } };
    if (node.id === `default/${gateway}`) return pid;
  }
  throw new Error(`gateway ${gateway} has no Envoy`);
};

/** What a request through a gateway costs somebody: its Envoy, and every process of the stack that has to do with it. */
export const PROCESSES = ['envoy', 'egress', 'dispatcher', 'recorder', 'store'] as const;

export const processesOfGateway = async (stack: TestStack, gateway: string): Promise<Processes> => {
  const [, ...others] = PROCESSES;
  const found = await Promise.all(others.map(async (program) => [program, await stack.pids(program)] as const));
  return { envoy: [await envoyOf(stack, gateway)], ...Object.fromEntries(found) };
};
