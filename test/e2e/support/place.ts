import { chmod, copyFile, mkdir, rmdir } from 'node:fs/promises';
import { once } from 'node:events';
import { join, relative } from 'node:path';
import { exited, spawnChild, type SpawnOptions } from '#lib';
import { identities } from '#model';
import { makeSocketDirs } from '../../../src/supervisor/ownership.ts';
import { APP } from '../../fixtures/quickstart.ts';

/** Uids of programs that a test starts by itself, above those that stacks draw from. */
export const UIDS = 0x7fff_0000;

/** What `clrk dev` makes around its programs, for tests that start one alone: a mount namespace with everything bound at short paths. */
export interface TestPlace extends AsyncDisposable {
  /** A process that does nothing but keep the namespace. */
  readonly pid: number;
  readonly state: string;
  readonly tools: string;
  /** A file of the namespace, for processes outside. */
  readonly outside: (path: string) => string;
  /** A program of `src/cmd`, inside. */
  readonly start: (program: string, args: readonly string[], options?: SpawnOptions) => ReturnType<typeof spawnChild>;
}

const SCRIPT = `
app=$1
for part in src node_modules; do mount -o bind,ro "$app/$part" "$RUN_DIR/app/$part"; done
mount -o bind "$2" "$RUN_DIR/state"
mount -o bind "$3" "$RUN_DIR/tools"
echo ready
exec sleep infinity`;

export const createPlace = async (run: string, { state, tools }: { readonly state: string; readonly tools: string }): Promise<TestPlace> => {
  const names = ['app/src', 'app/node_modules', 'state', 'tools'];
  await Promise.all(names.map((name) => mkdir(join(run, name), { recursive: true })));
  await copyFile(join(APP, 'package.json'), join(run, 'app', 'package.json'));
  for (const dir of [run, state]) await chmod(dir, 0o711);
  await makeSocketDirs(run, identities(UIDS));
  const argv = ['--mount', '--propagation', 'slave', '--', 'sh', '-ec', SCRIPT, 'sh', APP, state, tools];
  const holder = spawnChild('unshare', argv, { env: { ...process.env, RUN_DIR: run }, stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout!, 'data');
  const node = join(run, 'app', relative(APP, process.execPath));
  return {
    pid: holder.pid!,
    state: join(run, 'state'),
    tools: join(run, 'tools'),
    outside: (path) => `/proc/${holder.pid}/root${path}`,
    start: (program, args, options) =>
      spawnChild('nsenter', [`--mount=/proc/${holder.pid}/ns/mnt`, '--', node, join(run, 'app', 'src', 'cmd', `${program}.ts`), ...args], options),
    async [Symbol.asyncDispose]() {
      holder.kill('SIGKILL');
      await exited(holder);
      await Promise.all(names.map((name) => rmdir(join(run, name)))); // empty: nothing is bound there any more
    },
  };
};
