import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ClrkError, readIfExists } from '#lib';
import type { Driver } from './driver.ts';
import { v1Driver } from './v1.ts';
import { v2Driver } from './v2.ts';

const CONTROLLERS = ['cpu', 'memory', 'pids'] as const;

/**
 * The driver for what this machine has: version 2 when it holds all controllers, else version 1 (also beside a version 2
 * without controllers, the hybrid layout). Throws CgroupsUnusable when some controller is in neither, or they are split.
 */
export const detectDriver = async (mountinfo?: string): Promise<Driver> => {
  const mounts = parseMounts(mountinfo ?? (await readFile('/proc/self/mountinfo', 'utf8')));
  const missing: string[] = [];
  for (const { point, type } of mounts) {
    if (type !== 'cgroup2') continue;
    const has = ((await readIfExists(join(point, 'cgroup.controllers'))) ?? '').trim().split(' ');
    if (CONTROLLERS.every((controller) => has.includes(controller))) return v2Driver(point);
  }
  const at = (controller: string): string => {
    const mount = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(controller));
    if (!mount) missing.push(controller);
    return mount?.point ?? '';
  };
  const roots = { cpu: at('cpu'), memory: at('memory'), pids: at('pids') };
  if (missing.length === 0) return v1Driver(roots);
  const found = mounts.map(({ point, type }) => `${type} at ${point}`).join(', ') || 'no cgroup file system';
  throw new ClrkError('CgroupsUnusable', { missing: missing.join(', '), found });
};

interface CgroupMount {
  readonly point: string;
  readonly type: 'cgroup' | 'cgroup2';
  readonly options: readonly string[];
}

/** Source: proc_pid_mountinfo(5). The fields after `-` are the type, the source and the options of the file system. */
const parseMounts = (mountinfo: string): CgroupMount[] =>
  mountinfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [type = '', , options = ''] = after.split(' ');
    if (type !== 'cgroup' && type !== 'cgroup2') return [];
    return [{ point: before.split(' ')[4] ?? '', type, options: options.split(',') }];
  });
