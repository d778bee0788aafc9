import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure, startStack, type TestStack } from './harness.ts';
import { applyNotes, HEADER_HOST, startMcpServer, type McpServer } from './support/mcp-server.ts';
import { createSdkAgent, type SdkAgent } from './support/sdk-agent.ts';

/** The official MCP client in a real sandbox, with a placeholder for a key. All it does without us, and long streams: test/long/mcp.test.ts. */

let stack: TestStack;
let server: McpServer;
let agent: SdkAgent;

const URL = `https://${HEADER_HOST}/mcp`;
const tool = (name: string, given: object = {}, more: object = {}) => ({ url: URL, do: 'callTool', request: { name, arguments: given }, ...more });
const read = (uri: string, more: object = {}) => ({ url: URL, do: 'readResource', request: { uri }, ...more });
const modern = { era: 'auto' };

beforeAll(async () => {
  stack = await startStack();
  server = await startMcpServer(stack);
  await applyNotes(stack, server);
  agent = await createSdkAgent(stack, 'mcp-node', server);
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

it('what rules do not allow is an error of the call, with the reason, and reaches no server', async () => {
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
