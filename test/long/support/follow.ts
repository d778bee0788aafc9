import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Reads a file of JSON lines that somebody appends to: each call returns the complete lines that are new. A torn line is left out. */
export const followLines = <T>(path: string): (() => T[]) => {
  let offset = 0;
  let rest = '';
  return () => {
    let file: number;
    try {
      file = openSync(path, 'r');
    } catch {
      return [];
    }
    try {
      const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - offset));
      offset += readSync(file, bytes, 0, bytes.length, offset);
      const lines = (rest + bytes.toString()).split('\n');
      rest = lines.pop()!;
      return lines.filter(Boolean).flatMap((line) => {
        try {
          return [JSON.parse(line) as T];
        } catch {
          return [];
        }
      });
    } finally {
      closeSync(file);
    }
  };
};
