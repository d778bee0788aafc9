import { chmod, copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { constants } from 'node:fs';
import { dirname, join } from 'node:path';
import { canonicalJson, run, sha256Hex, writeFileAtomic } from '#lib';
import type { CopiedFile } from './libraries.ts';
import { hasBlob, temporaryDir, type Descriptor } from './oci.ts';
import { seal } from './unpack.ts';

const FILES: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n',
  'etc/group': 'root:x:0:\nnogroup:x:65534:\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
};

/** What a runtime puts under the program. */
export interface Base {
  readonly files: readonly CopiedFile[];
  /** Completes the root once the files are there; what it does may depend on nothing but them. */
  readonly complete?: (root: string) => Promise<void>;
}

/** The layer under the program: a minimal root and the runtime. Packed once per version of the files it is made of. */
export const baseLayer = async (store: string, { files, complete }: Base, pack: (options: { dir: string }) => Promise<Descriptor>): Promise<Descriptor> => {
  const versions = await Promise.all(
    files.map(async ({ from, to }) => {
      const { size, mtimeMs, ino, mode } = await stat(from);
      return { from, to, size, mtimeMs, ino, executable: (mode & 0o111) !== 0 };
    }),
  );
  const key = sha256Hex(canonicalJson({ format: 2, files: FILES, versions }));
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
  for (const { from, to, executable } of versions) {
    await mkdir(dirname(join(root, to)), { recursive: true });
    await copyFile(from, join(root, to), constants.COPYFILE_FICLONE);
    await chmod(join(root, to), executable ? 0o755 : 0o644);
  }
  await complete?.(root);
  await seal(root);
  await run('chmod', ['-R', 'a+rX,go-w', root]); // modes must not depend on the builder's umask
  await chmod(join(root, 'root'), 0o700);
  await chmod(join(root, 'tmp'), 0o1777);
  const layer = await pack({ dir: root });
  await mkdir(dirname(cached), { recursive: true });
  await writeFileAtomic(cached, JSON.stringify(layer), 0o644);
  return layer;
};
