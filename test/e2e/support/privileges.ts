import { readdir, readFile, readlink } from 'node:fs/promises';

/** What the kernel says a process may do. */
export interface Rights {
  /** Real, effective, saved and file system id, when they are one; else all four. */
  readonly uid: number | readonly number[];
  readonly gid: number | readonly number[];
  readonly groups: readonly number[];
  readonly capabilities: Readonly<Record<'inherited' | 'permitted' | 'effective' | 'bounding' | 'ambient', readonly string[]>>;
  readonly noNewPrivileges: boolean;
  readonly coreLimit: string;
  readonly mounts: string;
  /** Capabilities count in this user namespace alone. */
  readonly users: string;
  readonly network: string;
  /** Paths of Unix sockets, `tcp ADDRESS:PORT` and `udp ADDRESS:PORT` it serves. */
  readonly listens: readonly string[];
}

/** Capabilities by their bit (capabilities(7)). */
const CAPABILITIES =
  'chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore'.split(
    ' ',
  );

const capabilities = (hex: string): string[] => CAPABILITIES.filter((_, bit) => (BigInt(`0x${hex}`) >> BigInt(bit)) & 1n);

const one = (text: string): number | number[] => {
  const ids = text.split(/\s+/).map(Number);
  return ids.every((id) => id === ids[0]) ? ids[0]! : ids;
};

const inodesOf = async (pid: number): Promise<Set<string>> => {
  const links = await Promise.all((await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
};

const rows = async (path: string): Promise<string[][]> =>
  (await readFile(path, 'utf8'))
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));

/** `0100007F:1F90` of /proc/net/tcp as `127.0.0.1:8080`; IPv6 stays in hex. */
const endpoint = (text: string): string => {
  const [address = '', port = ''] = text.split(':');
  const bytes = address.match(/../g)!.map((byte) => Number.parseInt(byte, 16));
  return `${bytes.length === 4 ? bytes.toReversed().join('.') : address}:${Number.parseInt(port, 16)}`;
};

const listening = async (pid: number): Promise<string[]> => {
  const own = await inodesOf(pid);
  const unix = (await rows(`/proc/${pid}/net/unix`)).filter(([, , , flags, , , inode]) => flags === '00010000' && own.has(inode!)).map((row) => row[7] ?? '');
  const tcp = ['tcp', 'tcp6'].map(async (kind) =>
    (await rows(`/proc/${pid}/net/${kind}`)).filter((row) => row[3] === '0A' && own.has(row[9]!)).map((row) => `tcp ${endpoint(row[1]!)}`),
  );
  // Connected UDP sockets (a resolver's question) serve nobody.
  const udp = ['udp', 'udp6'].map(async (kind) =>
    (await rows(`/proc/${pid}/net/${kind}`)).filter((row) => row[3] === '07' && own.has(row[9]!)).map((row) => `udp ${endpoint(row[1]!)}`),
  );
  return [...new Set([...unix, ...(await Promise.all([...tcp, ...udp])).flat()])].toSorted();
};

export const rightsOf = async (pid: number): Promise<Rights> => {
  const status = new Map(
    (await readFile(`/proc/${pid}/status`, 'utf8')).split('\n').map((line) => {
      const at = line.indexOf(':');
      return [line.slice(0, at), line.slice(at + 1).trim()] as const;
    }),
  );
  const caps = (name: string): string[] => capabilities(status.get(name)!);
  return {
    uid: one(status.get('Uid')!),
    gid: one(status.get('Gid')!),
    groups: status.get('Groups')!.split(' ').filter(Boolean).map(Number),
    capabilities: { inherited: caps('CapInh'), permitted: caps('CapPrm'), effective: caps('CapEff'), bounding: caps('CapBnd'), ambient: caps('CapAmb') },
    noNewPrivileges: status.get('NoNewPrivs') === '1',
    coreLimit: /Max core file size\s+(\S+\s+\S+)/.exec(await readFile(`/proc/${pid}/limits`, 'utf8'))![1]!,
    users: await readlink(`/proc/${pid}/ns/user`),
    mounts: await readlink(`/proc/${pid}/ns/mnt`),
    network: await readlink(`/proc/${pid}/ns/net`),
    listens: await listening(pid),
  };
};

export interface Attempts {
  readonly sockets: readonly string[];
  readonly files: readonly string[];
  readonly signals: readonly number[];
}

/** Tries everything and prints what came of it: `ok`, or the code of the error. */
export const ATTEMPT = `
const net = require('node:net'), fs = require('node:fs');
const { sockets, files, signals } = JSON.parse(fs.readFileSync(0, 'utf8'));
const code = (work) => { try { work(); return 'ok'; } catch (error) { return error.code; } };
const dial = (path) => new Promise((done) => {
  const socket = net.connect(path, () => (socket.destroy(), done('ok'))).on('error', (error) => done(error.code));
});
(async () => {
  const result = { sockets: {}, files: {}, signals: {} };
  for (const path of sockets) result.sockets[path] = await dial(path);
  for (const path of files) result.files[path] = code(() => fs.closeSync(fs.openSync(path, 'r')));
  for (const pid of signals) result.signals[pid] = code(() => process.kill(pid, 0));
  console.log(JSON.stringify(result));
})();`;
