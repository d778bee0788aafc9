import type { Condition } from '#api';
import { indented, paint, printable, table, type Io } from './output.ts';

/** Labelled lines and blocks of `get` for one object. */

export const detailLines = (pairs: readonly (readonly [string, string | number | undefined])[], indent = ''): string =>
  pairs
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([name, value]) => `${indent}${`${name}:`.padEnd(30 - indent.length)}${printable(String(value))}\n`)
    .join('');

/** A condition is good news when its status is the one that its type hopes for: True, for all of ours. */
export const conditionBlock = (io: Io, conditions: readonly Condition[] = []): string => {
  if (conditions.length === 0) return '';
  const rows = conditions.map(({ type, status, reason, message }) => [
    printable(type),
    paint(io, status === 'True' ? 'green' : 'yellow', status),
    printable(reason),
    printable(message),
  ]);
  return `Conditions:\n${indented(table(['TYPE', 'STATUS', 'REASON', 'MESSAGE'], rows))}`;
};
