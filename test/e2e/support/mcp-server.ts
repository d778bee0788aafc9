import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exited, run, spawnChild, stopChild } from '#lib';
import type { McpCredential } from '../../fixtures/mcp/index.ts';
import type { SeenRequest } from '../../fixtures/openai/server.ts';
import { APP } from '../../fixtures/quickstart.ts';
import type { TestStack } from '../harness.ts';
import type { Manifest } from './manifests.ts';

/** An MCP server beside a stack, at two names: one wants a token in a header, the other a key in the query. */

const IP = '10.213.9.50';
export const HEADER_HOST = 'notes.example';
export const QUERY_HOST = 'keyed.example';

export interface McpServer extends AsyncDisposable {
  readonly hosts: readonly string[];
  readonly ip: string;
  readonly caFile: string;
  /** The real credentials, for a program that runs without us. */
  readonly env: NodeJS.ProcessEnv;
  readonly keys: { readonly header: string; readonly query: string };
  /** Every request, in order. */
  readonly seen: () => Promise<readonly SeenRequest[]>;
  /** What ran (test/fixtures/mcp/notes.ts), in order. */
  readonly ran: () => Promise<readonly string[]>;
  /** From now on another token is wanted in the header. */
  readonly rotate: (token: string) => Promise<void>;
}

const linesOf = async <T>(file: string): Promise<readonly T[]> =>
  (await readFile(file, 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as T);

export const startMcpServer = async ({ dir: stackDir, lab }: TestStack): Promise<McpServer> => {
  await run('ip', ['address', 'add', `${IP}/32`, 'dev', 'lo'], { netns: lab.fixture });
  await run('ip', ['route', 'add', `${IP}/32`, 'via', lab.fixtureIp], { netns: lab.stack });
  const dir = join(stackDir, 'mcp');
  const hosts = [HEADER_HOST, QUERY_HOST];
  const keys = { header: `mcp-${randomBytes(24).toString('base64url')}`, query: randomBytes(24).toString('base64') };
  const want = (token: string): Promise<void> => {
    const wanted: Record<string, McpCredential> = {
      [HEADER_HOST]: { in: 'header', name: 'authorization', values: [`Bearer ${token}`] },
      [QUERY_HOST]: { in: 'query', name: 'key', values: [keys.query] },
    };
    return writeFile(join(dir, 'credentials.json'), JSON.stringify(wanted));
  };
  await mkdir(dir);
  await want(keys.header);
  const argv = [join(APP, 'test/fixtures/mcp/main.ts'), '--listen', `${IP}:443`, '--dir', dir, '--hosts', hosts.join(',')];
  const child = spawnChild(process.execPath, argv, { netns: lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await Promise.race([once(createInterface({ input: child.stdout! }), 'line'), exited(child)]);
  if (!Array.isArray(line)) throw new Error('the MCP server ended');
  return {
    hosts,
    ip: IP,
    caFile: join(dir, 'ca.pem'),
    env: { API_KEY: keys.header, QUERY_KEY: keys.query },
    keys,
    seen: () => linesOf<SeenRequest>(join(dir, 'seen.jsonl')),
    ran: () => linesOf<string>(join(dir, 'ran.jsonl')),
    rotate: want,
    async [Symbol.asyncDispose]() {
      await stopChild(child);
    },
  };
};

const API = 'clrk.apoxy.dev/v1alpha1';
export const mcpObject = (kind: string, name: string, spec: Manifest['spec']): Manifest => ({
  apiVersion: API,
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});
export const refTo = (kind: string, name: string) => [{ group: 'clrk.apoxy.dev', kind, name }];

/** A gateway that leads to the server by an MCPRoute of the same name with these rules. */
export const applyMcpGateway = async (
  stack: TestStack,
  name: string,
  server: McpServer,
  rules: readonly object[],
  more: readonly Manifest[] = [],
): Promise<void> => {
  await stack.secret(`${name}-ca`, { 'ca.crt': await readFile(server.caFile, 'utf8') });
  await stack.apply(
    mcpObject('EgressGateway', name, {
      defaultPolicy: 'deny-all',
      listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } }],
      upstreamTLS: { hostAliases: [{ ip: server.ip, hostnames: server.hosts }], additionalTrustBundleSecretRef: { name: `${name}-ca` } },
    }),
    mcpObject('MCPRoute', name, { parentRefs: refTo('EgressGateway', name), hostnames: [HEADER_HOST], rules }),
    ...more,
  );
  await stack.programmed(name);
};

/** The gateway `notes`: some tools and resources of the server, and all of what it has at the name that wants a key. */
export const applyNotes = async (stack: TestStack, server: McpServer): Promise<void> => {
  await stack.secret('notes', { token: `Bearer ${server.keys.header}` });
  await stack.secret('keyed', { key: server.keys.query });
  const inject = (name: string, spec: object) =>
    mcpObject('CredentialInjectionPolicy', name, { parentRefs: refTo('MCPRoute', name), secretRef: { name }, ...spec });
  const servers = ['mcp', 'json'].map((path) => `https://${HEADER_HOST}/${path}`);
  const rules = [
    {
      matches: [{ servers, methods: ['tools/list', 'tools/call'] }],
      filters: [{ type: 'ToolPolicy', toolPolicy: { allowedTools: ['search', 'count', 'ask'] } }],
    },
    { matches: [{ servers, resources: ['notes://*'] }] },
  ];
  await applyMcpGateway(stack, 'notes', server, rules, [
    mcpObject('MCPRoute', 'keyed', { parentRefs: refTo('EgressGateway', 'notes'), rules: [{ matches: [{ servers: [`https://${QUERY_HOST}/mcp`] }] }] }),
    inject('notes', { target: 'Header', headerName: 'authorization', secretKey: 'token' }),
    inject('keyed', { target: 'QueryParam', queryParamName: 'key', secretKey: 'key' }),
  ]);
};
