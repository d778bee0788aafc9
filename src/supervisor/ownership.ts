import { chown, mkdir, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ownDirectory, type Identity } from '#lib';
import { layout, type StackIdentities } from '#model';

/** What earlier versions kept beside each other in the state directory. */
const MOVED = [
  { names: /^api\.(db(-wal|-shm)?|port)$/, to: 'api' },
  { names: /^(dispatch\.db(-wal|-shm)?|ingress\.port)$/, to: 'dispatch' },
] as const;

const ROOT = { uid: 0, gid: 0 };
const privateTo = ({ uid, gid }: Identity) => ({ uid, gid, mode: 0o700 });

/** Gives each part of the state directory to the one process that owns it; also what an earlier version or base left. */
export const ownState = async (state: string, ids: StackIdentities): Promise<void> => {
  const at = layout(state, state);
  for (const { names, to } of MOVED) {
    const found = (await readdir(state)).filter((name) => names.test(name));
    if (found.length === 0) continue;
    // Still root's, so that taking over the directory takes them over, too.
    await ownDirectory(join(state, to), { ...ROOT, mode: 0o700 });
    for (const name of found) await rename(join(state, name), join(state, to, name));
  }
  await ownDirectory(at.api, privateTo(ids.controllerManager));
  await ownDirectory(at.dispatch, privateTo(ids.dispatcher));
  await ownDirectory(at.clickhouse, privateTo(ids.store));
  // Each worker gives its own directory to its children.
  await mkdir(at.workers, { recursive: true });
  await ownDirectory(at.workers, { ...ROOT, mode: 0o711 });
};

/** Key files of the API, each readable by its process alone. The authority's and people's stay root's. */
export const ownKeys = async (pki: string, ids: StackIdentities): Promise<void> => {
  await ownDirectory(pki, { ...ROOT, mode: 0o711 });
  const owners: Readonly<Record<string, Identity>> = {
    'server.key': ids.controllerManager,
    'controller-manager.key': ids.controllerManager,
    'dispatcher.key': ids.dispatcher,
  };
  for (const [file, { uid, gid }] of Object.entries(owners)) await chown(join(pki, file), uid, gid);
};

/** The directories of the sockets that the stack's own programs serve: owner serves, group calls. */
export const makeSocketDirs = async (run: string, ids: StackIdentities): Promise<void> => {
  const at = layout(run, run);
  const { controllerManager, dispatcher, store, egresses, recorders } = ids;
  const sockets: readonly (readonly [socket: string, server: Identity, clients: number])[] = [
    [at.desiredSocket, controllerManager, ROOT.gid],
    [at.desiredEgressSocket, controllerManager, egresses],
    [at.workSocket, dispatcher, ROOT.gid],
    [at.ledgerSocket, dispatcher, egresses],
    [at.runsSocket, dispatcher, controllerManager.gid],
    [at.storeSocket, store, recorders],
    [at.storeQuerySocket, store, controllerManager.gid],
  ];
  for (const [socket, { uid }, gid] of sockets) await ownDirectory(dirname(socket), { uid, gid, mode: 0o2750 });
};
