import { readFile } from 'node:fs/promises';
import { systemCode } from '#lib';
import type { ImageConfig } from './config.ts';
import { pathInRoot } from './root-path.ts';

/** A file of the host, seen read-only in the sandbox. */
export interface Mount {
  readonly source: string;
  /** Absolute path in the sandbox; a mount point made when the image was unpacked. */
  readonly destination: string;
}

export interface BundleOptions {
  /** Directory of the unpacked image. */
  readonly rootfs: string;
  readonly image: ImageConfig;
  readonly hostname: string;
  /** File of the network namespace; absent = one of its own, with nothing in it. */
  readonly netns: string | undefined;
  readonly command: readonly string[];
  readonly args: readonly string[];
  /** Set unless the image or the template sets them. */
  readonly defaultEnv: Readonly<Record<string, string>>;
  /** The template's, the last word. */
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly mounts: readonly Mount[];
  /** Bytes that /tmp can hold. */
  readonly tmpBytes: number;
  /** Processes and threads at the same time; beyond it, fork fails with EAGAIN. */
  readonly tasks: number;
}

/** Bytes that /dev/shm can hold, at most: as in other container runtimes. */
const SHM_BYTES = 64 * 1024 * 1024;

interface User {
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/**
 * The process arguments the Kubernetes way: `command` replaces ENTRYPOINT and, with it, CMD; `args` alone replaces CMD.
 * Source: https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
 */
export const processArgs = (image: Pick<ImageConfig, 'entrypoint' | 'cmd'>, command: readonly string[], args: readonly string[]): readonly string[] => {
  if (command.length > 0) return [...command, ...args];
  return [...image.entrypoint, ...(args.length > 0 ? args : image.cmd)];
};

/**
 * The runtime configuration (`config.json`) of one sandbox: no capability, no new privileges, the image's user, a shared
 * read-only root (runsc lays a writable one in memory over it). Throws when the image's user is not in its /etc/passwd.
 * Source: https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md
 */
export const bundleSpec = async (options: BundleOptions): Promise<object> => {
  const { rootfs, image } = options;
  const { uid, gid, home } = await resolveUser(rootfs, image.user);
  const imageEnv = image.env.map((line): [string, string] => [line.split('=', 1)[0]!, line.slice(line.indexOf('=') + 1)]);
  const env = new Map([
    ['HOME', home],
    ...Object.entries(options.defaultEnv),
    ...imageEnv,
    ...options.env.map(({ name, value }): [string, string] => [name, value]),
  ]);
  const none: readonly string[] = [];
  return {
    ociVersion: '1.2.0',
    hostname: options.hostname,
    root: { path: rootfs, readonly: false },
    process: {
      user: { uid, gid },
      args: processArgs(image, options.command, options.args),
      env: [...env].map(([name, value]) => `${name}=${value}`),
      cwd: image.workingDir,
      terminal: false,
      noNewPrivileges: true,
      capabilities: { bounding: none, effective: none, inheritable: none, permitted: none, ambient: none },
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: 65_536, hard: 65_536 },
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
        { type: 'RLIMIT_NPROC', soft: options.tasks, hard: options.tasks },
      ],
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'nodev', 'mode=1777', `size=${options.tmpBytes}`] },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${Math.min(SHM_BYTES, options.tmpBytes)}`],
      },
      ...options.mounts.map(({ source, destination }) => ({ destination, type: 'bind', source, options: ['bind', 'ro', 'nosuid', 'noexec', 'nodev'] })),
    ],
    linux: {
      namespaces: [
        { type: 'pid' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'mount' },
        { type: 'network', ...(options.netns !== undefined && { path: options.netns }) },
      ],
    },
  };
};

/** `user[:group]` of an image, names looked up in its own files, links resolved inside its root. */
const resolveUser = async (rootfs: string, user: string): Promise<User> => {
  const [name = '', group = ''] = (user || '0').split(':');
  const accounts = await table(rootfs, '/etc/passwd');
  const account = accounts.find((fields) => (isNumber(name) ? fields[2] === name : fields[0] === name));
  if (!account && !isNumber(name)) throw new Error(`the image's user ${name} is not in its /etc/passwd`);
  const groups = group === '' || isNumber(group) ? [] : await table(rootfs, '/etc/group');
  const gid = group === '' ? (account?.[3] ?? '0') : isNumber(group) ? group : groups.find((fields) => fields[0] === group)?.[2];
  if (gid === undefined) throw new Error(`the image's group ${group} is not in its /etc/group`);
  return { uid: Number(account?.[2] ?? name), gid: Number(gid), home: account?.[5] || '/' };
};

const isNumber = (text: string): boolean => /^\d+$/.test(text);

const table = async (rootfs: string, path: string): Promise<string[][]> => {
  try {
    const text = await readFile(await pathInRoot(rootfs, path), 'utf8');
    return text.split('\n').map((line) => line.split(':'));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
};
