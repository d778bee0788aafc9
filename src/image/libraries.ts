import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ClrkError, run } from '#lib';

/** A file of this machine and its place in an image. */
export interface CopiedFile {
  readonly from: string;
  /** Path in the image, without leading slash. */
  readonly to: string;
}

/** Libraries glibc loads by name at run time, so that `ldd` does not list them (part of libc itself since 2.34). */
const LOADED_BY_NAME = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'];
/** Where the loader looks without being told. */
const SYSTEM_DIRECTORY = /^\/(usr\/)?lib(64|32|x32)?\//;

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/**
 * The closure of shared libraries that `ldd` names for programs and modules, each where the loader looks for it: at its own
 * path in a system directory, else (found by an rpath that means nothing in an image) beside libc. `extra` libraries are
 * added where libc's directory has them.
 */
export const libraryFiles = async (binaries: readonly string[], extra: readonly string[] = []): Promise<CopiedFile[]> => {
  const { stdout } = await run('ldd', binaries, { env: { PATH: process.env['PATH'], LC_ALL: 'C' } });
  const missing = /^\s*(\S+) => not found/m.exec(stdout)?.[1];
  if (missing)
    throw new ClrkError('ToolBroken', { tool: basename(binaries[0]!), path: binaries[0]!, cause: `it needs ${missing}, which this machine does not have` });
  const linked = [...new Set([...stdout.matchAll(/^\s*(?:\S+ => )?(\/\S+) \(0x[0-9a-f]+\)$/gm)].map(([, path]) => path!))];
  const libc = linked.find((path) => basename(path) === 'libc.so.6');
  const home = dirname(libc ?? '/usr/lib/libc.so.6');
  const wanted = libc ? [...LOADED_BY_NAME, ...extra].map((name) => join(home, name)).filter((path) => !linked.includes(path)) : [];
  const present = await Promise.all(wanted.map(isThere));
  return [...linked, ...wanted.filter((_, i) => present[i])]
    .toSorted()
    .map((path) => ({ from: path, to: (SYSTEM_DIRECTORY.test(path) ? path : join(home, basename(path))).slice(1) }));
};
