import { homedir } from 'node:os';
import { resolve } from 'node:path';
import type { FlagSpec, GlobalFlags } from './command.ts';

/** Flags of every command. */

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;

export const GLOBAL_FLAGS: readonly FlagSpec[] = [
  { name: 'clrk-dir', value: 'DIR', help: 'state directory (env CLRK_DIR; default ~/.clrk)', complete: 'directory' },
  { name: 'kubeconfig', value: 'FILE', help: 'kubeconfig to use', complete: 'file' },
  { name: 'context', value: 'NAME', help: 'context in that kubeconfig' },
  { name: 'local', help: 'use the stack that `clrk dev` runs in the state directory' },
  { name: 'log-level', value: 'LEVEL', help: 'debug, info, warn or error', complete: LOG_LEVELS },
];

/** What they say, by long name. */
export const globalsFrom = (options: Readonly<Record<string, unknown>>, env: NodeJS.ProcessEnv): GlobalFlags => {
  const text = (name: string): string | undefined => (typeof options[name] === 'string' && options[name] !== '' ? options[name] : undefined);
  const chosen = text('clrk-dir') ?? (env['CLRK_DIR'] || undefined);
  const home = env['HOME'] || homedir();
  const [kubeconfig, context] = [text('kubeconfig'), text('context')];
  return {
    dir: resolve(chosen ?? (home && home !== '/' ? `${home}/.clrk` : '/var/lib/clrk')),
    dirChosen: chosen !== undefined,
    local: options['local'] !== undefined && options['local'] !== false,
    ...(kubeconfig !== undefined && { kubeconfig }),
    ...(context !== undefined && { context }),
  };
};
