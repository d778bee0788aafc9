import { chmod, lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ownDirectory, type Identity } from '#lib';
import type { WorkerIdentities, WorkerLayout } from '#model';

const ROOT = { uid: 0, gid: 0 };
const privateTo = ({ uid, gid }: Identity) => ({ uid, gid, mode: 0o700 });

/** Files of a version in which everything was root's and lay beside each other go where their owners now look for them. */
const takeOver = async (at: WorkerLayout): Promise<void> => {
  const move = async (from: string, to: (name: string) => string | undefined): Promise<void> => {
    for (const name of await readdir(from).catch(() => [])) {
      const target = to(name);
      if (!target || !(await lstat(join(from, name))).isFile()) continue;
      await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      await chmod(join(from, name), 0o640);
      await rename(join(from, name), target);
    }
  };
  await move(at.kept, (name) => (name === 'gateways.json' ? at.gateways : undefined));
  await move(at.offsets, (name) => join(name.startsWith('settled-') ? at.egressOffsets : at.recorderOffsets, name));
  await move(at.records, (name) => {
    const [, index] = /^access-(\d+)\.jsonl/.exec(name) ?? [];
    if (index !== undefined) return join(at.envoyRecords(Number(index)), name);
    if (name.startsWith('stdio.jsonl')) return join(at.workerRecords, name);
    return /^(bindings|egress)\.jsonl/.test(name) ? join(at.egressRecords, name) : undefined;
  });
};

/** The directories of a worker, each of the one process that writes it, inside of directories of root's. Readers and callers come by group, which files inherit (02000). */
export const makeDirectories = async (at: WorkerLayout, images: string, ids: WorkerIdentities): Promise<void> => {
  const { egress, recorder, front, records, envoys } = ids;
  await takeOver(at);
  const pass = { ...ROOT, mode: 0o711 };
  const rootOnly = { ...ROOT, mode: 0o700 };
  // In order: a directory is made with those above it.
  for (const dir of [at.dir, at.kept, at.offsets]) {
    await mkdir(dir, { recursive: true });
    await ownDirectory(dir, pass);
  }
  for (const dir of [at.runsc, at.sandboxes, images]) await ownDirectory(dir, rootOnly);
  // Its readers may list it, Envoys pass through it to theirs, and nobody but root changes what root works in.
  await ownDirectory(at.records, { uid: ROOT.uid, gid: records, mode: 0o2751 });
  await ownDirectory(at.egressRecords, { uid: egress.uid, gid: records, mode: 0o2750 });
  // What runs print is for the recorder alone.
  await ownDirectory(at.workerRecords, { uid: ROOT.uid, gid: recorder.gid, mode: 0o2750 });
  for (const dir of [at.names, at.egressOffsets, at.egressRun]) await ownDirectory(dir, privateTo(egress));
  for (const dir of [at.spool, at.recorderOffsets]) await ownDirectory(dir, privateTo(recorder));
  const sockets: readonly (readonly [socket: string, server: number, clients: number])[] = [
    [at.hostSocket, ROOT.uid, egress.gid],
    [at.claimsSocket, egress.uid, ROOT.gid],
    [at.namesSocket, egress.uid, front.gid],
    [at.xdsSocket, egress.uid, envoys],
    [at.engineSocket, egress.uid, envoys],
  ];
  for (const [socket, uid, gid] of sockets) await ownDirectory(dirname(socket), { uid, gid, mode: 0o2750 });
};

/** What one Envoy writes: its access log, which egress puts aside and both egress and the recorder read, and its admin socket. */
export const makeEnvoyDirectories = async (at: WorkerLayout, index: number, ids: WorkerIdentities): Promise<void> => {
  const { uid } = ids.envoy(index);
  await ownDirectory(at.envoyRecords(index), { uid, gid: ids.records, mode: 0o2770 });
  await ownDirectory(at.envoy(index), { uid, gid: ids.egress.gid, mode: 0o2750 });
};
