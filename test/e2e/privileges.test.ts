import { copyFile, mkdir, readdir, readFile, rename, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { run } from '#lib';
import { WORKER_CAPABILITIES } from '#model';
import { APP } from '../fixtures/quickstart.ts';
import { eventually, prepareStack, showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { pidsInNamespace, processes, processesOf } from './support/leftovers.ts';
import { ATTEMPT, rightsOf, type Attempts, type Rights } from './support/privileges.ts';

/** docs/processes.md as data: what each process of a running stack is, serves, calls and reads. Nothing else may be so. */
interface Row {
  readonly user: 'root' | 'own';
  /** Supplementary groups, by their names. */
  readonly groups: readonly ('egresses' | 'recorders' | 'records' | 'envoys')[];
  readonly capabilities: readonly string[];
  readonly network: 'stack' | 'gateway';
  /** Unix sockets below the run directory; `tcp` and `udp` stand for listeners on that address. */
  readonly serves: readonly string[];
  readonly calls: readonly string[];
  /** Below the state directory, or `run/…` below the run directory. */
  readonly reads: readonly string[];
}

const PLAIN = { user: 'own', groups: [], capabilities: [], network: 'stack' } as const;
const TABLE: Readonly<Record<string, Row>> = {
  'controller-manager': {
    ...PLAIN,
    serves: ['desired', 'desired-egress', 'tcp 127.0.0.1'],
    calls: ['runs', 'store-query'],
    reads: ['api', 'api/api.db', 'pki/server.key', 'pki/controller-manager.key'],
  },
  dispatcher: {
    ...PLAIN,
    serves: ['work', 'ledger', 'runs', 'tcp 127.0.0.1'],
    calls: [],
    reads: ['dispatch', 'dispatch/dispatch.db', 'pki/dispatcher.key'],
  },
  store: { ...PLAIN, serves: ['store', 'store-query'], calls: [], reads: ['clickhouse'] },
  worker: { user: 'root', groups: [], capabilities: WORKER_CAPABILITIES, network: 'stack', serves: ['w0/host'], calls: [], reads: [] },
  egress: {
    ...PLAIN,
    groups: ['egresses', 'records'],
    serves: ['w0/claims', 'w0/names', 'w0/xds', 'w0/engine'],
    calls: ['desired-egress', 'ledger', 'w0/host', 'w0/envoy-0'],
    reads: [
      'workers/0/names',
      'workers/0/offsets/egress',
      'workers/0/records',
      'workers/0/records/egress',
      'workers/0/records/envoy-0',
      'workers/0/records/egress/bindings.jsonl',
      'workers/0/records/egress/egress.jsonl',
      'workers/0/records/envoy-0/access-0.jsonl',
    ],
  },
  recorder: {
    ...PLAIN,
    groups: ['recorders', 'records'],
    serves: [],
    calls: ['store'],
    reads: [
      'workers/0/spool',
      'workers/0/records/worker',
      'workers/0/records/worker/stdio.jsonl',
      'workers/0/offsets/recorder',
      'workers/0/records',
      'workers/0/records/egress',
      'workers/0/records/envoy-0',
      'workers/0/records/egress/bindings.jsonl',
      'workers/0/records/egress/egress.jsonl',
      'workers/0/records/envoy-0/access-0.jsonl',
    ],
  },
  front: { ...PLAIN, network: 'gateway', serves: ['udp 0.0.0.0', 'tcp 0.0.0.0'], calls: ['w0/names'], reads: [] },
  envoy: {
    ...PLAIN,
    groups: ['envoys'],
    capabilities: ['sys_admin'],
    // Its TCP and UDP listeners are in the gateway namespace.
    serves: ['w0/envoy-0'],
    calls: ['w0/xds', 'w0/engine'],
    reads: ['workers/0/records/envoy-0', 'workers/0/records/envoy-0/access-0.jsonl', 'run/w0/envoy-0.json'],
  },
};

/** Everything somebody might want to read: whatever no row names is root's alone. */
const FILES = [
  ...new Set(Object.values(TABLE).flatMap(({ reads }) => reads)),
  '',
  'pki',
  'pki/ca.key',
  'pki/admin.key',
  'pki/viewer.key',
  'kubeconfig.host',
  'dev.json',
  'dev.lock',
  'uids.json',
  'images',
  'workers',
  'workers/0',
  'run/',
  'run/..',
  'run/w0',
  'run/w0/sandboxes',
  'run/w0/runsc',
];

let stack: TestStack;
const pids = new Map<string, number>();
const rights = new Map<string, Rights>();
const names = Object.keys(TABLE);

const lookAgain = async (): Promise<void> => {
  for (const name of names) {
    const found = await stack.pids(name);
    expect(found, `processes of ${name}`).toHaveLength(1);
    pids.set(name, found[0]!);
    rights.set(name, await rightsOf(found[0]!));
  }
};

beforeAll(async () => {
  stack = await startStack();
  await stack.probe('probe', { fetch: { url: 'https://api.openai.com/v1/models' } }, { stderr: 'x\n' }); // every file is there
  await eventually('offsets of every reader', async () => {
    const kept = join(stack.state, 'workers', '0', 'offsets');
    return (await readdir(join(kept, 'egress'))).length > 0 && (await readdir(join(kept, 'recorder'))).length > 0 ? true : undefined;
  });
  await lookAgain();
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

const socketsOf = (serves: readonly string[]): string[] =>
  serves.filter((name) => !/^(tcp|udp) /.test(name)).map((name) => join(stack.run, name, /envoy-\d+$/.test(name) ? 'admin' : 'sock'));
const pathOf = (file: string): string => (file.startsWith('run/') ? join(stack.run, file.slice(4)) : join(stack.run, 'state', file));

it('each process has the user, groups, capabilities, namespaces and listeners of the table', async () => {
  const dev = await rightsOf(stack.devPid);
  const gateway = (await stat(stack.inside(join(stack.run, 'w0', 'gw.netns')))).ino;
  expect(dev.mounts).not.toBe((await rightsOf(process.pid)).mounts);
  expect(dev.listens).toEqual([]);
  // Envoy could mount: where nobody else sees it, and nothing of it gets out.
  expect(rights.get('envoy')!.mounts).not.toBe(dev.mounts);
  const [envoyPid] = await stack.pids('envoy');
  expect(await readFile(`/proc/${envoyPid}/mountinfo`, 'utf8')).not.toMatch(/ (shared|master):/);
  const groupIds = new Map<string, number>();
  for (const name of names) {
    const row = TABLE[name]!;
    const is = rights.get(name)!;
    const { bounding, permitted, effective, inherited, ambient } = is.capabilities;
    const caps = row.capabilities.toSorted();
    expect(
      [bounding, permitted, effective].map((set) => set.toSorted()),
      `capabilities of ${name}`,
    ).toEqual([caps, caps, caps]);
    expect([inherited, ambient], `capabilities ${name} hands on`).toEqual(row.user === 'root' ? [[], []] : [caps, caps]);
    expect({ noNewPrivileges: is.noNewPrivileges, coreLimit: is.coreLimit.split(/\s+/) }, name).toEqual({ noNewPrivileges: true, coreLimit: ['0', '0'] });
    if (name !== 'envoy') expect(is.mounts, `mounts of ${name}`).toBe(dev.mounts);
    expect(is.network, `network of ${name}`).toBe(row.network === 'stack' ? dev.network : `net:[${gateway}]`);
    if (row.user === 'root') expect([is.uid, is.gid], name).toEqual([0, 0]);
    else expect(is.uid, name).toBeGreaterThan(1_000_000);
    expect(is.groups, `groups of ${name}`).toHaveLength(row.groups.length);
    // A group that two rows name is one number; names of one row are matched through it.
    for (const [at, group] of row.groups.entries()) {
      const id = is.groups[at]!;
      if (groupIds.has(group)) expect(id, `${group} of ${name}`).toBe(groupIds.get(group));
      groupIds.set(group, id);
    }
    const unix = is.listens.filter((listener) => listener.startsWith('/'));
    expect(unix, `sockets of ${name}`).toEqual(socketsOf(row.serves).toSorted());
    const others = is.listens.filter((listener) => !listener.startsWith('/')).map((listener) => listener.slice(0, listener.lastIndexOf(':')));
    const expected = row.serves.filter((served) => /^(tcp|udp) /.test(served));
    if (name !== 'envoy') expect([...new Set(others)].toSorted(), `ports of ${name}`).toEqual(expected.toSorted());
  }
  const own = names.filter((name) => TABLE[name]!.user === 'own').map((name) => rights.get(name)!);
  expect(new Set(own.map(({ uid }) => uid)).size, 'uids').toBe(own.length);
  expect(new Set([...own.map(({ gid }) => gid), ...groupIds.values()]).size, 'gids').toBe(own.length + groupIds.size);
  // Envoy's ports are in the gateway namespace, which nothing but sandboxes is attached to: none is in the stack's.
  expect(rights.get('envoy')!.listens.filter((listener) => !listener.startsWith('/'))).toEqual([]);
});

/** Tries everything as a process is: same ids, groups and capabilities, same mounts. */
const attempt = async (as: Rights, attempts: Attempts) => {
  const node = join(stack.run, 'app', relative(APP, process.execPath));
  const caps = ['-all', ...as.capabilities.bounding.map((name) => `+${name}`)].join(',');
  const groups = as.groups.length > 0 ? ['--groups', as.groups.join(',')] : ['--clear-groups'];
  const ids = ['--reuid', String(as.uid), '--regid', String(as.gid), ...groups, '--bounding-set', caps, '--inh-caps', caps, '--ambient-caps', caps];
  const argv = [`--mount=/proc/${stack.devPid}/ns/mnt`, '--', 'setpriv', ...ids, '--no-new-privs', '--', node, '-e', ATTEMPT];
  const { stdout } = await run('nsenter', argv, { input: JSON.stringify(attempts), cwd: '/' });
  return JSON.parse(stdout) as { [K in keyof Attempts]: Record<string, string> };
};

it('a process reaches the sockets and files of the table, and of the others not one', async () => {
  const served = Object.values(TABLE).flatMap(({ serves }) => socketsOf(serves));
  const everyone = [stack.devPid, ...pids.values()];
  const secrets = ['environ', 'mem', 'root'].flatMap((name) => everyone.map((pid) => `/proc/${pid}/${name}`));
  const attempts: Attempts = { sockets: served, files: [...FILES.map(pathOf), ...secrets], signals: everyone };
  for (const name of names.filter((each) => TABLE[each]!.user === 'own')) {
    const { calls, serves, reads } = TABLE[name]!;
    const result = await attempt(rights.get(name)!, attempts);
    const mine = pids.get(name)!;
    const allowed = (outcomes: Readonly<Record<string, string>>): string[] => Object.keys(outcomes).filter((key) => outcomes[key] === 'ok');
    // Its own sockets are its own files; nobody minds that it could call itself.
    expect(
      allowed(result.sockets)
        .filter((path) => !socketsOf(serves).includes(path))
        .toSorted(),
      `${name} calls`,
    ).toEqual(socketsOf(calls).toSorted());
    expect(new Set(Object.values(result.sockets)), name).toEqual(
      new Set(served.length > 0 ? ['ok', 'EACCES'].filter((code) => Object.values(result.sockets).includes(code)) : []),
    );
    const files = allowed(result.files).filter((path) => !path.startsWith('/proc/'));
    expect(files.toSorted(), `${name} reads`).toEqual(reads.map(pathOf).toSorted());
    expect(
      allowed(result.files).filter((path) => path.startsWith('/proc/') && !path.startsWith(`/proc/${mine}/`)),
      `${name} sees of other processes`,
    ).toEqual([]);
    expect(allowed(result.signals), `${name} signals`).toEqual([String(mine)]);
  }
});

it('a sandbox and its helpers can never have more than their worker', async () => {
  const running = stack.invoke('probe', { steps: [{ sleep: 3_000 }] });
  const runsc = await eventually('a sandbox', async () => {
    const all = (await processesOf(stack.run)).filter(({ argv }) => /runsc/.test(argv[0]!));
    return all.some(({ argv }) => argv[0]!.includes('sandbox')) && all.length >= 3 ? all : undefined;
  });
  for (const { pid, argv } of runsc) {
    const { capabilities, users, coreLimit, noNewPrivileges } = await rightsOf(pid);
    // In a user namespace of its own a process can have everything, over nothing of this machine.
    const over = users === rights.get('worker')!.users ? capabilities.bounding : [];
    expect(
      over.filter((name) => !(WORKER_CAPABILITIES as readonly string[]).includes(name)),
      argv[0],
    ).toEqual([]);
    expect([coreLimit.split(/\s+/), noNewPrivileges], argv[0]).toEqual([['0', '0'], true]);
  }
  expect((await running).status).toBe(200);
});

it('no secret of a person is in the environment of a program', async () => {
  for (const name of names) {
    const environ = (await readFile(`/proc/${pids.get(name)!}/environ`, 'utf8')).split('\0').filter(Boolean);
    const unknown = environ
      .map((entry) => entry.split('=')[0]!)
      .filter((key) => !/^(PATH|TZ|LANG|LC_[A-Z]+|CLRK_LOG_LEVEL|NODE_OPTIONS|NODE_V8_COVERAGE|PWD|OLDPWD|SHLVL|_)$/.test(key));
    expect(unknown, name).toEqual([]);
  }
});

it('a second stack shares no uid, also when its state directory is a copy, and reaches nothing of the first', async () => {
  await using other = await prepareStack();
  await copyFile(join(stack.state, 'uids.json'), join(other.state, 'uids.json'));
  await other.start();
  const ours = new Set(names.flatMap((name) => [rights.get(name)!.uid, rights.get(name)!.gid, ...rights.get(name)!.groups]));
  const programs = ['controller-manager', 'dispatcher', 'store'];
  for (const name of programs) {
    const theirs = await rightsOf((await other.pids(name))[0]!);
    expect(
      [theirs.uid, theirs.gid, ...theirs.groups].filter((id) => ours.has(id as number)),
      name,
    ).toEqual([]);
    const served = Object.values(TABLE).flatMap(({ serves }) => socketsOf(serves));
    const result = await attempt(theirs, { sockets: served, files: FILES.map(pathOf), signals: [...pids.values()] });
    expect(new Set([...Object.values(result.sockets), ...Object.values(result.files)]), name).toEqual(new Set(['EACCES']));
    expect(new Set(Object.values(result.signals)), name).toEqual(new Set(['EPERM']));
  }
});

it('kill -9 of a worker takes all its children along, whatever their uid', async () => {
  const children = ['egress', 'recorder', 'front', 'envoy'].map((name) => pids.get(name)!);
  await stack.kill('worker');
  await eventually('its children are gone', async () => {
    const alive = (await processes()).map(({ pid }) => pid);
    return children.some((pid) => alive.includes(pid)) ? undefined : true;
  });
  await stack.restarted('egress', children[0]!);
});

it('kill -9 of clrk dev takes every process and every mount along, and a state directory of earlier versions is taken over', async () => {
  const { ino } = await stat(`/proc/${stack.devPid}/ns/mnt`);
  await stack.killDev();
  await eventually('every process is gone', async () => {
    const left = await processesOf(stack.run);
    if (left.length > 0) throw new Error(left.map(({ pid, argv }) => `${pid} ${argv.join(' ')}`).join('\n'));
    return (await pidsInNamespace('mnt', ino)).length === 0 ? true : undefined;
  });

  // As it was when everything was root's and lay beside each other.
  const { state } = stack;
  const flatten = async (dir: string): Promise<void> => {
    for (const name of await readdir(dir)) await rename(join(dir, name), join(dir, '..', name));
  };
  const worker = join(state, 'workers', '0');
  for (const dir of [join(state, 'api'), join(state, 'dispatch'), join(worker, 'offsets', 'egress'), join(worker, 'offsets', 'recorder')]) await flatten(dir);
  for (const dir of ['envoy-0', 'egress', 'worker']) await flatten(join(worker, 'records', dir));
  await rename(join(worker, 'names', 'gateways.json'), join(worker, 'gateways.json'));
  await run('chown', ['-hR', '0:0', state]);
  await run('find', [worker, '-type', 'f', '-exec', 'chmod', '600', '{}', '+']);
  await mkdir(join(worker, 'records'), { recursive: true });

  await stack.start();
  await stack.condition('taskagents', 'probe', 'Ready', 'True', 30_000);
  const { results, invocation } = await eventually('a run', () => stack.probe('probe', { fetch: { url: 'https://api.openai.com/v1/models' } }), 30_000, 500);
  expect(results[0]).toMatchObject({ status: 403 });
  expect(await stack.egressLog(invocation, (all) => all.length > 0)).toHaveLength(1);
  const before = new Map(rights);
  await lookAgain();
  for (const name of names) expect([rights.get(name)!.uid, rights.get(name)!.gid], name).toEqual([before.get(name)!.uid, before.get(name)!.gid]);
});
