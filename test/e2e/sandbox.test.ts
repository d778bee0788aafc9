import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { buildImage } from '#image';
import { createLogger, exited, run as runCommand, spawnChild, sleep, systemClock, type Logger } from '#lib';
import type { Assignment, Binding, ClaimsPort, RunTemplate, RunUpdate } from '#model';
import { Addresses, Cgroups, detectDriver, GatewayNamespace, Images, Runsc, Sandboxes, StdioLog, sweep, Trust } from '#sandbox';
import { asRoot } from './support/as-root.ts';

/** Cold runs on the real runsc, in a gateway namespace of their own; only the claims port is the test's. */

const TOOLS = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(process.env['HOME']!, '.clrk'), 'tools');

/** Does what its first argument says; stdin stays unread unless a mode reads it. */
const AGENT = `
const fs = require('node:fs'), net = require('node:net');
const [mode, arg] = process.argv.slice(2);
const dial = (host, port) => new Promise((resolve) => {
  const since = performance.now(), socket = net.connect({ host, port, timeout: 5000 });
  const end = (word) => (socket.destroy(), resolve({ word, ms: performance.now() - since }));
  socket.on('connect', () => end('connected')).on('timeout', () => end('timeout')).on('error', (e) => end(e.code));
});
const modes = {
  echo: () => process.stdout.write(fs.readFileSync(0)),
  exit: () => process.exit(Number(arg)),
  print: () => console.log(arg),
  stderr: () => console.error(arg),
  talk: async () => {
    const socket = net.connect({ host: '203.0.113.7', port: 443 });
    socket.on('data', (data) => console.log(data.toString())).on('error', (e) => console.log(e.code)).on('close', () => process.exit(0));
  },
  hog: () => { const held = []; for (;;) held.push(Buffer.alloc(1 << 20, 1)); },
  fill: () => {
    const full = [arg, '/tmp'].map((dir) => {
      const file = fs.openSync(dir + '/filler', 'w');
      let bytes = 0;
      try { for (;;) bytes += fs.writeSync(file, Buffer.alloc(1 << 20)); } catch (e) { return [e.code, Math.round(bytes / 2 ** 20)]; }
    });
    console.log(JSON.stringify(full));
  },
  forks: async () => {
    const { spawn } = require('node:child_process');
    const another = () => spawn(process.execPath, [__filename, 'idle'], { stdio: 'ignore' }).on('error', (e) => { console.log(e.code); setTimeout(() => process.exit(Number(arg)), 4000); }).on('spawn', another);
    another();
  },
  idle: () => setInterval(() => {}, 1000),
  spin: () => { for (const until = Date.now() + Number(arg); Date.now() < until;); },
  self: () => process.kill(process.pid, 'SIGKILL'),
  hang: () => { process.on('SIGTERM', () => console.log('not yet')); console.log('up'); setInterval(() => {}, 1000); },
  polite: () => { process.on('SIGTERM', () => process.exit(0)); console.log('up'); setInterval(() => {}, 1000); },
  flood: () => { for (let left = Number(arg); left > 0; left -= 65536) fs.writeSync(1, Buffer.alloc(Math.min(left, 65536), 97)); },
  look: () => console.log(JSON.stringify({
    uid: process.getuid(), gid: process.getgid(), cwd: process.cwd(), env: process.env, app: fs.readdirSync('.'),
    resolv: fs.readFileSync('/etc/resolv.conf', 'utf8'), hosts: fs.readFileSync('/etc/hosts', 'utf8'),
    ca: ['/etc/ssl/certs/ca-certificates.crt', '/etc/ssl/cert.pem', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem'].map((f) => fs.readFileSync(f, 'utf8')),
    status: fs.readFileSync('/proc/self/status', 'utf8'),
    write: (() => { try { fs.writeFileSync('/etc/ssl/cert.pem', 'x'); return 'written'; } catch (e) { return e.code; } })(),
    tmp: (() => { fs.writeFileSync('/tmp/x', 'y'); return fs.readFileSync('/tmp/x', 'utf8'); })(),
  })),
  net: async () => console.log(JSON.stringify({
    public: await dial('203.0.113.7', 443), metadata: await dial('169.254.169.254', 80), dns: await dial('198.19.255.3', 53),
    own: await dial(arg, 15001), neighbour: await dial('100.64.0.9', 22), v6: await dial('2001:db8::1', 443),
  })),
};
Promise.resolve(modes[mode]()).catch((e) => { console.error(e); process.exit(99); });
`;

let state: string;
let dir: string;
let gateway: GatewayNamespace;
let runsc: Runsc;
let cgroups: Cgroups;
const CGROUP = `clrk-e2e-${process.pid}`;
const lines: { invocation?: string; line?: string; msg?: string }[] = [];
const collect = (extra: object): Logger => {
  const add = (msg: string, fields: object = {}): void => void lines.push({ msg, ...extra, ...fields });
  return { debug: add, info: add, warn: add, error: add, with: (more) => collect({ ...extra, ...more }) };
};

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'clrk-e2e-'));
  dir = await mkdtemp('/run/clrk-e2e-');
  for (const part of ['runsc', 'sandboxes']) await mkdir(join(dir, part));
  const app = join(state, 'app');
  await mkdir(app);
  await writeFile(join(app, 'agent.js'), AGENT, { mode: 0o600 });
  await writeFile(join(app, 'package.json'), '{"main":"./agent"}');
  await buildImage({ store: join(state, 'images'), name: 'test/agent', dir: app, runtime: 'node', nodeBinary: process.execPath });
  gateway = await GatewayNamespace.create(join(dir, 'gw.netns'));
  cgroups = await Cgroups.open(CGROUP);
  runsc = new Runsc(join(TOOLS, 'bin', 'runsc'), join(dir, 'runsc'));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await cgroups[Symbol.asyncDispose]();
  await sweep(dir, join(dir, 'runsc'), runsc, createLogger('test', 'silent'));
  await rm(state, { recursive: true, force: true });
});

/** Whatever a run left behind: the loopback alone is what a gateway namespace without sandboxes shows. */
const MI = 2 ** 20;

/** Directories of control groups of this test. */
const groups = async (): Promise<readonly string[]> =>
  (await Promise.all((await detectDriver()).dirs(CGROUP).map((parent) => readdir(parent, { withFileTypes: true }))))
    .flat()
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `group ${name}`);

const leftovers = async (): Promise<readonly string[]> => {
  const { stdout: links } = await runCommand('ip', ['-o', 'link'], { netns: gateway.path });
  const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(`${dir}/sandboxes`));
  const files = (await readdir(join(dir, 'sandboxes'))).filter((name) => !name.endsWith('.pem'));
  const interfaces = links.split('\n').filter((line) => /: sb\d+/.test(line));
  return [...interfaces, ...mounts, ...files, ...(await runsc.list()), ...(await groups())];
};

afterEach(async () => {
  expect(await leftovers()).toEqual([]);
});

interface Outcome {
  readonly update: RunUpdate;
  readonly phases: readonly string[];
  readonly stdout: string;
  readonly claims: readonly string[];
  readonly binding: Binding | undefined;
  readonly ms: number;
}

interface Script {
  readonly claims?: Partial<ClaimsPort>;
  readonly addresses?: Addresses;
  readonly roots?: Readonly<Record<string, readonly string[]>>;
  /** The run may begin when this resolves, which is called once its address is bound. */
  readonly begin?: (sandboxes: Sandboxes, invocation: string) => Promise<void>;
  /** Called with each piece of stdout. */
  readonly onOutput?: (data: Uint8Array, sandboxes: Sandboxes, invocation: string) => void;
}

const createSandboxes = (stdio: StdioLog, claims: ClaimsPort, { addresses, roots }: Script = {}): Sandboxes =>
  new Sandboxes({
    dir: join(dir, 'sandboxes'),
    runsc,
    images: new Images(join(state, 'images')),
    gateway,
    addresses: addresses ?? new Addresses(systemClock),
    claims,
    cgroups,
    stdio,
    trust: new Trust({ current: () => Object.entries(roots ?? {}).map(([gateway, rootPems]) => ({ gateway, rootPems })) }),
    log: collect({}),
  });

const invoke = async (args: readonly string[], overrides: Partial<Assignment> = {}, script: Script = {}): Promise<Outcome> => {
  const calls: string[] = [];
  let binding: Binding | undefined;
  const claims: ClaimsPort = {
    async bind(asked) {
      calls.push(`bind ${asked.address}`);
      binding = asked;
      void script.begin?.(sandboxes, invocation).then(begin.resolve);
      return { refused: '', message: '' };
    },
    async release({ address }) {
      expect(await runsc.list()).toEqual([]); // the sandbox is gone before its address is anybody's
      calls.push(`release ${address}`);
    },
    park() {
      throw new Error('nothing is parked here');
    },
    ...script.claims,
  };
  await using stdio = new StdioLog({ path: join(dir, 'stdio.jsonl'), log: collect({}) });
  const sandboxes = createSandboxes(stdio, claims, script);
  const invocation = randomUUID();
  const assignment: Assignment = {
    invocation,
    namespace: 'default',
    agent: 'agent',
    revision: 'agent-00001',
    image: 'test/agent:latest',
    command: [],
    args: ['agent.js', ...args],
    env: [],
    timeoutMs: 60_000,
    cpus: 2,
    memoryBytes: 2 ** 29,
    storageBytes: 2 ** 26,
    traceId: '0'.repeat(31) + '1',
    spanId: '0'.repeat(15) + '1',
    gateways: [],
    event: Buffer.from('{}'),
    ...overrides,
    ...(overrides.args ? {} : { command: ['node', 'agent.js', ...args], args: [] }),
  };
  const phases: string[] = [];
  const output: Uint8Array[] = [];
  const begin = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<RunUpdate>();
  const since = performance.now();
  const listener: Parameters<Sandboxes['start']>[1] = {
    running: () => phases.push('Running'),
    output: (data) => {
      output.push(data);
      script.onOutput?.(data, sandboxes, invocation);
    },
    ended: (update) => {
      phases.push(update.phase);
      ended.resolve(update);
    },
  };
  sandboxes.start(assignment, listener, script.begin && begin.promise);
  const update = await ended.promise;
  const ms = performance.now() - since;
  await sandboxes[Symbol.asyncDispose]();
  return { update, phases, stdout: Buffer.concat(output).toString(), claims: calls, binding, ms };
};

test('the event comes in on stdin, stdout goes out, and the claim spans the run', async () => {
  const event = JSON.stringify({ data: 'x'.repeat(300_000) });
  const { update, stdout, phases, claims, binding } = await invoke(['echo'], { event: Buffer.from(event) });
  expect(stdout).toBe(event);
  expect(update).toMatchObject({ phase: 'Succeeded', exitCode: 0, outputBytes: event.length });
  expect(phases).toEqual(['Running', 'Succeeded']);
  expect(claims).toEqual([`bind ${binding!.address}`, `release ${binding!.address}`]);
  expect(binding).toMatchObject({ block: '100.64.0.0/20', namespace: 'default', agent: 'agent', gateways: [] });
});

test('a run that is announced is prepared and not started before it may begin', async () => {
  const seen: string[][] = [];
  const begin = async (): Promise<void> => {
    await sleep(300); // it would have been started long ago
    seen.push(await runsc.list());
  };
  const { update, stdout } = await invoke(['print', 'x'], {}, { begin });
  expect([update.phase, stdout, seen]).toEqual(['Succeeded', 'x\n', [[]]]);
});

test('one that is called off before it may begin leaves nothing', async () => {
  const begin = async (sandboxes: Sandboxes, invocation: string): Promise<void> => {
    await sleep(100); // everything is prepared
    sandboxes.cancel(invocation, 'NotStarted');
    return new Promise(() => {});
  };
  const { update, phases, claims, binding } = await invoke(['print', 'x'], {}, { begin });
  expect(update).toMatchObject({ phase: 'Failed', reason: 'NotStarted', outputBytes: 0 });
  expect(phases).toEqual(['Failed']);
  expect(claims).toEqual([`bind ${binding!.address}`, `release ${binding!.address}`]);
});

test('an invocation that is still here is not started again: the second one ends, the first goes on', async () => {
  const again: RunUpdate[] = [];
  const begin = async (sandboxes: Sandboxes, invocation: string): Promise<void> => {
    const listener = { running: () => {}, output: () => {}, ended: (update: RunUpdate) => void again.push(update) };
    sandboxes.start({ invocation } as Assignment, listener);
  };
  const { update, stdout } = await invoke(['print', 'x'], {}, { begin });
  expect([update.phase, stdout]).toEqual(['Succeeded', 'x\n']);
  expect(again).toMatchObject([{ phase: 'Failed', reason: 'AlreadyRunning' }]);
});

test('exit codes are exact, also runsc own one', async () => {
  for (const code of [1, 7, 128]) {
    const { update } = await invoke(['exit', String(code)]);
    expect(update).toMatchObject({ phase: 'Failed', reason: 'ExitCode', exitCode: code });
  }
  expect((await invoke(['self'])).update).toMatchObject({ phase: 'Failed', reason: 'Killed', exitCode: 137 });
});

test('a process that never reads its event is not disturbed', async () => {
  const { update, stdout } = await invoke(['print', 'done'], { event: Buffer.alloc(4 * 1024 * 1024, 32) });
  expect({ phase: update.phase, stdout }).toEqual({ phase: 'Succeeded', stdout: 'done\n' });
});

test('a process that does not start says why', async () => {
  const { update } = await invoke([], { args: [], command: ['no-such-program'] });
  expect(update).toMatchObject({ phase: 'Failed', reason: 'StartFailed' });
  expect(update.message).toContain('no-such-program');
});

test('a missing image and a refused claim end the run with their reason', async () => {
  const { update } = await invoke(['print', 'x'], { image: 'no/such:1' });
  expect(update).toMatchObject({ phase: 'Failed', reason: 'ImageNotFound' });
  expect(update.message).toContain('clrk image build -t no/such:1');
  const refused = await invoke(['print', 'x'], {}, { claims: { bind: async () => ({ refused: 'GatewayNotReady', message: 'not yet' }) } });
  expect(refused.update).toMatchObject({ phase: 'Failed', reason: 'GatewayNotReady', message: 'not yet' });
  expect(refused.phases).toEqual(['Failed']);
});

test('a claim is asked again while egress is away', async () => {
  let attempts = 0;
  const bind = async (): Promise<{ refused: string; message: string }> => {
    if (++attempts < 4) throw new Error('away');
    return { refused: '', message: '' };
  };
  expect((await invoke(['print', 'x'], {}, { claims: { bind } })).update.phase).toBe('Succeeded');
  expect(attempts).toBe(4);
});

test('timeout: SIGTERM first, SIGKILL to a process that stays', async () => {
  const polite = await invoke(['polite'], { timeoutMs: 1_500 });
  expect(polite.update).toMatchObject({ phase: 'Timeout', reason: 'Timeout' });
  expect(polite.ms).toBeLessThan(5_000);
  const stubborn = await invoke(['hang'], { timeoutMs: 1_500 });
  expect(stubborn.update).toMatchObject({ phase: 'Timeout', reason: 'Timeout' });
  expect(stubborn.stdout).toContain('up\n');
  expect(stubborn.ms).toBeGreaterThan(6_000);
});

test('memory beyond the limit ends the run OOMKilled', async () => {
  const { update } = await invoke(['hog'], { memoryBytes: 128 * MI });
  expect(update).toMatchObject({ phase: 'Failed', reason: 'OOMKilled', exitCode: 137, message: 'It needed more memory than its limit of 128 MiB.' });
});

test('root file system and /tmp are full at their limit, and the run goes on', async () => {
  await asRoot(join(state, 'images'), 'test/agent:latest', 'test/root:latest');
  const { update, stdout } = await invoke(['fill', '/'], { image: 'test/root:latest', memoryBytes: 256 * MI, storageBytes: 20 * MI });
  expect(JSON.parse(stdout)).toEqual([
    ['ENOSPC', 20],
    ['ENOSPC', 20],
  ]);
  expect(update).toMatchObject({ phase: 'Succeeded', conditions: {} });
});

test('beyond 512 processes and threads fork fails inside; a run that fails for it says so', async () => {
  for (const [code, end] of [
    [0, { phase: 'Succeeded', reason: '' }],
    [5, { phase: 'Failed', reason: 'PidsLimited', exitCode: 5 }],
  ] as const) {
    const { update, stdout } = await invoke(['forks', String(code)], { memoryBytes: 2048 * MI, storageBytes: 20 * MI });
    expect(stdout).toBe('EAGAIN\n');
    expect(update).toMatchObject({ ...end, conditions: { PidsLimited: expect.stringContaining('512') } });
  }
});

test('a run held back by its CPU limit says so', async () => {
  const { update } = await invoke(['spin', '3000'], { cpus: 0.2 });
  expect(update).toMatchObject({ phase: 'Succeeded', conditions: { CPUThrottled: expect.stringContaining('limit of 0.2 CPUs') } });
});

test('the control socket speaks as the pinned runsc does', async () => {
  const seen = Promise.withResolvers<unknown>();
  const ask = async (id: string): Promise<unknown> => {
    const control = runsc.control(id);
    const processes = await control.processes();
    await control.signalAll('TERM'); // refused by the process
    await control.signalAll('KILL');
    return processes;
  };
  const onOutput = (data: Uint8Array, _: Sandboxes, id: string): void => {
    if (data[0] === 117) ask(id).then(seen.resolve, seen.reject); // `up`
  };
  const { update, stdout } = await invoke(['hang'], {}, { onOutput });
  expect(await seen.promise).toMatchObject([{ pid: 1, ppid: 0, cmd: expect.stringContaining('node'), threads: expect.arrayContaining([1]) }]);
  expect(update).toMatchObject({ phase: 'Failed', reason: 'Killed', exitCode: 137 });
  expect(stdout).toMatch(/^up\n/);
  await expect(runsc.control(randomUUID()).processes()).rejects.toThrow('ENOENT');
});

test('a cancelled run ends Failed with the reason', async () => {
  const { update } = await invoke(['polite'], {}, { onOutput: (_, sandboxes, invocation) => sandboxes.cancel(invocation, 'CallerGone') });
  expect(update).toMatchObject({ phase: 'Failed', reason: 'CallerGone' });
});

test('stdout waits for credit, and loses nothing', async () => {
  let received = 0;
  const granted = Promise.withResolvers<number>();
  const size = 3 * 1024 * 1024 + 17;
  const { update, stdout } = await invoke(
    ['flood', String(size)],
    {},
    {
      onOutput: (data, sandboxes, invocation) => {
        received += data.length;
        if (received !== 1024 * 1024) return;
        // Nothing more may come before credit is given: the event loop turns many times first.
        setTimeout(() => {
          granted.resolve(received);
          sandboxes.credit(invocation, 4 * 1024 * 1024);
        }, 300);
      },
    },
  );
  expect(await granted.promise).toBe(1024 * 1024);
  expect(stdout.length).toBe(size);
  expect(update).toMatchObject({ phase: 'Succeeded', outputBytes: size });
});

test('what a process sees: its user, directory, roots and names, and nothing it could change', async () => {
  const { stdout } = await invoke(
    ['look'],
    {
      gateways: ['default/gw', 'default/second'],
      env: [
        { name: 'GREETING', value: 'hi' },
        { name: 'CURL_CA_BUNDLE', value: '/mine' },
      ],
    },
    // The first one is changing its root; the third has no part in the run.
    { roots: { 'default/gw': ['OLD ROOT\n', 'NEW ROOT\n'], 'default/second': ['SECOND ROOT\n'], 'default/third': ['THIRD ROOT\n'] } },
  );
  const seen = JSON.parse(stdout) as Record<string, never> & { env: Record<string, string>; ca: string[]; status: string };
  expect(seen).toMatchObject({ uid: 65534, gid: 65534, cwd: '/app', app: ['agent.js', 'package.json'], tmp: 'y', resolv: 'nameserver 198.19.255.3\n' });
  expect(seen.env).toMatchObject({ HOME: '/tmp', GREETING: 'hi', CURL_CA_BUNDLE: '/mine', SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt' });
  for (const bundle of seen.ca) expect(bundle.slice(bundle.lastIndexOf('-----\n') + 6)).toBe('OLD ROOT\nNEW ROOT\nSECOND ROOT\n');
  expect(seen.write).toMatch(/EACCES|EROFS|EPERM/);
  expect(seen.status).toMatch(/CapEff:\s*0+\n/);
  expect(seen.status).toMatch(/CapBnd:\s*0+\n/);
  expect(seen.hosts).toContain('127.0.0.1 localhost');
});

test('a gateway whose root is not known is not replaced by no gateway', async () => {
  expect((await invoke(['print', 'x'], { gateways: ['default/none'] })).update).toMatchObject({ phase: 'Failed', reason: 'GatewayNotReady' });
});

test('without a gateway every connection is refused at once', async () => {
  const { stdout } = await invoke(['net', '100.64.0.0']);
  for (const [name, { word, ms }] of Object.entries(JSON.parse(stdout) as Record<string, { word: string; ms: number }>)) {
    expect.soft(word, name).toMatch(/ECONNREFUSED|ENETUNREACH|EHOSTUNREACH/);
    expect.soft(ms, name).toBeLessThan(500);
  }
});

test('with a route every TCP connection reaches its gateway under the address of the sandbox, until it is closed', async () => {
  const program = `require('net').createServer((s) => { s.on('error', () => {}); s.write('you are ' + s.remoteAddress + ' for ' + s.localPort); }).listen(15001, '0.0.0.0', () => console.log('up'))`;
  const listener = spawnChild(process.execPath, ['-e', program], { netns: gateway.path });
  await new Promise((resolve) => listener.stdout!.once('data', resolve));
  const element = { map: 'first', source: '100.64.0.0/20', destination: '', ports: '' };
  try {
    await gateway.setRoute({ ...element, port: 15009 });
    await gateway.setRoute({ ...element, port: 15001 }); // changed in place
    await gateway.setRoute({ ...element, port: 15001 });
    const { stdout, binding, update } = await invoke(
      ['talk'],
      {},
      { onOutput: (data) => /you/.test(Buffer.from(data).toString()) && void gateway.closeConnections('100.64.0.1') },
    );
    expect(binding!.address).toBe('100.64.0.1');
    expect(stdout).toBe('you are 100.64.0.1 for 15001\nECONNRESET\n');
    expect(update.phase).toBe('Succeeded');
  } finally {
    await gateway.deleteRoute(element);
    await gateway.deleteRoute(element);
    listener.kill('SIGKILL');
    await exited(listener);
  }
  expect((await invoke(['talk'])).stdout).toBe('ECONNREFUSED\n');
});

test('a block that changes hands takes no route along', async () => {
  const route = { map: 'route', source: '100.64.0.0/20', destination: '198.18.0.0/20', ports: '', port: 15001 };
  await gateway.setRoute(route);
  await gateway.setRoute({ ...route, map: 'first', destination: '' });
  await gateway.setRoute({ ...route, source: '100.64.16.0/20' });
  const addresses = (take: Addresses['take']): Addresses => Object.assign(new Addresses(systemClock), { take });
  const pair = { block: '100.64.0.0/20', host: '100.64.0.6', sandbox: '100.64.0.7', inherited: true };
  expect((await invoke(['print', 'x'], {}, { addresses: addresses(() => pair) })).update.phase).toBe('Succeeded');
  const left = await Promise.all(
    ['route', 'first'].map(async (map) => (await runCommand('nft', ['list', 'map', 'inet', 'gateway', map], { netns: gateway.path })).stdout),
  );
  expect(left.join('').match(/elements = .*/g)).toEqual(['elements = { 100.64.16.0/20 . 198.18.0.0/20 : 15001 }']);
  await gateway.deleteRoutesOf('100.64.16.0/20');
});

test('what is no element of a map does not reach nft', async () => {
  const good = { map: 'route', source: '100.64.0.0/20', destination: '198.18.0.0/20', ports: '', port: 15001 };
  for (const bad of [
    { map: 'steer' },
    { source: '100.64.0.0/33' },
    { source: '0/0; flush ruleset' },
    { destination: '' },
    { destination: '::1' },
    { port: 0 },
    { port: 65_536 },
    { ports: '443' },
    { map: 'wide' },
    { map: 'wide', destination: '10.0.0.0-10.0.0.9', ports: '0' },
    { map: 'wide', destination: '10.0.0.0/8', ports: '443' },
    { map: 'datagrams', destination: '10.0.0.1', ports: '1-2-3' },
    { map: 'datagrams', destination: '10.0.0.1', ports: '443 }' },
  ]) {
    await expect(gateway.setRoute({ ...good, ...bad })).rejects.toThrow(RangeError);
  }
  await expect(gateway.closeConnections('100.64.0.1 or dport = :22')).rejects.toThrow(RangeError);
});

test('stderr becomes lines of the log, with the invocation', async () => {
  const { update } = await invoke(['stderr', 'from inside']);
  expect(lines).toContainEqual(expect.objectContaining({ line: 'from inside', invocation: update.invocation }));
});

/** Tries to start a template of the test's agent; nobody claims anything for it. */
const attempt = async (template: Partial<RunTemplate>) => {
  const never = (): never => {
    throw new Error('a trial claims nothing');
  };
  await using stdio = new StdioLog({ path: join(dir, 'stdio.jsonl'), log: collect({}) });
  await using sandboxes = createSandboxes(stdio, { bind: never, release: never, park: never });
  const whole = { namespace: 'default', agent: 'agent', revision: 'agent-00001', image: 'test/agent', command: [], args: [], env: [], gateways: [] };
  return sandboxes.tryStart({ ...whole, cpus: 2, memoryBytes: 2 ** 29, storageBytes: 2 ** 26, ...template }, new AbortController().signal);
};

test('a trial tells whether a sandbox starts, and leaves nothing, whatever its program does', async () => {
  for (const command of [
    ['node', 'agent.js', 'idle'],
    ['node', 'agent.js', 'exit', '3'],
    ['node', 'agent.js', 'hang'],
    ['/usr/local/bin/node', '--version'],
  ])
    expect(await attempt({ command }), command.join(' ')).toBeUndefined();
  await asRoot(join(state, 'images'), 'test/agent:latest', 'test/nobody:latest', 'stranger');
  for (const [template, reason, text] of [
    [{ command: ['/no/such/program'] }, 'StartFailed', '/no/such/program'],
    [{ command: ['nothing-on-the-path'] }, 'StartFailed', 'nothing-on-the-path'],
    [{ command: ['/app/agent.js'] }, 'StartFailed', 'agent.js'],
    [{ image: 'no/such-image:1' }, 'ImageNotFound', 'clrk image build -t no/such-image:1'],
    [{ image: 'test/nobody:latest' }, 'StartFailed', 'stranger is not in its /etc/passwd'],
  ] as const) {
    const failure = await attempt(template as Partial<RunTemplate>);
    expect(failure, JSON.stringify(template)).toMatchObject({ reason });
    expect(failure!.message).toContain(text);
  }
});
