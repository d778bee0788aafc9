import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { applyMcpGateway, HEADER_HOST, mcpObject, QUERY_HOST, refTo, startMcpServer, type McpServer } from './support/mcp-server.ts';
import { comparable, createSdkAgent, type SdkAgent, type SdkRun } from './support/sdk-agent.ts';

/** The official MCP client in a real sandbox, with a placeholder for a key: it does what it does without us, but for what the rules refuse. */

let stack: TestStack;
let server: McpServer;
let agent: SdkAgent;

const URL = `https://${HEADER_HOST}/mcp`;
const KEYED = `https://${QUERY_HOST}/mcp?key=clrk-injected-by-proxy`;
const tool = (name: string, given: object = {}, more: object = {}) => ({ url: URL, do: 'callTool', request: { name, arguments: given }, ...more });
const read = (uri: string, more: object = {}) => ({ url: URL, do: 'readResource', request: { uri }, ...more });
const modern = { era: 'auto' };

beforeAll(async () => {
  stack = await startStack();
  server = await startMcpServer(stack);
  await stack.secret('notes', { token: `Bearer ${server.keys.header}` });
  await stack.secret('keyed', { key: server.keys.query });
  const inject = (name: string, spec: object) =>
    mcpObject('CredentialInjectionPolicy', name, { parentRefs: refTo('MCPRoute', name), secretRef: { name }, ...spec });
  await applyMcpGateway(
    stack,
    'notes',
    server,
    [
      { matches: [{ methods: ['tools/list', 'tools/call'] }], filters: [{ type: 'ToolPolicy', toolPolicy: { allowedTools: ['search', 'count', 'ask'] } }] },
      { matches: [{ resources: ['notes://*'] }] },
    ],
    [
      mcpObject('MCPRoute', 'keyed', { parentRefs: refTo('EgressGateway', 'notes'), rules: [{ matches: [{ servers: [`https://${QUERY_HOST}/mcp`] }] }] }),
      inject('notes', { target: 'Header', headerName: 'authorization', secretKey: 'token' }),
      inject('keyed', { target: 'QueryParam', queryParamName: 'key', secretKey: 'key' }),
    ],
  );
  agent = await createSdkAgent(stack, 'mcp-node', server);
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

/** Requests without what is different in each session; those that are made at the same time come in any order. */
const requestsOf = ({ seen }: SdkRun): readonly string[] =>
  seen.map(({ method, path, headers, body }) => JSON.stringify([method, path, headers['mcp-method'], body])).toSorted();

it('what the rules allow is what it is without us: sessions, streams, plain answers, progress, questions to the client, and the revision without sessions', async () => {
  const steps = [
    { url: URL, do: 'connect' },
    { url: URL, do: 'listTools' },
    tool('search', { query: 'lamp' }),
    tool('search', { query: 'Ω'.repeat(20_000) }),
    tool('search', { wrong: 1 }),
    tool('count', { steps: 5, everyMs: 50 }, { progress: true }),
    tool('ask'),
    tool('count', { steps: 1_000, everyMs: 50 }, { timeout: 500 }),
    { url: URL, do: 'ping' },
    { url: URL, do: 'listResources' },
    { url: URL, do: 'listResourceTemplates' },
    read('notes://keeper/yesterday'),
    { url: URL, do: 'end' },
    { url: `https://${HEADER_HOST}/json`, do: 'callTool', request: { name: 'search', arguments: { query: 'ship' } } },
    { url: `https://${HEADER_HOST}/json`, do: 'end' },
    { url: URL, do: 'connect', ...modern },
    { url: URL, do: 'listTools', ...modern },
    tool('search', { query: 'lamp' }, modern),
    tool('count', { steps: 5, everyMs: 50 }, { progress: true, ...modern }),
    read('notes://keeper/today', modern),
    { url: KEYED, do: 'callTool', request: { name: 'delete_all' } },
    { url: KEYED, do: 'end' },
  ];
  const direct = await agent.directly(steps);
  expect(direct.outcomes.map(({ thrown }) => thrown?.class ?? 'returned')).toEqual(steps.map((step) => ('timeout' in step ? 'SdkError' : 'returned')));
  const before = await server.ran();
  const sandboxed = await agent.inSandbox(steps, 'notes');
  expect(comparable(sandboxed.outcomes)).toEqual(comparable(direct.outcomes));
  expect(requestsOf(sandboxed)).toEqual(requestsOf(direct));
  expect((await server.ran()).slice(before.length)).toEqual(before);
  // Both credentials are the real ones, or the server had not answered; the agent's own are nowhere.
  expect(JSON.stringify(sandboxed.seen)).not.toContain('clrk-injected-by-proxy');
  const sessions = new Set(sandboxed.seen.map(({ headers }) => headers['mcp-session-id']).filter(Boolean));
  expect(sessions.size).toBe(3);

  const log = await stack.egressLog(sandboxed.invocation, (all) => all.length >= sandboxed.seen.length);
  expect(log.filter(({ verdict }) => verdict !== 'Allowed')).toEqual([]);
  expect(log).toHaveLength(sandboxed.seen.length);
}, 60_000);

it('what they do not allow is an error of the call, with the reason, and reaches no server', async () => {
  const steps = [
    { url: URL, do: 'connect' },
    tool('delete_all'),
    tool('search_deep', { query: 'lamp' }),
    read('vault://keeper/key'),
    { url: URL, do: 'listPrompts' },
    { url: URL, do: 'getPrompt', request: { name: 'greet' } },
    tool('search', { query: 'lamp' }),
    { url: URL, do: 'end' },
    tool('delete_all', {}, modern),
    read('vault://keeper/key', modern),
  ];
  const before = await server.ran();
  const { outcomes, seen, invocation } = await agent.inSandbox(steps, 'notes');
  const refused = (code: number) => ({
    thrown: { class: 'ProtocolError', code, data: { decision: expect.any(String) as string, route: 'MCPRoute/default/notes' } },
  });
  expect(outcomes).toMatchObject([
    {},
    refused(-32_001),
    refused(-32_001),
    refused(-32_001),
    refused(-32_601),
    refused(-32_601),
    { returned: { content: [{ text: 'The keeper lights the lamp at dusk.' }] } },
    { returned: null },
    refused(-32_001),
    refused(-32_001),
  ]);
  expect((await server.ran()).slice(before.length)).toEqual(['search', 'session ended']);
  expect(seen.map(({ body }) => body).join()).not.toMatch(/delete_all|search_deep|vault|prompts/);

  const log = await stack.egressLog(invocation, (all) => all.filter(({ verdict }) => verdict === 'Denied').length === 7);
  const ids = outcomes.flatMap(({ thrown }) => (thrown ? [(thrown['data'] as { decision: string }).decision] : []));
  expect(log.filter(({ verdict }) => verdict === 'Denied').map(({ decisionId }) => decisionId)).toEqual(expect.arrayContaining(ids));
}, 60_000);
