import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'vitest';
import { exited, spawnChild } from '#lib';
import type { SeenRequest } from '../../fixtures/openai/server.ts';
import { layOutSdk, type Sdk } from '../../fixtures/sdks.ts';
import { TOOLS, type TestStack } from '../harness.ts';
import { probeAgent } from './manifests.ts';
import type { ProviderServer } from './provider-servers.ts';

/** What an SDK returned or threw, a step (test/fixtures/sdks). */
export interface Outcome {
  readonly returned?: unknown;
  readonly thrown?: { readonly class: string; readonly message: string; readonly status?: number; readonly [field: string]: unknown };
}

export interface SdkRun {
  readonly outcomes: readonly Outcome[];
  /** What the provider saw meanwhile. */
  readonly seen: readonly SeenRequest[];
}

/** One SDK's program, in a sandbox behind a gateway and beside it without one. */
export interface SdkAgent {
  /** Runs the steps in a sandbox of an agent with this way out; all it has of a key is the placeholder. */
  readonly inSandbox: (steps: readonly object[], gateway: string) => Promise<SdkRun & { readonly invocation: string }>;
  /** Runs them where the provider is reached directly, with the real key in the environment. */
  readonly directly: (steps: readonly object[]) => Promise<SdkRun>;
}

const PLACEHOLDER = 'clrk-injected-by-proxy';

/** What a provider makes up for each answer. */
const MADE_UP: readonly (readonly [RegExp, string])[] = [
  [/\b(chatcmpl|resp|cmpl|req|msg|rs)([-_])[A-Za-z0-9_-]{8,}/g, '$1$2…'],
  [/"(created|created_at|completed_at)":\d+(\.\d+)?/g, '"$1":0'],
  [/"(signature|responseId)":"[^"]+"/g, '"$1":"…"'],
];

/** Without what is different in every answer. */
export const comparable = (outcomes: readonly Outcome[]): readonly Outcome[] =>
  JSON.parse(MADE_UP.reduce((json, [pattern, by]) => json.replaceAll(pattern, by), JSON.stringify(outcomes))) as readonly Outcome[];

/** What says how often and how an SDK asked; AWS's counts its attempts in `amz-sdk-request`, those made by Stainless in the other. */
const asked = ({ method, path, headers }: SeenRequest): readonly unknown[] => [
  method,
  path,
  // AWS's names the kernel, which is gVisor's in a sandbox.
  String(headers['user-agent']).replace(/\bos\/\S+/, 'os/…'),
  headers['x-stainless-retry-count'],
  headers['amz-sdk-request'],
];

/** Fails unless the SDK does the same behind a gateway as without one, outcome by outcome and request by request. */
export const expectSame = (sandboxed: SdkRun, direct: SdkRun): void => {
  expect(comparable(sandboxed.outcomes)).toEqual(comparable(direct.outcomes));
  expect(sandboxed.seen.map(asked)).toEqual(direct.seen.map(asked));
  expect(JSON.stringify(sandboxed.seen)).not.toContain(PLACEHOLDER);
};

/** Builds the image of an SDK's program with the command line, as a user would. */
export const createSdkAgent = async (
  stack: TestStack,
  sdk: Sdk,
  { hosts, ip, caFile, env, seen }: Pick<ProviderServer, 'hosts' | 'ip' | 'caFile' | 'env' | 'seen'>,
  spec: Readonly<Record<string, unknown>> = {},
): Promise<SdkAgent> => {
  const program = await layOutSdk(sdk, join(stack.dir, sdk), TOOLS);
  const image = `sdk/${sdk}:1`;
  const built = await stack.clrk(['image', 'build', '-t', image, program.dir]);
  expect(built, built.stderr).toMatchObject({ code: 0 });
  const names = join(stack.dir, `${sdk}-hosts`);
  await writeFile(names, hosts.map((host) => `${ip} ${host}\n`).join(''));
  const agents = new Set<string>();

  const agentOf = async (gateway: string): Promise<string> => {
    const name = `${sdk}-${gateway}`;
    if (!agents.has(name)) {
      await stack.apply(probeAgent(name, { ...spec, egressRefs: [{ gatewayRef: gateway }] }, { image }));
      await stack.condition('taskagents', name, 'Ready', 'True', 60_000);
      agents.add(name);
    }
    return name;
  };
  const watched = async <T>(work: () => Promise<T>): Promise<T & { readonly seen: readonly SeenRequest[] }> => {
    const before = (await seen()).length;
    const result = await work();
    return { ...result, seen: (await seen()).slice(before) };
  };

  return {
    inSandbox: (steps, gateway) =>
      watched(async () => {
        const answer = await stack.invoke(await agentOf(gateway), { steps });
        expect(answer.status, answer.text).toBe(200);
        return { outcomes: answer.json() as Outcome[], invocation: answer.invocation };
      }),
    directly: (steps) =>
      watched(async () => {
        const argv = ['-m', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', names, ...program.command];
        const child = spawnChild('unshare', argv, {
          netns: stack.lab.stack,
          env: { PATH: process.env['PATH'], ...program.env(caFile), ...env },
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        child.stdin!.end(JSON.stringify({ data: { steps } }));
        const [printed] = await Promise.all([text(child.stdout!), exited(child)]);
        return { outcomes: JSON.parse(printed) as Outcome[] };
      }),
  };
};
