import { access } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createClient, loadKubeconfig, type Client } from '#kube';
import { ClrkError } from '#lib';
import { runningStack } from '#supervisor';
import type { GlobalFlags } from './command.ts';
import type { Io } from './output.ts';

/** An API to talk to, and the namespace commands mean when none is given. */
export interface Target {
  readonly client: Client;
  readonly namespace: string;
}

const open = async (file: string, context?: string): Promise<Target> => {
  const config = await loadKubeconfig(file, context);
  return { client: createClient(config), namespace: config.namespace ?? 'default' };
};

/** The API of the stack that runs in a state directory. */
export const localTarget = async (dir: string): Promise<Target> => {
  await runningStack(dir);
  return open(join(dir, 'kubeconfig.host'));
};

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/**
 * Which API a command talks to: `--kubeconfig`; `--local` or a state directory that was chosen; `$KUBECONFIG`;
 * `~/.kube/config`; a stack running in the default state directory.
 */
export const targetOf = async (global: GlobalFlags, io: Io): Promise<Target> => {
  if (global.kubeconfig) return open(global.kubeconfig, global.context);
  if (global.local || global.dirChosen) return localTarget(global.dir);
  const fromEnv = io.env['KUBECONFIG'];
  if (fromEnv) return open(fromEnv, global.context);
  const own = join(io.env['HOME'] ?? homedir(), '.kube', 'config');
  if (await exists(own)) return open(own, global.context);
  return localTarget(global.dir).catch((error: unknown) => {
    if (!(error instanceof ClrkError) || error.code !== 'StackNotRunning') throw error;
    throw new ClrkError('BadArgument', {
      what: 'No API to talk to: no stack runs, and there is no kubeconfig.',
      fix: 'Start one with `clrk dev`, name its directory with --clrk-dir, or give a cluster with --kubeconfig FILE [--context NAME].',
    });
  });
};
