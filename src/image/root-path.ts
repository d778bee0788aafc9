import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '#lib';

/** Links followed before a path counts as a loop; Linux's own limit. */
const MAX_LINKS = 40;

/**
 * Where `path` of a container lies on the host: every link is resolved as if `root` were `/`, so that an image cannot
 * point us out of its root. Components that do not exist are taken as they are.
 */
export const pathInRoot = async (root: string, path: string): Promise<string> => {
  let rest = path.split('/');
  let at: string[] = [];
  for (let links = 0; rest.length > 0;) {
    const part = rest.shift()!;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      at.pop();
      continue;
    }
    const target = await linkTarget(join(root, ...at, part));
    if (target === undefined) {
      at.push(part);
      continue;
    }
    if (++links > MAX_LINKS) throw new Error(`${path} goes through too many links`);
    if (target.startsWith('/')) at = [];
    rest = [...target.split('/'), ...rest];
  }
  return join(root, ...at);
};

const linkTarget = async (path: string): Promise<string | undefined> => {
  try {
    return (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
};
