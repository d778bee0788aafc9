import { access, constants, open, readdir, stat } from 'node:fs/promises';
import { join, posix, relative, resolve } from 'node:path';
import { ClrkError, describeExit, exited, spawnChild } from '#lib';
import { baseLayer } from './base-layer.ts';
import type { ConfigBlob } from './config.ts';
import { parseImageReference } from './name.ts';
import { adoptBlob, CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, openStore, putJson, setName, temporaryDir, type Descriptor, type Manifest } from './oci.ts';
import { detectRuntime, isFile, RUNTIMES, type Failed, type Runtime, type RuntimeSpec } from './runtimes.ts';

export interface BuildOptions {
  /** The local image store, `<state>/images`. */
  readonly store: string;
  /** Name the image gets; `:latest` is added when it has no tag. */
  readonly name: string;
  /** Directory that becomes /app. */
  readonly dir: string;
  /** What the image brings besides the program; absent = what the directory's files show. */
  readonly runtime?: Runtime;
  /** Words of the command line; the first may be a path relative to /app. Default: the runtime with its usual main file. */
  readonly entrypoint?: readonly string[];
  /** The Node.js that runtime `node` puts into the image. */
  readonly nodeBinary: string;
  /** The Python that runtime `python` puts into the image; default: `python3` on PATH. */
  readonly pythonBinary?: string;
  readonly signal?: AbortSignal;
  readonly progress?: (step: string, state: 'start' | 'done', detail: string) => void;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const USER = '65534:65534';
/** Reproducible archives: nothing of when, by whom or under which umask a file was made gets in. */
const TAR = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu', '--hard-dereference'];

/**
 * Builds an image from a directory and names it in the store; returns the manifest digest. Same content = same digest.
 * Throws ImageBuildFailed with what to do about it.
 */
export const buildImage = async (options: BuildOptions): Promise<{ readonly digest: string }> => {
  const { name, signal, progress = () => {} } = options;
  const dir = resolve(options.dir);
  const store = resolve(options.store);
  const failed: Failed = (cause, fix) => new ClrkError('ImageBuildFailed', { image: name, dir: options.dir, cause, fix });
  const reference = parseImageReference(name);
  if (!reference || reference.digest) throw failed('the name is not an image reference', 'Use a name such as team/agent:1, in lower case.');
  await checkDirectory(dir, failed);
  if (!relative(dir, store).startsWith('..')) throw failed('it contains the image store', 'Build from a directory that does not hold the state directory.');
  const runtime = RUNTIMES[options.runtime ?? (await detectRuntime(dir, failed))];
  const entrypoint = await entrypointOf(dir, runtime, options.entrypoint ?? [], failed);

  await openStore(store);
  progress('layers', 'start', runtime.brings);
  const pack = (layerOptions: PackOptions): Promise<Descriptor> => packLayer(store, layerOptions, signal);
  await using temporary = await temporaryDir(store);
  const prepared = await runtime.prepare({
    dir,
    to: join(temporary.path, 'app'),
    entrypoint,
    nodeBinary: options.nodeBinary,
    pythonBinary: options.pythonBinary ?? 'python3',
    failed,
  });
  const layers = [await baseLayer(store, prepared.base, pack), await pack({ dir: prepared.app, into: 'app', normalise: true })];
  progress('layers', 'done', `${(layers.reduce((sum, { size }) => sum + size, 0) / 1e6).toFixed(1)} MB`);

  const config: ConfigBlob = {
    created: '1970-01-01T00:00:00Z',
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { User: USER, Env: [`PATH=${PATH}`, ...prepared.env], Entrypoint: entrypoint, WorkingDir: '/app' },
    rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
  };
  const manifest: Manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config: await putJson(store, config, CONFIG_TYPE), layers };
  const descriptor = await putJson(store, manifest, MANIFEST_TYPE);
  await setName(store, reference.name, descriptor);
  return { digest: descriptor.digest };
};

const checkDirectory = async (dir: string, failed: Failed): Promise<void> => {
  const info = await stat(dir).catch(() => undefined);
  if (!info) throw failed('there is no such directory', 'Check the path.');
  if (!info.isDirectory()) throw failed('it is not a directory', 'Give the directory that holds the program.');
  if ((await readdir(dir)).length === 0) throw failed('it is empty', 'Put the program and what it needs into it.');
};

const entrypointOf = async (dir: string, { interpreters, command }: RuntimeSpec, entrypoint: readonly string[], failed: Failed): Promise<readonly string[]> => {
  const [program, ...rest] = entrypoint;
  if (program === undefined) return await command(dir, failed);
  const inApp = posix.relative('/app', posix.resolve('/app', program));
  if (inApp.startsWith('..') || !(await isFile(join(dir, inApp)))) {
    if (interpreters.includes(program)) return entrypoint;
    throw failed(`the entrypoint ${program} is not a file in it`, 'Name a program by its path in the directory.');
  }
  const executable = await access(join(dir, inApp), constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!executable) {
    const [interpreter] = interpreters;
    throw failed(
      `the entrypoint ${program} is not executable`,
      `Run chmod +x on it${interpreter ? `, or use --entrypoint ${interpreter} --entrypoint FILE` : ''}.`,
    );
  }
  return [`/app/${inApp}`, ...rest];
};

export interface PackOptions {
  readonly dir: string;
  /** Directory of the image the content goes into; absent = its root. */
  readonly into?: string;
  /** Make everything readable, so that the agent's own uid can use files a strict umask made. */
  readonly normalise?: boolean;
}

const packLayer = async (store: string, { dir, into, normalise }: PackOptions, signal?: AbortSignal): Promise<Descriptor> => {
  await using temporary = await temporaryDir(store);
  const file = join(temporary.path, 'layer.tar');
  const output = await open(file, 'wx', 0o644);
  const args = [...TAR, ...(normalise ? ['--mode=a+rX,u+w,go-w'] : []), ...(into ? [`--transform=flags=rSh;s,^\\.,${into},`] : []), '-C', dir, '-cf', '-', '.'];
  // The order of --sort=name must not depend on the caller's locale.
  const tar = spawnChild('tar', args, { env: { PATH: process.env['PATH'], LC_ALL: 'C' }, stdio: ['ignore', output.fd, 'pipe'] });
  const kill = (): boolean => tar.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  let stderr = '';
  tar.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-2000)));
  const exit = await exited(tar);
  signal?.removeEventListener('abort', kill);
  await output.close();
  signal?.throwIfAborted();
  if (exit.code !== 0) throw new ClrkError('ChildFailed', { command: `tar of ${dir}`, outcome: describeExit(exit), stderr: stderr.trim() });
  return await adoptBlob(store, file, LAYER_TYPE); // before the directory goes
};
