import { chmod, lstat, mkdir, open, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ClrkError, run, systemCode } from '#lib';
import { getJson, MANIFEST_TYPE, temporaryDir, type Manifest } from './oci.ts';
import { pathInRoot } from './root-path.ts';

/** Where distributions keep their CA bundle; each sandbox gets its own mounted over all four. */
export const CA_BUNDLE_PATHS = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/ssl/cert.pem',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
] as const;
export const RESOLV_CONF = '/etc/resolv.conf';
export const HOSTS = '/etc/hosts';

const MOUNT_FILES = [...CA_BUNDLE_PATHS, RESOLV_CONF, HOSTS];
const MOUNT_DIRS = ['/proc', '/sys', '/dev', '/tmp'];

/** The directory of an unpacked image. */
export const rootfsPath = (store: string, digest: string): string => join(store, 'rootfs', digest.replace(':', '-'));

/**
 * Unpacks an image once and seals it: afterwards the directory never changes and any number of sandboxes share it.
 * Made beside its place and renamed, so a crash or a second worker leaves a whole one or none. Returns its path;
 * throws Internal for an image that is damaged or cannot hold our mount points.
 */
export const ensureUnpacked = async (store: string, digest: string, signal?: AbortSignal): Promise<string> => {
  const target = rootfsPath(store, digest);
  if (await exists(target)) return target;
  const manifest = await getJson<Manifest>(store, digest);
  if (!manifest) throw new ClrkError('ImageNotFound', { image: digest });
  await using temporary = await temporaryDir(store);
  const rootfs = join(temporary.path, 'rootfs');
  const layout = join(temporary.path, 'layout');
  await layoutOfOne(store, digest, layout);
  await run('umoci', ['raw', 'unpack', '--image', `${layout}:image`, rootfs], signal ? { signal } : {});
  await seal(rootfs);
  await mkdir(dirname(target), { recursive: true });
  try {
    await rename(rootfs, target);
  } catch (error) {
    if (!['EEXIST', 'ENOTEMPTY'].includes(systemCode(error) ?? '')) throw error; // else another worker was first
  }
  return target;
};

/** A layout that shows one image of the store under a plain tag: umoci cannot take names with slashes and colons. */
const layoutOfOne = async (store: string, digest: string, layout: string): Promise<void> => {
  await mkdir(layout);
  await symlink(join(store, 'blobs'), join(layout, 'blobs'));
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const { size } = await stat(join(store, 'blobs', ...digest.split(':')));
  const manifest = { mediaType: MANIFEST_TYPE, digest, size, annotations: { 'org.opencontainers.image.ref.name': 'image' } };
  await writeFile(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
};

/**
 * Makes every mount point. Without this runsc makes missing ones itself, as root, in the directory all sandboxes of the
 * image share, and fails when that is read-only.
 */
export const seal = async (rootfs: string): Promise<void> => {
  await chmod(rootfs, 0o755);
  for (const path of MOUNT_DIRS) {
    const at = await pathInRoot(rootfs, path);
    if (!(await exists(at))) {
      await mkdir(at, { recursive: true });
      if (path === '/tmp') await chmod(at, 0o1777);
    } else if (!(await lstat(at)).isDirectory()) throw badMountPoint(path, 'directory');
  }
  for (const path of MOUNT_FILES) {
    const at = await pathInRoot(rootfs, path);
    await mkdir(dirname(at), { recursive: true });
    if (!(await exists(at))) await (await open(at, 'wx', 0o644)).close();
    else if (!(await lstat(at)).isFile()) throw badMountPoint(path, 'file');
  }
};

const badMountPoint = (path: string, wanted: string): ClrkError => new ClrkError('Internal', { what: `the image's ${path} is not a ${wanted}` });

const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

/** Removes what processes that no longer live left half made in the store. */
export const sweepStore = async (store: string): Promise<void> => {
  for (const name of await readdir(store).catch(() => [])) {
    const pid = /^\.tmp-(\d+)-/.exec(name)?.[1];
    if (pid && !(await exists(`/proc/${pid}`))) await rm(join(store, name), { recursive: true, force: true });
  }
};
