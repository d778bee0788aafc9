import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists, systemCode } from '#lib';
import { bytes, counters, PERIOD_US, quotaUs, type Driver } from './driver.ts';

const ENABLE = '+cpu +memory +pids';
/** Where processes go that stand in the way: a group with processes of its own can have no children with limits. */
const ASIDE = 'clrk-aside';

/** Source: https://docs.kernel.org/admin-guide/cgroup-v2.html */
export const v2Driver = (root: string): Driver => ({
  version: 2,
  async prepare(parent) {
    await enable(root);
    await mkdir(join(root, parent), { recursive: true });
    await writeFile(join(root, parent, 'cgroup.subtree_control'), ENABLE);
  },
  dirs: (group) => [join(root, group)],
  limits(group, { cpus, memoryBytes, pids }) {
    const dir = join(root, group);
    return [
      { file: join(dir, 'memory.max'), value: bytes(memoryBytes) },
      { file: join(dir, 'memory.swap.max'), value: '0', optional: true },
      { file: join(dir, 'memory.oom.group'), value: '1' },
      { file: join(dir, 'cpu.max'), value: `${quotaUs(cpus)} ${PERIOD_US}` },
      { file: join(dir, 'pids.max'), value: String(pids) },
    ];
  },
  async usage(group) {
    const dir = join(root, group);
    const memory = counters(await readFile(join(dir, 'memory.events'), 'utf8'));
    const cpu = counters(await readFile(join(dir, 'cpu.stat'), 'utf8'));
    const pids = counters((await readIfExists(join(dir, 'pids.events'))) ?? '');
    return {
      oomKills: memory('oom_kill'),
      pidsRefused: pids('max'),
      periods: cpu('nr_periods'),
      throttledPeriods: cpu('nr_throttled'),
      throttledMs: cpu('throttled_usec') / 1e3,
    };
  },
  pids: async (group) => Number(await readFile(join(root, group, 'pids.current'), 'utf8')),
});

/**
 * Lets children of the root have limits. In a container the root is a group with processes in it, for which the kernel refuses
 * that (EBUSY): they move into a child first. The machine's own root has no such rule.
 */
const enable = async (root: string): Promise<void> => {
  const file = join(root, 'cgroup.subtree_control');
  const has = new Set((await readFile(file, 'utf8')).trim().split(' '));
  if (['cpu', 'memory', 'pids'].every((controller) => has.has(controller))) return;
  const attempt = (): Promise<void> => writeFile(file, ENABLE);
  try {
    await attempt();
  } catch (error) {
    if (systemCode(error) !== 'EBUSY') throw error;
    await mkdir(join(root, ASIDE), { recursive: true });
    for (const pid of (await readFile(join(root, 'cgroup.procs'), 'utf8')).split('\n').filter(Boolean)) {
      await writeFile(join(root, ASIDE, 'cgroup.procs'), pid).catch((gone: unknown) => {
        if (systemCode(gone) !== 'ESRCH') throw gone;
      });
    }
    await attempt();
  }
};
