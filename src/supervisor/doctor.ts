import { access, constants, readdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { messageOf, readIfExists, run } from '#lib';
import { lockHolder } from './lock.ts';
import { runDirOf } from './run-dir.ts';
import { PACKAGES, toolParts, which } from './setup.ts';

/** One part of the machine, as it is. */
export interface Part {
  readonly name: string;
  /** `missing`: clrk does not work without it; `warning`: it works, but see `fix`. */
  readonly state: 'ok' | 'warning' | 'missing';
  /** Version, or what was found. */
  readonly found: string;
  readonly path?: string | undefined;
  /** What to do; empty when there is nothing to do. */
  readonly fix: string;
}

const GB = 1e9;
const gigabytes = (bytes: number): string => `${(bytes / GB).toFixed(1)} GB`;
const ok = (name: string, found: string, path?: string): Part => ({ name, state: 'ok', found, path, fix: '' });
const bad = (name: string, state: 'warning' | 'missing', found: string, fix: string, path?: string): Part => ({ name, state, found, path, fix });

/** First line of what a program says about itself; empty when it says nothing of use. */
const versionOf = async (path: string): Promise<string> => {
  for (const flag of ['--version', '-V']) {
    const text = await run(path, [flag], { timeoutMs: 5_000 }).then(
      ({ stdout, stderr }) => (stdout || stderr).split('\n')[0]!.trim().slice(0, 48),
      () => '',
    );
    if (/\d/.test(text)) return text;
  }
  return 'found';
};

const command = async (name: string, packageName: string): Promise<Part> => {
  const path = await which(name);
  return path ? ok(name, await versionOf(path), path) : bad(name, 'missing', 'missing', `Run ./clrk setup, or apt-get install ${packageName}.`);
};

/** What only `clrk setup` needs, and only while something is left to install. */
const installers = async (tools: readonly Part[]): Promise<Part[]> => {
  const lacks = (name: string): boolean => tools.some((part) => part.name.startsWith(name) && part.state === 'missing');
  const wanted = [
    ...(lacks('Envoy') ? [{ name: 'python3', fix: 'It downloads Envoy: apt-get install python3 python3-pip.' }] : []),
    ...(lacks('gVisor') && !(await which('runsc')) ? [{ name: 'go', fix: 'It builds gVisor: install Go 1.26 or newer, or put a recent runsc on PATH.' }] : []),
  ];
  return await Promise.all(
    wanted.map(async ({ name, fix }) => {
      const path = await which(name);
      return path ? ok(`${name} (for setup)`, 'found', path) : bad(`${name} (for setup)`, 'missing', 'missing', fix);
    }),
  );
};

/** Tried in a namespace that ends with the command; nothing of the machine changes. */
const namespaces = async (root: boolean): Promise<Part> => {
  const name = 'network namespaces, nftables';
  if (!root) return bad(name, 'warning', 'not tried', 'Run ./clrk doctor as root to try them.');
  const rules = 'add table inet t\nadd chain inet t c { type nat hook prerouting priority dstnat; }\nadd rule inet t c meta l4proto tcp redirect to :1\n';
  return run('unshare', ['--net', '--', 'nft', '-f', '-'], { input: rules, timeoutMs: 5_000 }).then(
    () => ok(name, 'usable'),
    (error: unknown) => bad(name, 'missing', 'refused', `The kernel or this container does not allow them: ${messageOf(error)}`),
  );
};

const cgroups = async (): Promise<Part> => {
  const root = '/sys/fs/cgroup';
  const driver = (await stat('/run/systemd/system').catch(() => undefined)) ? 'systemd' : 'cgroupfs';
  const unified = await readIfExists(join(root, 'cgroup.controllers'));
  const controllers = unified === undefined ? await readdir(root).catch((): string[] => []) : unified.trim().split(' ');
  const lacking = ['cpu', 'memory', 'pids'].filter((name) => !controllers.includes(name));
  const found = `v${unified === undefined ? 1 : 2}, ${driver}`;
  return lacking.length === 0
    ? ok('cgroups', found, root)
    : bad('cgroups', 'warning', found, `Without ${lacking.join(', ')}: limits on those cannot be set.`, root);
};

const userNamespaces = async (): Promise<Part> => {
  const most = Number((await readIfExists('/proc/sys/user/max_user_namespaces')) ?? 0);
  return most > 0
    ? ok('user namespaces', `at most ${most}`)
    : bad('user namespaces', 'warning', 'switched off', 'gVisor shuts itself in more tightly with them: sysctl user.max_user_namespaces=15000.');
};

/** The nearest directory above a path that exists. */
const existing = async (path: string): Promise<string> => ((await stat(path).catch(() => undefined)) ? path : path === '/' ? path : existing(dirname(path)));

const space = async (dir: string): Promise<Part[]> => {
  const at = await existing(dir);
  const { bavail, bsize } = await statfs(at);
  const free = bavail * bsize;
  const available = Number(/^MemAvailable:\s+(\d+) kB/m.exec(await readFile('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
  return [
    free < GB
      ? bad('disk', 'missing', `${gigabytes(free)} free`, 'At least 1 GB is needed; make room, or choose another --clrk-dir.', at)
      : free < 3 * GB
        ? bad('disk', 'warning', `${gigabytes(free)} free`, '3 GB are comfortable: tools, images and records.', at)
        : ok('disk', `${gigabytes(free)} free`, at),
    available < GB
      ? bad('memory', 'warning', `${gigabytes(available)} available`, 'A stack needs about 1 GB, and each run its own.')
      : ok('memory', `${gigabytes(available)} available`),
  ];
};

const runDirectory = async (root: boolean): Promise<Part> => {
  const at = await existing('/run/clrk');
  return access(at, constants.W_OK).then(
    () => ok('/run', 'writable', at),
    () =>
      bad('/run', root ? 'missing' : 'warning', 'not writable', root ? 'Sockets and namespaces live in /run/clrk: mount /run writable.' : 'Run as root.', at),
  );
};

const canListen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });

/** Another port is taken when the one of last time is not free; only loopback itself has to work. */
const ports = async (dir: string, running: boolean): Promise<Part> => {
  if (!(await canListen(0))) return bad('loopback', 'missing', 'no port can be opened', 'Bring the interface lo up with 127.0.0.1.');
  const last = Number((await readIfExists(join(dir, 'api.port'))) ?? 0);
  if (last > 0 && !running && !(await canListen(last)))
    return bad('loopback', 'warning', `port ${last} is taken`, 'The API gets another port at the next start; read dev.json or kubeconfig.host again.');
  return ok('loopback', 'ports can be opened');
};

interface Process {
  readonly pid: number;
  readonly argv: readonly string[];
}

const processes = async (): Promise<Process[]> => {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  return await Promise.all(pids.map(async (pid) => ({ pid: Number(pid), argv: (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0') })));
};

/** The stack of this directory, and what stacks that are gone left in /run/clrk. */
const stacks = async (dir: string, holder: number | undefined): Promise<Part[]> => {
  const all = await processes();
  const own = runDirOf(await realpath(dir).catch(() => dir));
  const children = all.filter(({ argv }) => argv.includes(own)).map(({ pid, argv }) => `${argv[argv.indexOf('--component') + 1] ?? 'process'} ${pid}`);
  const stack =
    holder === undefined ? ok('stack', 'not running', dir) : ok('stack', `runs: clrk ${holder}${children.map((child) => `, ${child}`).join('')}`, dir);
  if (holder === undefined && children.length > 0) return [bad('stack', 'warning', `gone, but these live: ${children.join(', ')}`, 'End them with kill.', own)];
  const left: Part[] = [];
  for (const name of await readdir('/run/clrk').catch((): string[] => [])) {
    if (!/^([0-9a-f]{8}|demo-\d+)$/.test(name)) continue;
    const at = join('/run/clrk', name);
    const used = all.some(({ argv }) => argv.some((word) => word === at || word.startsWith(`${at}/`)));
    const owned = (await lockHolder(join(at, 'owner')).catch(() => undefined)) !== undefined;
    if (!used && !owned && !(at === own && holder !== undefined))
      left.push(bad('left behind', 'warning', 'a stack that was killed', 'The next start of its state directory, or the next demo, sweeps it.', at));
  }
  return [stack, ...left];
};

/** Everything clrk needs and how it stands; looks only. */
export const doctor = async (dir: string, tools: string): Promise<readonly Part[]> => {
  const root = process.getuid?.() === 0;
  const holder = await lockHolder(join(dir, 'dev.lock'));
  const commands = PACKAGES.flatMap(({ commands: names, name }) => names.map((each) => command(each, name)));
  const binaries = (await toolParts(tools)).map(({ name, version, path, fix }) =>
    version ? ok(name, version, path) : bad(name, 'missing', 'missing', `Run ./clrk setup. ${fix}`),
  );
  return [
    root ? ok('root', 'yes') : bad('root', 'missing', 'no', 'Run clrk dev, demo and test with sudo.'),
    ok('Node.js', process.version, process.execPath),
    ok('kernel', release()),
    ...(await Promise.all(commands)),
    ...binaries,
    ...(await installers(binaries)),
    await namespaces(root),
    await userNamespaces(),
    await cgroups(),
    ...(await space(dir)),
    await runDirectory(root),
    await ports(dir, holder !== undefined),
    ...(await stacks(dir, holder)),
  ];
};
