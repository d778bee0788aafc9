import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Vitest's global setup: temporary files of all tests live in one directory, which goes when they have run. */
export default (): (() => void) => {
  const dir = mkdtempSync(join(tmpdir(), 'unit-')); // short: Unix sockets are made below it
  process.env['TMPDIR'] = dir;
  return () => rmSync(dir, { recursive: true, force: true });
};
