import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { spawnChild, exited } from '#lib';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';
import { layOutSdk, type Sdk } from '../../fixtures/sdks.ts';
import { TOOLS, type TestStack } from '../harness.ts';
import { probeAgent } from './manifests.ts';

/** What an SDK returned or threw, a step (test/fixtures/sdks). */
export interface Outcome {
  readonly returned?: unknown;
  readonly thrown?: { readonly class: string; readonly message: string; readonly status?: number; readonly [field: string]: unknown };
}

/** One SDK's program, in a sandbox behind the gateway and beside it without one. */
export interface SdkAgent {
  /** Runs the steps in a sandbox of an agent with this way out; all it has of a key is the placeholder. */
  readonly inSandbox: (steps: readonly object[], gateway?: string) => Promise<{ readonly outcomes: readonly Outcome[]; readonly invocation: string }>;
  /** Runs them where the provider is reached directly, with the real key in the environment. */
  readonly directly: (steps: readonly object[], env: NodeJS.ProcessEnv) => Promise<readonly Outcome[]>;
}

/** Names and times the provider makes up for each answer. */
const MADE_UP: readonly (readonly [RegExp, string])[] = [
  [/\b(chatcmpl|resp|cmpl|req|msg|rs)([-_])[A-Za-z0-9_-]{8,}/g, '$1$2…'],
  [/"(created|created_at|completed_at)":\d+(\.\d+)?/g, '"$1":0'],
];

/** Without what is different in every answer. */
export const comparable = (outcomes: readonly Outcome[]): readonly Outcome[] =>
  JSON.parse(MADE_UP.reduce((json, [pattern, by]) => json.replaceAll(pattern, by), JSON.stringify(outcomes))) as readonly Outcome[];

/** Builds the image of an SDK's program with the command line, as a user would. */
export const createSdkAgent = async (stack: TestStack, sdk: Sdk, hosts: readonly string[]): Promise<SdkAgent> => {
  const program = await layOutSdk(sdk, join(stack.dir, sdk), TOOLS);
  const image = `sdk/${sdk}:1`;
  const built = await stack.clrk(['image', 'build', '-t', image, program.dir]);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  const file = join(stack.dir, `${sdk}-hosts`);
  await writeFile(file, hosts.map((host) => `${stack.lab.fixtureIp} ${host}\n`).join(''));
  const agents = new Set<string>();

  const agentOf = async (gateway: string): Promise<string> => {
    const name = gateway === 'default' ? sdk : `${sdk}-${gateway}`;
    if (!agents.has(name)) {
      await stack.apply(probeAgent(name, { egressRefs: [{ gatewayRef: gateway }] }, { image }));
      await stack.condition('taskagents', name, 'Ready', 'True', 60_000);
      agents.add(name);
    }
    return name;
  };

  return {
    async inSandbox(steps, gateway = 'default') {
      const answer = await stack.invoke(await agentOf(gateway), { steps });
      expect(answer.status, answer.text).toBe(200);
      return { outcomes: answer.json() as Outcome[], invocation: answer.invocation };
    },
    async directly(steps, env) {
      const argv = ['-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', file, ...program.command];
      const child = spawnChild('unshare', argv, {
        netns: stack.lab.stack,
        env: { PATH: process.env['PATH'], ...program.env(join(stack.dir, 'fixture', 'ca.pem')), ...env },
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      child.stdin!.end(JSON.stringify({ data: { steps } }));
      const [printed] = await Promise.all([text(child.stdout!), exited(child)]);
      return JSON.parse(printed) as Outcome[];
    },
  };
};
