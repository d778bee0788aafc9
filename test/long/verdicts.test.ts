import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import type { AccessLine, ConnectionDecision, ConnectionFacts, L4Match, L4Ports, L4Route, ListenerShape, PolicyListener, PolicySet } from '#model';
import { admitsName, decideConnection } from '#policy';
import { cidrContains, parseAddress, parseCidr } from '../../src/policy/cidr.ts';
import type { SandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { eventually } from '../e2e/harness.ts';
import { EgressLab, OPENAI } from '../e2e/support/egress-lab.ts';
import type { Single } from '../e2e/support/sandbox-client.ts';
import { startUpstreams } from '../e2e/support/upstream-servers.ts';

/** Random policies and random connections (`CLRK_SEED=n` for those of a run again): what Envoy does is what `policy.decideConnection` says, and DNS what `admitsName` says. */

const SEED = Number(process.env['CLRK_SEED'] ?? Date.now() % 1_000_000);
const POLICIES = 24;
const FACTS = 20;
const PRIVATE = '10.213.0.2';
const PUBLIC = '203.0.113.7';
const NAMES = ['web.example', 'db.example', 'a.wild.example', 'b.a.wild.example', 'plain.example'];
const PATTERNS = ['web.example', 'db.example', '*.wild.example', 'a.wild.example'];
const PORTS = [80, 5432, 7000, 8080, 8443, 9443];
const AGENTS = ['default/agent', 'default/other'];

/** Numbers that are the same for the same seed. Source: https://prng.di.unimi.it (xorshift, 32 bits). */
const random = (() => {
  let state = SEED || 1;
  return (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
})();
const chance = (p: number): boolean => random() < p;
const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
const some = <T>(from: readonly T[], p: number): readonly T[] => from.filter(() => chance(p));

const SHAPES: readonly ListenerShape[] = ['tls-terminate', 'https', 'http', 'tls-passthrough', 'tcp', 'udp'];
const randomListeners = (): readonly PolicyListener[] =>
  Array.from({ length: 1 + Math.floor(random() * 4) }, (_, i) => ({ name: `l${i}`, shape: pick(SHAPES), ...(chance(0.5) && { port: pick(PORTS) }) }));

const randomPorts = (): L4Ports => {
  const from = pick(PORTS);
  return { from, to: chance(0.3) ? from + 1 + Math.floor(random() * 40) : from };
};
const randomMatch = (): L4Match => {
  const hosts = some(PATTERNS, 0.4);
  const cidrs = some([`${PRIVATE}/32`, '203.0.113.0/24'], 0.4);
  const agents = some(AGENTS, 0.7);
  return {
    ...(hosts.length > 0 && { hosts }),
    ...(cidrs.length > 0 && chance(0.6) && { cidrs }),
    ...(chance(0.7) && { ports: [randomPorts(), ...(chance(0.3) ? [randomPorts()] : [])] }),
    ...(chance(0.3) && { protocol: pick(['TCP', 'UDP'] as const) }),
    ...(chance(0.3) && { agents }),
  };
};
const randomRoute = (index: number, listeners: readonly string[]): L4Route => ({
  route: { namespace: 'default', name: `r${index}` },
  createdAt: Math.floor(random() * 3),
  listeners: chance(0.5) ? listeners : some(listeners, 0.6),
  rules: Array.from({ length: 1 + Math.floor(random() * 2) }, (_, i) => ({
    index: i,
    matches: Array.from({ length: Math.floor(random() * 3) }, randomMatch),
    ...(chance(0.1) && { refused: { reason: 'InvalidKind', message: 'It uses what there is not.' } }),
  })),
  ...(chance(0.15) && { denied: { policy: 'default/stop', status: 451, message: '' } }),
});
const randomPolicy = (lab: EgressLab, ca: string): PolicySet => {
  const listeners = randomListeners();
  return lab.policyOf({
    listeners,
    aiRoutes: [],
    defaultPolicy: chance(0.2) ? 'allow-all' : 'deny-all',
    hostAliases: [{ ip: PRIVATE, hostnames: [OPENAI, ...NAMES] }],
    trustBundle: lab.trustBundle + ca,
    mcpRoutes: chance(0.3)
      ? [
          {
            route: { namespace: 'default', name: 'tools' },
            createdAt: 1,
            listeners: listeners.filter(({ shape }) => shape === 'tls-terminate').map(({ name }) => name),
            rules: [{ index: 0, matches: [{}], toolPolicies: [] }],
            hosts: [pick(PATTERNS)],
            places: [],
          },
        ]
      : [],
    l4Routes: Array.from({ length: 1 + Math.floor(random() * 5) }, (_, i) =>
      randomRoute(
        i,
        listeners.map(({ name }) => name),
      ),
    ),
  });
};

interface Tried {
  readonly facts: ConnectionFacts;
  readonly dialled: string;
  readonly marker: string;
}

const CHAIN: Readonly<Record<ConnectionDecision['handling'], AccessLine['chain']>> = {
  terminate: 'http',
  http: 'http',
  passthrough: 'tls',
  tcp: 'tcp',
  udp: 'udp',
  refuse: 'refused',
};

let lab: EgressLab;
let ca: string;
let networks: readonly SandboxNetwork[];

beforeAll(async () => {
  lab = await EgressLab.start();
  ({ ca } = lab.resources.use(await startUpstreams(join(lab.state, 'upstreams'), lab.lab.fixture, '0.0.0.0')));
  // A public address beside the private one; only these namespaces know the way.
  await run('ip', ['address', 'add', `${PUBLIC}/32`, 'dev', 'lo'], { netns: lab.lab.fixture });
  await run('ip', ['route', 'add', '203.0.113.0/24', 'via', PRIVATE], { netns: lab.lab.stack });
  networks = [lab.sandbox, await lab.newSandbox(1)];
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  expect(await lab.claim(1, 'other')).toMatchObject({ refused: '' });
  console.log(`seed ${SEED}`);
});
afterAll(() => lab?.[Symbol.asyncDispose]());

/** Asks for all names, of both agents: admitted ones have an address of the lower half of the slice. */
const resolveAll = async (set: PolicySet): Promise<ReadonlyMap<string, string>> => {
  const found = new Map<string, string>();
  for (const [index, agent] of AGENTS.entries()) {
    const { answers } = await lab.inSandbox({ do: 'many', steps: NAMES.map((name) => ({ do: 'dns', name, type: 'A' })) }, networks[index]);
    for (const [at, name] of NAMES.entries()) {
      const address = answers![at]!.addresses?.[0];
      const admitted = address !== undefined && /^198\.18\.[0-7]\./.test(address);
      expect([agent, name, admitted], 'DNS').toEqual([agent, name, admitsName(set, agent, name)]);
      if (admitted) found.set(`${agent} ${name}`, address);
    }
  }
  return found;
};

const randomFacts = (names: ReadonlyMap<string, string>, round: number): readonly Tried[] => {
  const tried = new Map<string, Tried>();
  for (let i = 0; i < FACTS; i++) {
    const agent = pick(AGENTS);
    const name = chance(0.7) ? pick(NAMES) : undefined;
    const address = name === undefined ? pick([PRIVATE, PUBLIC]) : names.get(`${agent} ${name}`);
    if (address === undefined) continue;
    const port = pick(PORTS);
    const transport = chance(0.2) ? ('UDP' as const) : ('TCP' as const);
    const speaks = transport === 'TCP' && chance(0.5) ? ('tls' as const) : ('plain' as const);
    const sni = speaks === 'tls' ? (name ?? pick(NAMES)) : undefined;
    const key = `${agent} ${address}:${port} ${transport}`;
    if (tried.has(key)) continue;
    const facts: ConnectionFacts = {
      agent,
      transport,
      port,
      speaks,
      ...(name === undefined ? { address } : { host: name }),
      ...(sni !== undefined && { sni }),
    };
    tried.set(key, { facts, dialled: address, marker: `/m${round}x${i}` });
  }
  return [...tried.values()];
};

const stepOf = ({ facts, dialled, marker }: Tried): Single => {
  const { port, transport, speaks, sni, host } = facts;
  if (transport === 'UDP') return { do: 'datagram', address: dialled, port, send: marker };
  const send = `GET ${marker} HTTP/1.1\r\nhost: ${sni ?? host ?? dialled}\r\nconnection: close\r\n\r\n`;
  return { do: 'raw', address: dialled, port, send, until: marker, ...(speaks === 'tls' && { sni: sni! }) };
};

/** The decision, and what becomes of it where the one address of a name is not in the ranges it is bound to. */
const decided = (set: PolicySet, facts: ConnectionFacts): Pick<ConnectionDecision, 'verdict' | 'reason' | 'handling'> => {
  const said = decideConnection(set, facts);
  const inRange = said.ranges?.some((range) => cidrContains(parseCidr(range)!, parseAddress(PRIVATE)!)) ?? true;
  return facts.host === undefined || said.verdict === 'Denied' || inRange ? said : { ...said, verdict: 'Denied', reason: 'ForbiddenAddress' };
};

/** What the records say became of a connection. */
const outcomeOf = (lines: readonly AccessLine[], { facts, dialled, marker }: Tried, source: string) => {
  const at = lines.filter((line) => line.source === source && line.destination === `${dialled}:${facts.port}` && line.chain !== 'udp');
  const line = at.find(({ path }) => path === marker) ?? at.find(({ chain }) => chain !== 'http');
  if (!line) return undefined;
  // What is refused without a verdict: nothing could take it, or the name had no leaf.
  if (line.chain === 'refused') return { verdict: 'Denied', reason: '', chain: '' };
  return { verdict: line.verdict?.verdict, reason: line.verdict?.reason, chain: line.chain };
};

test.for(Array.from({ length: POLICIES }, (_, round) => round))('policy %i', { timeout: 60_000 }, async (round) => {
  const set = randomPolicy(lab, ca);
  await lab.enforce(set);
  const names = await resolveAll(set);
  const tried = randomFacts(names, round);
  const before = (await lab.accessLines()).length;
  const answers = await Promise.all(
    AGENTS.map(async (agent, index) => {
      const mine = tried.filter(({ facts }) => facts.agent === agent);
      const { answers: all } = await lab.inSandbox({ do: 'many', steps: mine.map(stepOf) }, networks[index]);
      return mine.map((one, at) => ({ one, answer: all![at]!, source: `100.64.${index * 16}.5` }));
    }),
  );
  for (const { one, answer, source } of answers.flat()) {
    const said = decided(set, one.facts);
    const context = JSON.stringify({ seed: SEED, round, facts: one.facts, said, answer, set });
    if (one.facts.transport === 'UDP') {
      // Only two ports have somebody who answers.
      if (said.verdict === 'Denied') expect(answer.received, context).toBeUndefined();
      else if (one.facts.port === 5432 || one.facts.port === 7000) expect(answer.received, context).toBe(`got ${one.marker}`);
      continue;
    }
    const outcome = await eventually(`a record of ${context}`, async () => outcomeOf((await lab.accessLines()).slice(before), one, source), 5_000);
    expect(outcome.verdict, context).toBe(said.verdict);
    if (outcome.chain !== '') expect(outcome.chain, context).toBe(CHAIN[said.handling]);
    if (outcome.reason !== '') expect(outcome.reason, context).toBe(said.reason);
  }
});
