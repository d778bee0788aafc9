import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '#lib';
import { TOOLS } from '../e2e/harness.ts';

/**
 * Programs the benches compare with, each unpacked or installed in a directory of its own below the tools: nothing of them is
 * installed on the machine, listed in package.json, or started by a package script.
 */
const DIR = join(TOOLS, 'bench');

/** Makes `DIR/name` with `fill` once; an attempt that breaks off leaves nothing. */
const ensure = async (name: string, fill: (dir: string) => Promise<unknown>): Promise<string> => {
  const dir = join(DIR, name);
  if (existsSync(dir)) return dir;
  await mkdir(DIR, { recursive: true });
  const fresh = await mkdtemp(join(DIR, '.new-'));
  try {
    await fill(fresh);
    await chmod(fresh, 0o755); // squid gives up root
    await rename(fresh, dir);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return dir;
};

/** Debian packages, unpacked. Debian keeps the newest patch of a version only, so the version is what the results print. */
const debian = (name: string, packages: readonly string[]): Promise<string> =>
  ensure(name, async (dir) => {
    const download = () => run('apt-get', ['download', '-qq', ...packages], { cwd: dir });
    await download().catch(async () => {
      await run('apt-get', ['update', '-qq']);
      await download();
    });
    for (const file of await readdir(dir)) {
      await run('dpkg', ['-x', file, '.'], { cwd: dir });
      await rm(join(dir, file));
    }
  });

export const ensureNginx = async (): Promise<string> => join(await debian('nginx', ['nginx']), 'usr/sbin/nginx');

/** The root of what was unpacked; its libraries are in usr/lib/ARCH. */
export const ensureSquid = (): Promise<string> => debian('squid', ['squid-openssl', 'squid-common', 'squid-langpack', 'libecap3', 'libltdl7']);

const MITMPROXY = 'mitmproxy==11.0.2';

/** A program of a Python package, in an environment of its own. */
const python = async (what: string, program: string): Promise<string> => {
  // A Python environment knows where it is: it cannot be moved.
  const dir = join(DIR, what.replace(/\[.*\]/, ''));
  const [path, done] = [join(dir, 'bin', program), join(dir, '.installed')];
  if (existsSync(done)) return path;
  await mkdir(DIR, { recursive: true });
  await run('python3', ['-m', 'venv', '--clear', dir]);
  await run(join(dir, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', what], { timeoutMs: 600_000 });
  await writeFile(done, '');
  return path;
};

export const ensureMitmproxy = (): Promise<string> => python(MITMPROXY, 'mitmdump');

const LITELLM = 'litellm[proxy]==1.100.0';
export const ensureLitellm = (): Promise<string> => python(LITELLM, 'litellm');

const MOCKTTP = 'mockttp@4.6.5';

/** The node_modules of an npm package, NAME@VERSION; `overrides` as in package.json. */
const npm = async (what: string, overrides: Readonly<Record<string, string>> = {}): Promise<string> => {
  const [, name, version] = /^(.+)@(.+)$/.exec(what)!;
  const fill = async (fresh: string): Promise<void> => {
    await writeFile(join(fresh, 'package.json'), JSON.stringify({ private: true, dependencies: { [name!]: version }, overrides }));
    await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'], { cwd: fresh, timeoutMs: 240_000 });
  };
  return join(await ensure(what.replaceAll('/', '-'), fill), 'node_modules');
};

/** The main module. */
export const ensureMockttp = async (): Promise<string> => join(await npm(MOCKTTP), 'mockttp/dist/main.js');

const PORTKEY = '@portkey-ai/gateway@1.15.2';
/** Newer ones that it would take break its streamed answers (it adds to headers that these make immutable). */
const PORTKEY_NEEDS = { '@hono/node-server': '1.13.8' };
/** The program. */
export const ensurePortkey = async (): Promise<string> => join(await npm(PORTKEY, PORTKEY_NEEDS), '@portkey-ai/gateway/build/start-server.js');

/** What the bench of LLM gateways compares with. */
export const LLM_GATEWAYS = `${LITELLM}; ${PORTKEY}; node ${process.version}`;

export const ensureWrk = async (): Promise<void> => {
  if (existsSync('/usr/bin/wrk')) return;
  await run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'wrk'], { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
};

/** What the results say they were measured against. */
export const versions = async (): Promise<string> => {
  const first = ({ stdout, stderr }: { stdout: string; stderr: string }): string => `${stdout}${stderr}`.split('\n')[0]!.trim();
  const squid = await ensureSquid();
  const [nginx, squidVersion] = await Promise.all([
    run(await ensureNginx(), ['-v']).then(first),
    run(join(squid, 'usr/sbin/squid'), ['-v'], { env: squidEnv(squid) }).then(first),
  ]);
  return [nginx.replace('nginx version: ', ''), squidVersion, MITMPROXY, MOCKTTP, `node ${process.version}`].join('; ');
};

export const squidEnv = (root: string): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], LD_LIBRARY_PATH: join(root, 'usr/lib', `${machine()}-linux-gnu`) });
const machine = (): string => (process.arch === 'arm64' ? 'aarch64' : 'x86_64');
