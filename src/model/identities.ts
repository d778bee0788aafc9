import type { Identity } from '#lib';

/** Uids and gids of one stack: this many from its base. */
export const IDS_PER_STACK = 16_384;
const FIRST_WORKER = 64;
const IDS_PER_WORKER = 64;
const FIRST_ENVOY = 16;
/** Workers of one stack that have ids of their own. */
export const MAX_WORKERS = (IDS_PER_STACK - FIRST_WORKER) / IDS_PER_WORKER;

/**
 * What root may still do in a worker: namespaces, mounts and devices of sandboxes, files and processes of others, the rules
 * of the gateway namespace. Not: kernel modules, raw I/O, the clock, reboot, BPF, the kernel log, audit, resource limits.
 */
export const WORKER_CAPABILITIES = [
  'chown',
  'dac_override',
  'dac_read_search',
  'fowner',
  'fsetid',
  'kill',
  'mknod',
  'net_admin',
  'net_bind_service',
  'net_raw',
  'setfcap',
  'setgid',
  'setpcap',
  'setuid',
  'sys_admin',
  'sys_chroot',
  'sys_ptrace',
] as const;

/**
 * Who every process of a stack runs as: uids and gids from `base` on, without passwd entries. A program's own group has its
 * number; the other groups stand for a kind of client (`egresses`, `recorders`, `envoys`) or of reader (`records`).
 */
export const identities = (base: number) => {
  const own = (id: number, ...groups: number[]): Identity => ({ uid: base + id, gid: base + id, groups });
  const [egresses, recorders] = [base + 8, base + 9];
  return {
    controllerManager: own(1),
    dispatcher: own(2),
    store: own(3),
    egresses,
    recorders,
    /** Throws RangeError for a name that is not a number below MAX_WORKERS. */
    worker: (name: string) => {
      const number = Number(name);
      if (!/^\d+$/.test(name) || number >= MAX_WORKERS) throw new RangeError(`${name} is not the number of a worker (0 to ${MAX_WORKERS - 1})`);
      const first = FIRST_WORKER + number * IDS_PER_WORKER;
      const [records, envoys] = [base + first + 8, base + first + 9];
      return {
        worker: { uid: 0, gid: 0, groups: [], capabilities: WORKER_CAPABILITIES } satisfies Identity,
        egress: own(first, egresses, records),
        recorder: own(first + 1, recorders, records),
        front: own(first + 2),
        records,
        envoys,
        /** Enters the gateway namespace to open its listeners there, which takes CAP_SYS_ADMIN. */
        envoy: (gatewayIndex: number): Identity => ({ ...own(first + FIRST_ENVOY + gatewayIndex, envoys), capabilities: ['sys_admin'] }),
      };
    },
  };
};

export type StackIdentities = ReturnType<typeof identities>;
export type WorkerIdentities = ReturnType<StackIdentities['worker']>;
