import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from 'vitest';
import type { McpRoute } from '#model';
import { eventually } from './harness.ts';
import { denialOf, EgressLab } from './support/egress-lab.ts';
import { startUpstreams, type UpstreamServers } from './support/upstream-servers.ts';

/** MCP servers at another port than the usual one, and at names that a pattern covers, on real parts. */

const FIXTURE = '10.213.0.2';
const URL = { host: 'web.example', port: 8443, path: '/mcp' };
const route = (servers: readonly string[], hosts: readonly string[]): McpRoute => ({
  route: { namespace: 'default', name: 'mcp' },
  createdAt: 1,
  listeners: ['tls'],
  rules: [{ index: 0, matches: [{ servers, tools: { globs: ['search'] } }], toolPolicies: [] }],
  hosts,
  places: hosts.flatMap((host) => [8443, 443].map((port) => ({ host, port }))),
  credential: { policy: 'default/other', credential: 'cred:default/other', inject: { kind: 'QueryParam', name: 'key' } },
});

let lab: EgressLab;
let upstreams: UpstreamServers;
const enforce = (servers: readonly string[], hosts: readonly string[]) =>
  lab.enforce(
    lab.policyOf({
      aiRoutes: [],
      mcpRoutes: [route(servers, hosts)],
      hostAliases: [{ ip: FIXTURE, hostnames: ['web.example', 'other.example'] }],
      trustBundle: upstreams.ca,
    }),
  );

beforeAll(async () => {
  lab = await EgressLab.start();
  upstreams = lab.resources.use(await startUpstreams(join(lab.state, 'upstreams'), lab.lab.fixture, FIXTURE));
  await enforce(['https://web.example:8443/mcp', 'https://web.example/other'], ['web.example']);
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
});
afterAll(() => lab?.[Symbol.asyncDispose]());
beforeEach(() => onTestFailed(async () => console.error(await lab.diagnosis())));

const call = async (tool: string, { host, port, path }: typeof URL = URL) =>
  lab.inSandbox({
    do: 'https',
    address: await lab.addressOf(host),
    port,
    sni: host,
    host: port === 443 ? host : `${host}:${port}`,
    method: 'POST',
    path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: tool } }),
    ca: lab.rootPem,
  });

test('the port of its URL, and no other; a URL of one port is none of another', async () => {
  const answer = await call('search');
  expect(answer).toMatchObject({ status: 200 });
  expect(answer.body).toBe('8443 POST /mcp?key=Bearer%20other');
  expect(upstreams.seen.at(-1)).toMatchObject({ port: 8443, headers: { ':authority': 'web.example:8443' } });
  expect(JSON.parse((await call('delete_all')).body!)).toMatchObject({ id: 1, error: { code: -32_001, data: { code: 'ToolNotAllowed' } } });
  expect(denialOf(await call('search', { ...URL, path: '/other' }))).toMatchObject({ code: 'EndpointNotAllowed' });
  expect(denialOf(await call('search', { ...URL, port: 443 }))).toMatchObject({ code: 'EndpointNotAllowed' });
  const line = await eventually('its line', async () =>
    (await lab.accessLines()).find(({ engine, upstream }) => engine?.mcp?.tool === 'search' && upstream !== undefined),
  );
  expect(line).toMatchObject({ status: 200, route: 'MCPRoute/default/mcp', path: '/mcp', engine: { verdict: 'Allowed', operation: 'execute_tool' } });
});

test('a name that a pattern covers is served when it is asked for', async () => {
  await enforce(['https://*.example:8443/mcp'], ['*.example']);
  const answer = await call('search', { ...URL, host: 'other.example' });
  expect([answer.status, answer.body]).toEqual([200, '8443 POST /mcp?key=Bearer%20other']);
  expect(denialOf(await call('search', { ...URL, port: 443 }))).toMatchObject({ code: 'EndpointNotAllowed' });
});
