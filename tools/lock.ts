/**
 * Writes package-lock.json (`npm run lock`, after a change of dependencies). clrk runs on Linux x64: the libraries of chdb for other
 * platforms are left out of the lock, because `npm ci` refuses a lock that names packages a registry mirror does not carry.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const { status } = spawnSync('npm', ['install', '--package-lock-only'], { cwd: root, stdio: 'inherit' });
if (status !== 0) process.exit(1);

interface Lock {
  packages: Record<string, { optionalDependencies?: Record<string, string> }>;
}
const path = join(root, 'package-lock.json');
const lock = JSON.parse(readFileSync(path, 'utf8')) as Lock;
const elsewhere = (name: string): boolean => name.startsWith('@chdb/lib-') && name !== '@chdb/lib-linux-x64-gnu';
const optional = lock.packages['node_modules/chdb']!.optionalDependencies!;
for (const name of Object.keys(optional).filter(elsewhere)) delete optional[name];
for (const name of Object.keys(lock.packages)) if (elsewhere(name.replace('node_modules/', ''))) delete lock.packages[name];
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
