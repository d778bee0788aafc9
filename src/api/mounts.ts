import type { FieldError } from './kind.ts';

/** Paths that belong to the sandbox itself: nothing may be mounted at, above or below them. */
const RESERVED = ['/proc', '/dev', '/sys', '/tmp', '/etc', '/usr', '/bin', '/sbin', '/lib', '/lib64', '/boot', '/root'];

const isBelow = (path: string, parent: string): boolean => path === parent || path.startsWith(`${parent}/`);

/** Whether something may be mounted at `path`; `more` are further reserved paths. */
export const checkMountPath = (field: string, path: string, more: readonly string[] = []): FieldError[] => {
  const refuse = (why: string): FieldError[] => [{ field, reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(path)}: ${why}` }];
  if (!path.startsWith('/')) return refuse('must be an absolute path');
  if (
    path === '/' ||
    path
      .slice(1)
      .split('/')
      .some((part) => part === '' || part === '.' || part === '..') ||
    path.includes('\0')
  )
    return refuse('must be a clean path below /: no empty part, no ".", no ".."');
  const taken = [...RESERVED, ...more].find((reserved) => isBelow(path, reserved) || isBelow(reserved, path));
  return taken === undefined ? [] : refuse(`must not be at, above or below ${taken}`);
};
