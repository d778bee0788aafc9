import { readlinkSync } from 'node:fs';
import { chmod, copyFile, mkdir } from 'node:fs/promises';
import { isAbsolute, join, relative } from 'node:path';
import { ClrkError, messageOf, run, type Identity } from '#lib';
import { APP } from './app.ts';
import { APP_PARTS } from './run-dir.ts';
import { which } from './setup.ts';

const OUTER = 'CLRK_OUTER_MOUNTS';
/** Where Node.js looks up `#lib` and the like. */
const MANIFEST = 'package.json';
let entered = false;

/**
 * Makes the process of `clrk dev` one with mounts of its own: it executes itself once more, same pid, same arguments, in a
 * new mount namespace. Mounts of the machine still appear in it; its own are seen by its children only and end with them.
 * Throws CannotIsolate where the machine does not allow that. To be called before anything is open.
 */
export const enterPrivateMounts = async (command: string): Promise<void> => {
  if (process.getuid?.() !== 0) throw new ClrkError('NotRoot', { command });
  const here = readlinkSync('/proc/self/ns/mnt');
  const outer = process.env[OUTER];
  delete process.env[OUTER];
  // A variable somebody exported says the namespace we are still in.
  entered = outer !== undefined && outer !== here;
  if (entered) return;
  const unshare = await which('unshare');
  if (!unshare) throw new ClrkError('ToolMissing', { tool: 'unshare' });
  const args = ['--mount', '--propagation', 'slave', '--'];
  await run(unshare, [...args, 'true']).catch((error: unknown) => {
    throw new ClrkError('CannotIsolate', { what: 'make a mount namespace', cause: messageOf(error) }, { cause: error });
  });
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve!(unshare, [unshare, ...args, ...self], { ...process.env, [OUTER]: here });
};

/** Where a stack's processes find things: short paths that do not depend on where the checkout and the state directory are. */
export interface Place {
  /** What programs load of the checkout (read-only), the state directory, the tools (read-only). */
  readonly app: string;
  readonly state: string;
  readonly tools: string;
  readonly node: string;
}

const bind = async (from: string, to: string, options: string): Promise<void> => {
  await mkdir(to, { recursive: true });
  try {
    // With what is mounted below: a part of the state directory may be a file system of its own.
    await run('mount', ['-o', `rbind,${options}`, from, to]);
  } catch (error) {
    throw new ClrkError('CannotIsolate', { what: `bind ${from}`, cause: messageOf(error) }, { cause: error });
  }
};

/** Binds checkout, state directory and tools into the run directory. Only in the process that `enterPrivateMounts` made. */
export const bindPlace = async (runDir: string, { state, tools }: { readonly state: string; readonly tools: string }): Promise<Place> => {
  if (!entered) throw new ClrkError('Internal', { what: 'a stack was started outside of a mount namespace of its own' });
  const place = { app: join(runDir, 'app'), state: join(runDir, 'state'), tools: join(runDir, 'tools') };
  await chmod(state, 0o711); // others pass through it; all that is in it has owners and modes of its own
  for (const part of APP_PARTS) await bind(join(APP, part), join(place.app, part), 'ro,nosuid,nodev');
  await copyFile(join(APP, MANIFEST), join(place.app, MANIFEST));
  for (const open of [place.app, join(place.app, MANIFEST)]) await chmod(open, 0o755);
  await bind(state, place.state, 'rw');
  await bind(tools, place.tools, 'ro,nodev');
  const node = relative(APP, process.execPath);
  // `./clrk` runs the checkout's own Node.js; another one must be where everybody can run it.
  return { ...place, node: node.startsWith('..') || isAbsolute(node) ? process.execPath : join(place.app, node) };
};

/** Whether another uid can run what the stack consists of; throws NotForOthers with the first file it cannot use, by the name a person knows. */
export const checkPlace = async (place: Place, tools: string, as: Identity): Promise<void> => {
  const { uid, gid } = as;
  const files = [
    { flag: '-x', path: place.node, shown: process.execPath },
    { flag: '-r', path: join(place.app, 'src', 'cmd', 'egress.ts'), shown: join(APP, 'src', 'cmd', 'egress.ts') },
    { flag: '-r', path: join(place.app, 'node_modules', 'pino', 'package.json'), shown: join(APP, 'node_modules') },
    { flag: '-x', path: join(place.tools, 'bin', 'envoy'), shown: join(tools, 'bin', 'envoy') },
  ];
  for (const { flag, path, shown } of files) {
    try {
      await run('setpriv', ['--reuid', String(uid), '--regid', String(gid), '--clear-groups', '--bounding-set', '-all', '--', 'test', flag, path]);
    } catch (error) {
      const code = error instanceof ClrkError && /exit code 1:/.test(error.message) ? 'NotForOthers' : 'CannotIsolate';
      throw new ClrkError(code, { path: shown, what: `run a process as uid ${uid}`, cause: messageOf(error) }, { cause: error });
    }
  }
};
