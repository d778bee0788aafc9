import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { spawnChild } from '#lib';
import type { SandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { eventually } from '../e2e/harness.ts';
import { aiRoute, EgressLab, JSON_BODY } from '../e2e/support/egress-lab.ts';
import { startUpstreams, type UpstreamServers } from '../e2e/support/upstream-servers.ts';

/** HTTP/2 where TLS is terminated, spoken by a hostile agent: what it does to others, and to Envoy. */

const FIXTURE = '10.213.0.2';
const NAME = 'web.example';
const PORT = 8443;

let lab: EgressLab;
let upstreams: UpstreamServers;
let neighbour: SandboxNetwork;
let address: string;
let ca: string;

beforeAll(async () => {
  lab = await EgressLab.start({ aiRoutes: [aiRoute] });
  upstreams = lab.resources.use(await startUpstreams(join(lab.state, 'upstreams'), lab.lab.fixture, FIXTURE));
  neighbour = await lab.newSandbox(1);
  await lab.enforce(
    lab.policyOf({
      listeners: [{ name: 'tls', shape: 'tls-terminate' }],
      hostAliases: [{ ip: FIXTURE, hostnames: [NAME] }],
      trustBundle: lab.trustBundle + upstreams.ca,
      l4Routes: [{ route: { namespace: 'default', name: 'web' }, createdAt: 1, listeners: ['tls'], rules: [{ index: 0, matches: [{ hosts: [NAME] }] }] }],
    }),
  );
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  expect(await lab.claim(1, 'neighbour')).toMatchObject({ refused: '' });
  address = await lab.addressOf(NAME);
  ca = join(lab.state, 'root.pem');
  await writeFile(ca, lab.rootPem);
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const request = (network?: SandboxNetwork) =>
  lab.inSandbox({ do: 'https', address, port: PORT, sni: NAME, method: 'POST', path: '/x', headers: JSON_BODY, body: '{}', ca: lab.rootPem }, network);

/** Paths of requests that reached the upstream since the last kind began. */
let from = 0;
const arrived = (): readonly unknown[] => upstreams.seen.slice(from).map(({ url }) => url);

/** Resident memory of Envoy, MiB. */
const memoryOf = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** Whether Envoy must end the connection, or bear it; a number: so many streams, each of which must be refused, unless the connection is ended. */
const ABUSE: readonly (readonly [kind: string, end: boolean | number])[] = [
  ['rapid reset', true],
  ['continuation flood', true],
  ['empty continuations', true],
  ['ten thousand headers', 20],
  ['huge HPACK tables', false],
  ['a table of two gigabytes', 1],
  ['ping flood', true],
  ['settings flood', true],
  ['empty data', true],
  ['window updates', true],
  ['priority storm', true],
  ['nobody reads', false],
  ['slow bodies', false],
];

test.each(ABUSE)('HTTP/2: %s does not reach a neighbour, nor Envoy’s memory', async (kind, end) => {
  const pid = await lab.envoyPid();
  const before = await memoryOf(pid);
  from = upstreams.seen.length;
  const script = join(import.meta.dirname, 'support/h2-abuse.ts');
  const child = spawnChild(process.execPath, [script, kind, address, String(PORT), NAME, ca], { netns: lab.sandbox.netns, stdio: ['pipe', 'pipe', 'inherit'] });
  const said: string[] = [];
  const lines = createInterface({ input: child.stdout! }).on('line', (line) => said.push(line));
  const sent = once(lines, 'line');
  const ended = once(child, 'close');
  for (let i = 0; i < 5; i++) expect(await request(neighbour)).toMatchObject({ status: 200, body: `${PORT} POST /x` });
  await Promise.race([sent, ended]);
  expect(await request(neighbour)).toMatchObject({ status: 200 });
  expect((await memoryOf(pid)) - before).toBeLessThan(200);
  // Envoy says that it ends a connection up to a second before it does.
  child.stdin!.end(end === true ? 'closed' : String(Number(end)));
  await ended;
  const { closed, goaway, refused } = JSON.parse(said.at(-1)!) as { closed: boolean; goaway: boolean; refused: number };
  if (typeof end === 'boolean') expect([kind, closed]).toEqual([kind, end]);
  else {
    expect([kind, closed || goaway || refused === end, { closed, goaway, refused }]).toEqual([kind, true, expect.anything()]);
    expect([kind, arrived().filter((path) => path !== '/x')]).toEqual([kind, []]);
  }
  expect(await request()).toMatchObject({ status: 200 });
  expect(await lab.envoyPid()).toBe(pid);
});
