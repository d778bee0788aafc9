import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { eventually, showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { applyMcpGateway, HEADER_HOST, mcpObject, refTo, startMcpServer, type McpServer } from '../e2e/support/mcp-server.ts';
import { createSdkAgent, type SdkAgent } from '../e2e/support/sdk-agent.ts';

/** MCP over minutes: long streams, keys that change under them, policies that end them. */

let stack: TestStack;
let server: McpServer;
let agent: SdkAgent;

const URL = `https://${HEADER_HOST}/mcp`;
const tool = (name: string, given: object = {}, more: object = {}) => ({ url: URL, do: 'callTool', request: { name, arguments: given }, ...more });
const count = (steps: number, more: object = {}) => tool('count', { steps, everyMs: 1_000 }, { progress: true, ...more });
const end = { url: URL, do: 'end' };
const credential = (name: string, secret = name) =>
  mcpObject('CredentialInjectionPolicy', name, {
    parentRefs: refTo('MCPRoute', name),
    secretRef: { name: secret },
    secretKey: 'token',
    target: 'Header',
    headerName: 'authorization',
  });
const RULES = [{ matches: [{ tools: ['search', 'count'] }] }];

beforeAll(async () => {
  stack = await startStack();
  server = await startMcpServer(stack);
  await stack.secret('notes', { token: `Bearer ${server.keys.header}` });
  await applyMcpGateway(stack, 'notes', server, RULES, [credential('notes')]);
  agent = await createSdkAgent(stack, 'mcp-node', server, { timeout: '300s' });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

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
  await applyMcpGateway(stack, 'keyless', server, RULES, [credential('keyless', 'nobody-made-it')]);
  const { outcomes, seen } = await agent.inSandbox([tool('search', { query: 'lamp' })], 'keyless');
  expect(outcomes).toMatchObject([{ thrown: { class: 'SdkHttpError', data: { status: 503, text: expect.stringContaining('SecretNotFound') as string } } }]);
  expect(seen).toEqual([]);
});
