import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exited, run, spawnChild, stopChild } from '#lib';
import type { SeenRequest } from '../../fixtures/openai/server.ts';
import type { ProviderKeys } from '../../fixtures/providers/main.ts';
import { APP } from '../../fixtures/quickstart.ts';
import type { TestStack } from '../harness.ts';

/** The stand-ins of OpenAI's whole API, of resources of Azure and of a server of one's own, beside a stack. */

const IP = '10.213.9.30';
export const AZURE_HOSTS = ['one.openai.azure.com', 'two.openai.azure.com', 'old.cognitiveservices.azure.com'];
export const CUSTOM_HOSTS = ['eu.llm.example', 'us.llm.example'];

export interface ApiServers extends AsyncDisposable {
  readonly ip: string;
  readonly caFile: string;
  readonly keys: { readonly openai: string; readonly azure: string; readonly custom: string };
  /** What they saw, in order. */
  readonly seen: () => Promise<readonly SeenRequest[]>;
}

const key = (): string => randomBytes(24).toString('base64url');

export const startApiServers = async ({ dir: stackDir, lab }: TestStack): Promise<ApiServers> => {
  await run('ip', ['address', 'add', `${IP}/32`, 'dev', 'lo'], { netns: lab.fixture });
  await run('ip', ['route', 'add', `${IP}/32`, 'via', lab.fixtureIp], { netns: lab.stack });
  const dir = join(stackDir, 'apis');
  const own = { openai: `sk-${key()}`, azure: key(), custom: key() };
  const unused = { anthropic: key(), google: { apiKey: key(), accessToken: key() }, bedrock: { accessKeyId: key(), secretAccessKey: key() } };
  const keys: ProviderKeys = {
    ...unused,
    openai: own.openai,
    azure: {
      apiKey: own.azure,
      hosts: AZURE_HOSTS,
      deployments: { 'prod-chat': 'gpt-4.1-mini', 'prod-embed': 'text-embedding-3-small', 'test-chat': 'gpt-4.1' },
    },
    custom: { apiKey: own.custom, hosts: CUSTOM_HOSTS },
  };
  const argv = [join(APP, 'test/fixtures/providers/main.ts'), '--listen', `${IP}:443`, '--dir', dir, '--keys', JSON.stringify(keys)];
  const child = spawnChild(process.execPath, argv, { netns: lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), exited(child)]);
  if (!Array.isArray(line)) throw new Error('the provider fixtures ended');
  return {
    ip: IP,
    caFile: join(dir, 'ca.pem'),
    keys: own,
    seen: async () =>
      (await readFile(join(dir, 'seen.jsonl'), 'utf8'))
        .split('\n')
        .filter(Boolean)
        .map((text) => JSON.parse(text) as SeenRequest),
    async [Symbol.asyncDispose]() {
      await stopChild(child);
    },
  };
};
