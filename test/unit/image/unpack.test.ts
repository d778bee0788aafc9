import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildImage, ensureUnpacked, sweepStore } from '#image';
import { exited, spawnChild } from '#lib';
import { pathInRoot } from '../../../src/image/root-path.ts';
import { seal } from '../../../src/image/unpack.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-image-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const build = async (): Promise<{ store: string; digest: string }> => {
  const [store, app] = [join(dir, 'images'), join(dir, 'app')];
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'agent'), 'program', { mode: 0o711 });
  await chmod(app, 0o700);
  const { digest } = await buildImage({ store, name: 'a', dir: app, runtime: 'none', entrypoint: ['agent'], nodeBinary: process.execPath });
  return { store, digest };
};

// Unpacking keeps owners, so it needs root, as the worker is.
const rootTest = test.runIf(process.getuid?.() === 0);

rootTest('an image is unpacked once, readable by the agent, with every mount point', async () => {
  const { store, digest } = await build();
  const [one, two] = await Promise.all([ensureUnpacked(store, digest), ensureUnpacked(store, digest)]);
  expect(two).toBe(one);
  expect(await readFile(join(one, 'app', 'agent'), 'utf8')).toBe('program');
  expect((await stat(join(one, 'app', 'agent'))).mode & 0o777).toBe(0o755);
  expect((await stat(join(one, 'app'))).mode & 0o777).toBe(0o755);
  expect((await stat(join(one, 'tmp'))).mode & 0o7777).toBe(0o1777);
  for (const file of ['etc/ssl/cert.pem', 'etc/pki/tls/certs/ca-bundle.crt', 'etc/resolv.conf', 'etc/hosts'])
    expect((await lstat(join(one, file))).isFile()).toBe(true);
  const { ino } = await stat(one);
  expect((await stat(await ensureUnpacked(store, digest))).ino).toBe(ino);
  expect((await readdir(store)).filter((name) => name.startsWith('.tmp'))).toEqual([]);
});

rootTest('a store without the image, or with a damaged layer, unpacks nothing', async () => {
  const { store, digest } = await build();
  await expect(ensureUnpacked(store, `sha256:${'0'.repeat(64)}`)).rejects.toMatchObject({ code: 'ImageNotFound' });
  const manifest = JSON.parse(await readFile(join(store, 'blobs', ...digest.split(':')), 'utf8')) as { layers: { digest: string }[] };
  await writeFile(join(store, 'blobs', ...manifest.layers[1]!.digest.split(':')), 'not the layer');
  await expect(ensureUnpacked(store, digest)).rejects.toMatchObject({ code: 'ChildFailed' });
  await expect(readdir(join(store, 'rootfs'))).rejects.toMatchObject({ code: 'ENOENT' });
});

test('half-made directories of processes that no longer live are swept, others stay', async () => {
  const gone = spawnChild('true', []);
  await exited(gone);
  for (const name of [`.tmp-${gone.pid}-aaaaaa`, `.tmp-${process.pid}-bbbbbb`, 'blobs']) await mkdir(join(dir, name, 'x'), { recursive: true });
  await sweepStore(dir);
  expect((await readdir(dir)).toSorted()).toEqual([`.tmp-${process.pid}-bbbbbb`, 'blobs']);
});

test('links of an image are resolved inside its root', async () => {
  await mkdir(join(dir, 'etc', 'real'), { recursive: true });
  await symlink('/etc/real', join(dir, 'etc', 'absolute'));
  await symlink('../../../../etc/real', join(dir, 'etc', 'above'));
  await symlink('loop', join(dir, 'loop'));
  expect(await pathInRoot(dir, '/etc/absolute/file')).toBe(join(dir, 'etc/real/file'));
  expect(await pathInRoot(dir, '/etc/above/file')).toBe(join(dir, 'etc/real/file'));
  expect(await pathInRoot(dir, '/../../etc/passwd')).toBe(join(dir, 'etc/passwd'));
  expect(await pathInRoot(dir, '/no/such')).toBe(join(dir, 'no/such'));
  await expect(pathInRoot(dir, '/loop')).rejects.toThrow('too many links');
});

test('sealing follows links inside the root and never writes outside', async () => {
  const root = join(dir, 'root');
  await mkdir(join(root, 'etc', 'ssl'), { recursive: true });
  await symlink('/etc/pki/tls/cert.pem', join(root, 'etc', 'ssl', 'cert.pem'));
  await symlink(join(dir, 'outside'), join(root, 'etc', 'hosts'));
  await seal(root);
  expect(await readlink(join(root, 'etc/ssl/cert.pem'))).toBe('/etc/pki/tls/cert.pem');
  expect((await lstat(join(root, 'etc/pki/tls/cert.pem'))).isFile()).toBe(true);
  expect((await lstat(join(root, dir, 'outside'))).isFile()).toBe(true);
  await expect(lstat(join(dir, 'outside'))).rejects.toMatchObject({ code: 'ENOENT' });
  const before = await readdir(root, { recursive: true });
  await seal(root);
  expect(await readdir(root, { recursive: true })).toEqual(before);
});

test('an image whose mount point is of the wrong kind is refused', async () => {
  await mkdir(join(dir, 'etc', 'hosts'), { recursive: true });
  await expect(seal(dir)).rejects.toThrow("the image's /etc/hosts is not a file");
});
