import { cp, mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { buildImage, type BuildOptions } from '#image';
import { run } from '#lib';

vi.setConfig({ testTimeout: 120_000 }); // a standard library is compiled here

let dir: string;
let app: string;
let options: BuildOptions;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'clrk-python-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));
beforeEach(async () => {
  app = await mkdtemp(join(dir, 'app-'));
  await writeFile(join(app, 'main.py'), 'import greeting\nprint({"b", "a", "c"} and greeting.TEXT)\n');
  options = { store: join(dir, 'images'), name: 'team/agent', dir: app, nodeBinary: process.execPath }; // one store: the base is packed once
});

const put = async (path: string, text = ''): Promise<void> => {
  await mkdir(join(app, path, '..'), { recursive: true });
  await writeFile(join(app, path), text);
};
const version = async (): Promise<string> => (await run('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])).stdout.trim();
const json = async <T>(digest: string): Promise<T> => JSON.parse(await readFile(join(options.store, 'blobs', ...digest.split(':')), 'utf8')) as T;
interface Image {
  readonly config: { readonly Entrypoint: string[]; readonly Env: string[]; readonly WorkingDir: string; readonly User: string };
  readonly layers: readonly string[];
}
const build = async (change: Partial<BuildOptions> = {}): Promise<Image> => {
  const { digest } = await buildImage({ ...options, ...change });
  const { config, layers } = await json<{ config: { digest: string }; layers: { digest: string }[] }>(digest);
  return { ...(await json<Pick<Image, 'config'>>(config.digest)), layers: layers.map((layer) => join(options.store, 'blobs', ...layer.digest.split(':'))) };
};
const filesOf = async (layer: string): Promise<string[]> => (await run('tar', ['-tf', layer])).stdout.split('\n');

test('a Python program is known by its files, and gets an interpreter with its library under /usr/local', async () => {
  await put('greeting.py', 'TEXT = "hello"\n');
  const { config, layers } = await build();
  expect(config).toMatchObject({ Entrypoint: ['python3', 'main.py'], WorkingDir: '/app', User: '65534:65534' });
  expect(config.Env.some((line) => line.startsWith('PYTHONPATH='))).toBe(false);
  const root = join(dir, 'root');
  await mkdir(root);
  for (const layer of layers) await run('tar', ['-xf', layer, '-C', root]);
  // It runs with nothing of this machine: TLS, compression, the database and time zones come along.
  const program =
    'import ssl, sqlite3, lzma, bz2, zlib, ctypes, uuid, decimal, asyncio, sys, json; print(json.dumps([sys.prefix, sys.path[1:], ssl.OPENSSL_VERSION]))';
  const { stdout } = await run('chroot', [root, '/usr/local/bin/python3', '-c', program], { env: { PATH: process.env['PATH'] } });
  const [prefix, path] = JSON.parse(stdout) as [string, string[]];
  expect(prefix).toBe('/usr/local');
  for (const part of path) expect(part).toMatch(/^\/usr\/local\/lib/);
  expect((await run('chroot', [root, '/usr/local/bin/python3', '/app/main.py'], { env: { PATH: process.env['PATH'] } })).stdout).toBe('hello\n');
  const files = await filesOf(layers[1]!);
  expect(files.filter((file) => file.endsWith('.pyc')).map((file) => file.replace(/cpython-\d+/, 'x'))).toEqual([
    'app/__pycache__/greeting.x.pyc',
    'app/__pycache__/main.x.pyc',
  ]);
});

test('same content gives the same digest, whenever and wherever it was written and compiled', async () => {
  await put('greeting.py', `TEXT = "hello"\nNAMES = {${Array.from({ length: 50 }, (_, i) => `"name${i}"`).join(', ')}}\nprint("a" in {"a", "b", "c", "d"})\n`);
  const { digest } = await buildImage(options);
  const elsewhere = `${app}-elsewhere`;
  await cp(app, elsewhere, { recursive: true });
  await utimes(join(elsewhere, 'greeting.py'), 1, 1);
  await run('python3', ['-m', 'compileall', '-q', elsewhere]);
  expect((await buildImage({ ...options, dir: elsewhere })).digest).toBe(digest);
  await writeFile(join(elsewhere, 'greeting.py'), 'TEXT = "other"\n');
  expect((await buildImage({ ...options, dir: elsewhere })).digest).not.toBe(digest);
});

test('packages are found where pip put them: targets and virtual environments', async () => {
  const python = `python${await version()}`;
  await put('requirements.txt', 'something==1.0\n');
  await put('vendor/something/__init__.py');
  await put('vendor/something-1.0.dist-info/METADATA');
  await put('.venv/pyvenv.cfg', 'home = /somewhere\n');
  await put('.venv/bin/activate', '/somewhere');
  await put(`.venv/lib/${python}/site-packages/other.py`);
  await put('templates/a.txt');
  const { config, layers } = await build();
  expect(config.Env).toContain(`PYTHONPATH=/app/.venv/lib/${python}/site-packages:/app/vendor`);
  const files = await filesOf(layers[1]!);
  expect(files.filter((file) => file.includes('.venv') && file.includes('.py'))).toHaveLength(2); // other.py and what it was compiled to
  expect(files).not.toContain('app/.venv/bin/activate');
  expect(files).not.toContain('app/.venv/pyvenv.cfg');
  expect(files).toContain('app/templates/a.txt');
});

test.each<[string, Record<string, string>, Partial<BuildOptions>, RegExp, RegExp]>([
  ['ambiguous', { 'package.json': '{}' }, {}, /package.json shows a node program, main.py a python one/, /--runtime node or --runtime python/],
  [
    'not installed',
    { 'requirements.txt': '# all\nopenai==1\n' },
    {},
    /requirements.txt names packages, but none are installed/,
    /pip install -r .*requirements.txt --target .*vendor/,
  ],
  ['other version', { '.venv/pyvenv.cfg': '', '.venv/lib/python2.7/site-packages/a.py': '' }, {}, /\.venv is not one of Python 3/, /Make it again/],
  ['no Python', { 'main.py': 'const a = 1;\n' }, {}, /main.py is not Python: invalid syntax \(main.py, line 1\)/, /Correct it/],
  ['no interpreter', {}, { pythonBinary: '/no/python3' }, /Python does not run on this machine/, /Install Python 3/],
  ['no main', { 'a.py': '', 'b.py': '' }, {}, /it has no main.py, agent.py, app.py/, /--entrypoint python3 --entrypoint FILE/],
])('a build that cannot work says why and what to do: %s', async (name, files, change, cause, fix) => {
  if (name === 'no main') await rm(join(app, 'main.py'));
  for (const [path, text] of Object.entries(files)) await put(path, text);
  await expect(buildImage({ ...options, ...change })).rejects.toMatchObject({
    code: 'ImageBuildFailed',
    message: expect.stringMatching(cause),
    fix: expect.stringMatching(fix),
  });
});

test('a directory that shows nothing must say what runs it', async () => {
  await rm(join(app, 'main.py'));
  await put('agent', '#!/bin/true');
  await expect(buildImage(options)).rejects.toMatchObject({
    message: expect.stringContaining('nothing in it shows'),
    fix: expect.stringContaining('--runtime none'),
  });
});
