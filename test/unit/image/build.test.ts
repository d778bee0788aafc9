import { chmod, cp, link, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildImage, resolveImage, type BuildOptions } from '#image';
import { run } from '#lib';

let dir: string;
let app: string;
let options: BuildOptions;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-image-'));
  app = join(dir, 'app');
  await mkdir(app);
  await writeFile(join(app, 'agent'), '#!/bin/true\n', { mode: 0o755 });
  options = { store: join(dir, 'images'), name: 'team/agent', dir: app, runtime: 'none', entrypoint: ['./agent', '--fast'], nodeBinary: process.execPath };
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const json = async <T>(digest: string): Promise<T> => JSON.parse(await readFile(join(options.store, 'blobs', ...digest.split(':')), 'utf8')) as T;

test('an image is an OCI layout that other tools read', async () => {
  const { digest } = await buildImage(options);
  const copy = join(dir, 'copy');
  await run('skopeo', ['copy', '-q', '--insecure-policy', '--preserve-digests', `oci:${options.store}:team/agent:latest`, `oci:${copy}:copied`]);
  const { stdout } = await run('skopeo', ['inspect', '--config', `oci:${copy}:copied`]);
  expect(JSON.parse(stdout)).toMatchObject({
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: { User: '65534:65534', WorkingDir: '/app', Entrypoint: ['/app/agent', '--fast'] },
  });
  const index = JSON.parse(await readFile(join(copy, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
  expect(index.manifests[0]!.digest).toBe(digest);
});

test('same content gives the same digest, however and wherever it lies', async () => {
  await mkdir(join(app, 'lib'));
  for (const name of ['lib/b.js', 'lib/B.js', 'lib/a.js']) await writeFile(join(app, name), 'same', { mode: 0o644 });
  await symlink('../agent', join(app, 'lib', 'link'));
  const { digest } = await buildImage(options);
  const elsewhere = join(dir, 'elsewhere');
  await cp(app, elsewhere, { recursive: true, verbatimSymlinks: true });
  await chmod(elsewhere, 0o700);
  await chmod(join(elsewhere, 'lib', 'a.js'), 0o600);
  await rm(join(elsewhere, 'lib', 'b.js'));
  await link(join(elsewhere, 'lib', 'a.js'), join(elsewhere, 'lib', 'b.js'));
  await utimes(join(elsewhere, 'agent'), 1, 1);
  const again = { ...options, dir: elsewhere, store: join(dir, 'other'), name: 'other:1' };
  expect((await buildImage(again)).digest).toBe(digest);
  await writeFile(join(elsewhere, 'lib', 'a.js'), 'diff');
  expect((await buildImage(again)).digest).not.toBe(digest);
});

test('an image is found by name, tag and digest; a name moves, a digest does not', async () => {
  const { digest: old } = await buildImage(options);
  await writeFile(join(app, 'more'), 'x');
  const { digest: now } = await buildImage(options);
  await buildImage({ ...options, name: 'team/agent:2' });
  const found = async (name: string): Promise<string | undefined> => (await resolveImage(options.store, name))?.digest;
  expect([await found('team/agent'), await found('team/agent:latest'), await found('team/agent:2')]).toEqual([now, now, now]);
  expect([await found(`team/agent@${old}`), await found(`whatever:tag@${old}`), await found(old)]).toEqual([old, old, old]);
  for (const absent of ['team/other', 'agent', `team/agent@sha256:${'0'.repeat(64)}`, '../escape', '']) expect(await found(absent)).toBeUndefined();
  expect((await resolveImage(options.store, 'team/agent'))!.config).toMatchObject({
    entrypoint: ['/app/agent', '--fast'],
    cmd: [],
    workingDir: '/app',
    user: '65534:65534',
  });
});

test('builds at the same time lose no name', async () => {
  const names = Array.from({ length: 8 }, (_, i) => `team/agent-${i}:1`);
  await Promise.all(names.map((name) => buildImage({ ...options, name })));
  for (const name of names) expect(await resolveImage(options.store, name)).toBeDefined();
  expect((await readdir(options.store)).filter((name) => name.startsWith('.tmp'))).toEqual([]);
});

test('the node runtime brings this Node.js, its libraries and loader, and knows the package', async () => {
  await writeFile(join(app, 'package.json'), '{"main":"./src/main"}');
  await mkdir(join(app, 'src'));
  await writeFile(join(app, 'src', 'main.mjs'), '');
  const { digest } = await buildImage({ ...options, runtime: 'node', entrypoint: [] });
  const { config, layers } = await json<{ config: { digest: string }; layers: { digest: string }[] }>(digest);
  expect(await json(config.digest)).toMatchObject({ config: { Entrypoint: ['node', 'src/main.mjs'] } });
  const base = join(options.store, 'blobs', ...layers[0]!.digest.split(':'));
  const { stdout } = await run('tar', ['-tvf', base]);
  expect(stdout).toMatch(/-rwxr-xr-x 0\/0 .* \.\/usr\/local\/bin\/node$/m);
  for (const file of ['libc.so.6', 'ld-linux', 'etc/passwd', 'etc/resolv.conf', 'etc/ssl/cert.pem']) expect(stdout).toContain(file);
  expect(stdout).toMatch(/^drwxrwxrwt 0\/0 .* \.\/tmp\/$/m);
  // Made once: another program gets the same base layer without packing it again.
  const { mtimeMs } = await stat(base);
  await writeFile(join(app, 'more'), 'x');
  const other = await json<{ layers: { digest: string }[] }>((await buildImage({ ...options, runtime: 'node', entrypoint: [] })).digest);
  expect(other.layers[0]).toEqual(layers[0]);
  expect((await stat(base)).mtimeMs).toBe(mtimeMs);
});

test.each<[string, Partial<BuildOptions>, string, string]>([
  ['missing', { dir: '/no/such/dir' }, 'there is no such directory', 'Check the path'],
  ['a file', { dir: '/etc/passwd' }, 'it is not a directory', 'Give the directory'],
  ['no entrypoint', { entrypoint: [] }, 'there is no entrypoint', '--entrypoint'],
  ['absent entrypoint', { entrypoint: ['nothing'] }, 'the entrypoint nothing is not a file', 'by its path'],
  ['outside', { entrypoint: ['../agent'] }, 'the entrypoint ../agent is not a file', 'by its path'],
  ['no main', { runtime: 'node', entrypoint: [] }, 'it has no index.js', 'package.json "main"'],
  ['bad name', { name: 'Bad Name' }, 'not an image reference', 'team/agent:1'],
])('a build that cannot work says why and what to do: %s', async (_, change, cause, fix) => {
  const error = (await buildImage({ ...options, ...change }).catch((thrown: unknown) => thrown)) as { code: string; message: string; fix: string };
  expect(error).toMatchObject({ code: 'ImageBuildFailed', message: expect.stringContaining(cause), fix: expect.stringContaining(fix) });
});

test('an entrypoint must be executable, and a directory must hold something but not the store', async () => {
  await chmod(join(app, 'agent'), 0o644);
  await expect(buildImage(options)).rejects.toMatchObject({ code: 'ImageBuildFailed', fix: expect.stringContaining('chmod +x') });
  await mkdir(join(dir, 'empty'));
  await expect(buildImage({ ...options, dir: join(dir, 'empty') })).rejects.toMatchObject({ message: expect.stringContaining('it is empty') });
  await expect(buildImage({ ...options, dir })).rejects.toMatchObject({ message: expect.stringContaining('it contains the image store') });
});
