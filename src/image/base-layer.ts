import { chmod, copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { constants } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ClrkError, canonicalJson, run, sha256Hex, writeFileAtomic } from '#lib';
import { hasBlob, temporaryDir, type Descriptor } from './oci.ts';
import { seal } from './unpack.ts';

/** What an image brings besides the program: nothing, or a Node.js. */
export type Runtime = 'none' | 'node';

const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

/** Libraries glibc loads by name at run time, so that `ldd` does not list them (part of libc itself since 2.34). */
const LOADED_BY_NAME = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'];

interface CopiedFile {
  readonly from: string;
  /** Path in the image, without leading slash. */
  readonly to: string;
}

/** The layer under the program: a minimal root and the runtime. Packed once per version of the files it is made of. */
export const baseLayer = async (
  store: string,
  runtime: Runtime,
  nodeBinary: string,
  pack: (options: { dir: string }) => Promise<Descriptor>,
): Promise<Descriptor> => {
  const files = runtime === 'node' ? await nodeFiles(nodeBinary) : [];
  const versions = await Promise.all(
    files.map(async ({ from, to }) => {
      const { size, mtimeMs, ino } = await stat(from);
      return { from, to, size, mtimeMs, ino };
    }),
  );
  const key = sha256Hex(canonicalJson({ format: 1, files: FILES, versions }));
  const cached = join(store, 'cache', `base-${key}.json`);
  const known = await readFile(cached, 'utf8').then(
    (text) => JSON.parse(text) as Descriptor,
    () => undefined,
  );
  if (known && (await hasBlob(store, known.digest))) return known;

  await using temporary = await temporaryDir(store);
  const root = join(temporary.path, 'root');
  await mkdir(join(root, 'etc'), { recursive: true });
  for (const [path, text] of Object.entries(FILES)) await writeFile(join(root, path), text);
  await mkdir(join(root, 'root'));
  for (const { from, to } of files) {
    await mkdir(dirname(join(root, to)), { recursive: true });
    await copyFile(from, join(root, to), constants.COPYFILE_FICLONE);
    await chmod(join(root, to), 0o755);
  }
  await seal(root);
  await run('chmod', ['-R', 'a+rX,go-w', root]); // modes must not depend on the builder's umask
  await chmod(join(root, 'root'), 0o700);
  await chmod(join(root, 'tmp'), 0o1777);
  const layer = await pack({ dir: root });
  await mkdir(dirname(cached), { recursive: true });
  await writeFileAtomic(cached, JSON.stringify(layer), 0o644);
  return layer;
};

/** A Node.js binary with the closure of shared libraries `ldd` names, each at the path the loader looks for it. */
const nodeFiles = async (binary: string): Promise<CopiedFile[]> => {
  const libraries = await sharedLibraries(binary);
  const byName = libraries.filter((path) => basename(path) === 'libc.so.6').flatMap((libc) => LOADED_BY_NAME.map((name) => join(dirname(libc), name)));
  const present = await Promise.all(
    byName.map((path) =>
      stat(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  const all = new Set([...libraries, ...byName.filter((_, i) => present[i])]);
  return [{ from: binary, to: 'usr/local/bin/node' }, ...[...all].map((path) => ({ from: path, to: path.slice(1) }))];
};

const sharedLibraries = async (binary: string): Promise<string[]> => {
  // `ldd` says the same for a static binary with exit code 1; Node.js is published as a dynamic one.
  const { stdout } = await run('ldd', [binary], { env: { PATH: process.env['PATH'], LC_ALL: 'C' } });
  const missing = /^\s*(\S+) => not found/m.exec(stdout)?.[1];
  if (missing) throw new ClrkError('ToolBroken', { tool: 'node', path: binary, cause: `it needs ${missing}, which this machine does not have` });
  return [...stdout.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map(([, path]) => path!);
};
