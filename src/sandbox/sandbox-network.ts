import { join } from 'node:path';
import { run as runCommand, type RunCommand } from '#lib';
import type { AddressPair } from './addresses.ts';
import { createNetns, ipBatch, removeNetns } from './netns.ts';

/** The network of one sandbox: a namespace with eth0, whose other end is in the gateway namespace. */
export interface SandboxNetwork extends AsyncDisposable {
  /** File of the sandbox's namespace. */
  readonly netns: string;
}

/**
 * Makes the network of one sandbox. runsc takes address and routes off eth0 into its own stack when it starts, so a
 * namespace serves one sandbox and is not used again. `name` starts with `sb`: the ruleset knows sandboxes by that.
 */
export const createSandboxNetwork = async (
  gateway: string,
  dir: string,
  name: string,
  { host, sandbox }: AddressPair,
  run: RunCommand = runCommand,
): Promise<SandboxNetwork> => {
  const netns = join(dir, 'netns');
  const removeLink = (): Promise<unknown> => run('ip', ['link', 'delete', name], { netns: gateway });
  await createNetns(run, netns);
  try {
    await ipBatch(run, gateway, [
      `link add ${name} type veth peer name eth0 netns ${netns}`,
      `link set ${name} addrgenmode none`,
      `addr add ${host}/31 dev ${name}`,
      `link set ${name} up`,
    ]);
    await ipBatch(run, netns, [
      'link set lo up',
      'link set eth0 addrgenmode none',
      `addr add ${sandbox}/31 dev eth0`,
      'link set eth0 up',
      `route add default via ${host}`,
    ]);
  } catch (error) {
    await removeLink().catch(() => {}); // it may not have come that far
    await removeNetns(run, netns);
    throw error;
  }
  return {
    netns,
    async [Symbol.asyncDispose]() {
      await removeLink();
      await removeNetns(run, netns);
    },
  };
};
