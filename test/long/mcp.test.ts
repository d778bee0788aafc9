import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { applyMcpGateway, applyNotes, HEADER_HOST, mcpObject, QUERY_HOST, refTo, startMcpServer, type McpServer } from '../e2e/support/mcp-server.ts';
import { comparable, createSdkAgent, type SdkAgent, type SdkRun } from '../e2e/support/sdk-agent.ts';

/** All that the official client does, as it does it without us; and MCP over minutes: long streams, keys that change under them, policies that end them. */

let stack: TestStack;
let server: McpServer;
let agent: SdkAgent;

const URL = `https://${HEADER_HOST}/mcp`;
const tool = (name: string, given: object = {}, more: object = {}) => ({ url: URL, do: 'callTool', request: { name, arguments: given }, ...more });
const count = (steps: number, more: object = {}) => tool('count', { steps, everyMs: 1_000 }, { progress: true, ...more });
const end = { url: URL, do: 'end' };
const read = (uri: string, more: object = {}) => ({ url: URL, do: 'readResource', request: { uri }, ...more });
const KEYED = `https://${QUERY_HOST}/mcp?key=clrk-injected-by-proxy`;
const modern = { era: 'auto' };

beforeAll(async () => {
  stack = await startStack();
  server = await startMcpServer(stack);
  await applyNotes(stack, server);
  agent = await createSdkAgent(stack, 'mcp-node', server, { timeout: '300s' });
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

/** Once a call has come to the server after `before` others. */
const running = (what: string, before: number): Promise<true> =>
  eventually(`${what} runs`, async () => ((await server.ran()).slice(before).includes(what) ? true : undefined), 60_000);

const told = (steps: number): number[] => Array.from({ length: steps }, (_, at) => at + 1);

it.for([{}, { era: 'auto' }])('a stream of a minute and a half arrives whole, also while the key changes: %j', async (era) => {
  const before = (await server.ran()).length;
  const run = agent.inSandbox([count(90, era), tool('search', { query: 'lamp' }, era), { ...end, ...era }], 'notes');
  await running('count', before);
  const token = `rotated-${crypto.randomUUID()}`;
  await server.rotate(token);
  await stack.secret('notes', { token: `Bearer ${token}` });
  const { outcomes, seen, invocation } = await run;
  expect(outcomes).toMatchObject([
    { returned: { progress: told(90), content: [{ text: 'counted to 90' }] } },
    { returned: { content: [{ text: 'The keeper lights the lamp at dusk.' }] } },
    { returned: null },
  ]);
  const tokens = seen.filter(({ method }) => method === 'POST').map(({ headers }) => headers['authorization']);
  expect(tokens.at(-1)).toBe(`Bearer ${token}`);
  expect(JSON.stringify(seen)).not.toContain('clrk-injected-by-proxy');
  // The stream of the server's own lasted as long: a client opens another one when it breaks.
  expect(seen.filter(({ method, headers }) => method === 'GET' && headers['last-event-id'] === undefined).length).toBeLessThanOrEqual(1);

  const log = await stack.egressLog(invocation, (all) => all.length >= seen.length);
  expect(Math.max(...log.map(({ durationMs }) => durationMs))).toBeGreaterThan(85_000);
  expect(log.filter(({ verdict }) => verdict !== 'Allowed')).toEqual([]);
});

it('a policy that denies the route ends its streams', async () => {
  const before = (await server.ran()).length;
  // A client that hears nothing for five seconds gives up.
  const run = agent.inSandbox([count(120, { timeout: 5_000 }), tool('search', { query: 'lamp' })], 'notes');
  await running('count', before);
  await stack.apply(mcpObject('EgressDenyPolicy', 'freeze', { targetRef: refTo('MCPRoute', 'notes')[0]!, denyResponse: { message: 'Frozen.' } }));
  const { outcomes, invocation } = await run;
  expect(outcomes.map(({ thrown }) => thrown !== undefined)).toEqual([true, true]);
  const log = await stack.egressLog(invocation, (all) => all.some(({ verdict }) => verdict === 'Denied'));
  expect(Math.max(...log.map(({ durationMs }) => durationMs))).toBeLessThan(60_000);
  await stack.api('DELETE', '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/egressdenypolicies/freeze');
  await stack.programmed('notes');
});

it('without its Secret nothing gets through, and the client is told why', async () => {
  const credential = mcpObject('CredentialInjectionPolicy', 'keyless', {
    parentRefs: refTo('MCPRoute', 'keyless'),
    secretRef: { name: 'nobody-made-it' },
    secretKey: 'token',
    target: 'Header',
    headerName: 'authorization',
  });
  await applyMcpGateway(stack, 'keyless', server, [{ matches: [{ servers: [URL], tools: ['search'] }] }], [credential]);
  const { outcomes, seen } = await agent.inSandbox([tool('search', { query: 'lamp' })], 'keyless');
  expect(outcomes).toMatchObject([{ thrown: { class: 'SdkHttpError', data: { status: 503, text: expect.stringContaining('SecretNotFound') as string } } }]);
  expect(seen).toEqual([]);
});
