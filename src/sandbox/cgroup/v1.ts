import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists } from '#lib';
import { bytes, counters, PERIOD_US, quotaUs, type Driver } from './driver.ts';

/** Mount points of the hierarchies by controller; two controllers can share one. */
export interface V1Roots {
  readonly cpu: string;
  readonly memory: string;
  readonly pids: string;
}

/** Source: https://docs.kernel.org/admin-guide/cgroup-v1/index.html */
export const v1Driver = (roots: V1Roots): Driver => {
  const all = [...new Set([roots.memory, roots.cpu, roots.pids])];
  return {
    version: 1,
    async prepare(parent) {
      for (const root of all) await mkdir(join(root, parent), { recursive: true });
    },
    dirs: (group) => all.map((root) => join(root, group)),
    limits(group, { cpus, memoryBytes, pids }) {
      const [memory, cpu] = [join(roots.memory, group), join(roots.cpu, group)];
      return [
        { file: join(memory, 'memory.limit_in_bytes'), value: bytes(memoryBytes) },
        // Memory and swap together: the same number is no swap.
        { file: join(memory, 'memory.memsw.limit_in_bytes'), value: bytes(memoryBytes), optional: true },
        { file: join(memory, 'memory.swappiness'), value: '0', optional: true },
        { file: join(cpu, 'cpu.cfs_period_us'), value: String(PERIOD_US) },
        { file: join(cpu, 'cpu.cfs_quota_us'), value: String(quotaUs(cpus)) },
        { file: join(roots.pids, group, 'pids.max'), value: String(pids) },
      ];
    },
    async usage(group) {
      const oom = counters(await readFile(join(roots.memory, group, 'memory.oom_control'), 'utf8'));
      const cpu = counters(await readFile(join(roots.cpu, group, 'cpu.stat'), 'utf8'));
      const pids = counters((await readIfExists(join(roots.pids, group, 'pids.events'))) ?? '');
      return {
        oomKills: oom('oom_kill'),
        pidsRefused: pids('max'),
        periods: cpu('nr_periods'),
        throttledPeriods: cpu('nr_throttled'),
        throttledMs: cpu('throttled_time') / 1e6,
      };
    },
    pids: async (group) => Number(await readFile(join(roots.pids, group, 'pids.current'), 'utf8')),
  };
};
