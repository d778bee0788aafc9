import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exited, run, spawnChild, stopChild } from '#lib';
import { PROVIDER_HOST, type SeenRequest } from '../../fixtures/openai/server.ts';
import type { ProviderKeys } from '../../fixtures/providers/main.ts';
import { APP } from '../../fixtures/quickstart.ts';
import type { TestStack } from '../harness.ts';
import type { Manifest } from './manifests.ts';

/** The stand-ins of providers beside a stack: where they are, what is injected for each, and what an SDK needs to use one without us. */

export interface ProviderServer {
  /** Its name in a match. */
  readonly provider: string;
  readonly hosts: readonly string[];
  readonly ip: string;
  readonly caFile: string;
  /** What is in the Secret, and how it is injected. */
  readonly secret: Readonly<Record<string, string>>;
  readonly inject: Readonly<Record<string, unknown>>;
  /** The real key, for the SDK of a program that runs without us. */
  readonly env: NodeJS.ProcessEnv;
  /** What it saw, in order. */
  readonly seen: () => Promise<readonly SeenRequest[]>;
}

export const openaiServer = (stack: TestStack): ProviderServer => ({
  provider: 'openai',
  hosts: [PROVIDER_HOST],
  ip: stack.lab.fixtureIp,
  caFile: join(stack.dir, 'fixture', 'ca.pem'),
  secret: { authorization: `Bearer ${stack.key}` },
  inject: { target: 'Header', headerName: 'Authorization', secretKey: 'authorization' },
  env: { API_KEY: stack.key },
  seen: () => stack.seen(),
});

const IP = '10.213.9.20';
const REGION = 'eu-central-1';
const key = (): string => randomBytes(30).toString('base64url');

export interface ProviderServers extends AsyncDisposable {
  readonly anthropic: ProviderServer;
  readonly google: ProviderServer;
  readonly vertex: ProviderServer;
  readonly bedrock: ProviderServer;
}

export const startProviderServers = async ({ dir: stackDir, lab }: TestStack): Promise<ProviderServers> => {
  await run('ip', ['address', 'add', `${IP}/32`, 'dev', 'lo'], { netns: lab.fixture });
  await run('ip', ['route', 'add', `${IP}/32`, 'via', lab.fixtureIp], { netns: lab.stack });
  const dir = join(stackDir, 'providers');
  const keys: ProviderKeys = {
    anthropic: `sk-ant-api03-${key()}`,
    google: { apiKey: `AIza${key()}`, accessToken: `ya29.${key()}` },
    bedrock: { accessKeyId: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`, secretAccessKey: key(), sessionToken: key() },
  };
  const argv = [join(APP, 'test/fixtures/providers/main.ts'), '--listen', `${IP}:443`, '--dir', dir, '--keys', JSON.stringify(keys)];
  const child = spawnChild(process.execPath, argv, { netns: lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), exited(child)]);
  if (!Array.isArray(line)) throw new Error('the provider fixtures ended');
  const seen = async (): Promise<SeenRequest[]> =>
    (await readFile(join(dir, 'seen.jsonl'), 'utf8'))
      .split('\n')
      .filter(Boolean)
      .map((text) => JSON.parse(text) as SeenRequest);
  const at = { ip: IP, caFile: join(dir, 'ca.pem'), seen };
  const { accessKeyId, secretAccessKey, sessionToken } = keys.bedrock;
  return {
    anthropic: {
      ...at,
      provider: 'anthropic',
      hosts: ['api.anthropic.com'],
      secret: { key: keys.anthropic },
      inject: { target: 'Header', headerName: 'x-api-key', secretKey: 'key' },
      env: { API_KEY: keys.anthropic },
    },
    google: {
      ...at,
      provider: 'google',
      hosts: ['generativelanguage.googleapis.com'],
      secret: { key: keys.google.apiKey },
      inject: { target: 'Header', headerName: 'x-goog-api-key', secretKey: 'key' },
      env: { API_KEY: keys.google.apiKey },
    },
    bedrock: {
      ...at,
      provider: 'bedrock',
      hosts: [`bedrock-runtime.${REGION}.amazonaws.com`],
      secret: { access_key_id: accessKeyId, secret_access_key: secretAccessKey, session_token: sessionToken! },
      inject: { target: 'ProviderAuth', providerAuth: { type: 'AWSv4' } },
      env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: sessionToken },
    },
    vertex: {
      ...at,
      provider: 'google',
      hosts: ['us-central1-aiplatform.googleapis.com'],
      secret: { authorization: `Bearer ${keys.google.accessToken}` },
      inject: { target: 'Header', headerName: 'authorization', secretKey: 'authorization' },
      env: { ACCESS_TOKEN: keys.google.accessToken },
    },
    async [Symbol.asyncDispose]() {
      await stopChild(child);
    },
  };
};

export interface ProviderGateway {
  /** Any, and calls that name none, by default. */
  readonly models?: readonly string[];
  readonly maxTokensPerDay?: number;
  /** Name of a Secret that is not made. */
  readonly missingSecret?: string;
}

/** Applies a gateway whose one route leads to a provider, with its credential. */
export const applyProviderGateway = async (
  stack: TestStack,
  name: string,
  { provider, hosts, ip, caFile, secret, inject }: ProviderServer,
  { models, maxTokensPerDay = 1_000_000, missingSecret }: ProviderGateway,
): Promise<void> => {
  const manifest = (kind: string, spec: Manifest['spec']): Manifest => ({
    apiVersion: 'clrk.apoxy.dev/v1alpha1',
    kind,
    metadata: { name, namespace: 'default' },
    spec,
  });
  const parentRefs = (kind: string) => [{ group: 'clrk.apoxy.dev', kind, name }];
  await stack.secret(`${name}-ca`, { 'ca.crt': await readFile(caFile, 'utf8') });
  if (missingSecret === undefined) await stack.secret(name, secret);
  await stack.apply(
    manifest('EgressGateway', {
      defaultPolicy: 'deny-all',
      listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } }],
      upstreamTLS: { hostAliases: [{ ip, hostnames: hosts }], additionalTrustBundleSecretRef: { name: `${name}-ca` } },
    }),
    manifest('AIProviderRoute', {
      parentRefs: parentRefs('EgressGateway'),
      rules: [{ matches: [{ provider, ...(models && { models }) }], filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay } }] }],
    }),
    manifest('CredentialInjectionPolicy', { parentRefs: parentRefs('AIProviderRoute'), secretRef: { name: missingSecret ?? name }, ...inject }),
  );
  await stack.programmed(name);
};
