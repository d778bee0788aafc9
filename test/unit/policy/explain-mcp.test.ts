import { describe, expect, test } from 'vitest';
import type { McpFacts } from '#model';
import { explainRequest } from '#policy';
import { compile, mcpRoute } from './objects.ts';

const SERVER = 'https://mcp.test/mcp';
const { policySet } = compile({
  aiRoutes: [],
  credentialPolicies: [],
  mcpRoutes: [
    mcpRoute({
      rules: [
        { matches: [{ servers: [SERVER], tools: ['search'], toolsRegex: ['^get_'] }] },
        { matches: [{ servers: ['https://mcp.test:8443/*'] }, { resources: ['x:*'], methods: ['resources/read'] }] },
      ],
    }),
  ],
});
const explain = (mcp?: McpFacts, over: object = {}) =>
  explainRequest([policySet], { agent: 'demo/a', scheme: 'https', host: 'mcp.test', port: 443, method: 'POST', path: '/mcp', ...(mcp && { mcp }), ...over });
const whys = (...args: Parameters<typeof explain>) => explain(...args).missed.map(({ rule, match, why }) => [rule, match, why]);

describe('explanations of messages', () => {
  test('one that is let through', () => {
    const { decision, steps } = explain({ method: 'tools/call', tool: 'get_it' });
    expect(decision).toMatchObject({ verdict: 'Allowed', route: 'MCPRoute/demo/mcp', rule: 0, engine: true, handling: 'terminate', listener: 'tls' });
    expect(steps.at(-1)).toBe('It is for an MCP server, which is judged by message; this one is tools/call of "get_it".');
  });

  test('nothing is said of the message: it is the first of a session; of GET and DELETE there is nothing to say', () => {
    expect(explain()).toMatchObject({ decision: { verdict: 'Allowed' } });
    expect(explain().steps.at(-1)).toContain('this one is initialize.');
    expect(explain(undefined, { method: 'GET' }).steps.at(-1)).toContain('opening a stream of the server.');
    expect(explain(undefined, { method: 'DELETE' }).steps.at(-1)).toContain('ending a session.');
  });

  test('a tool that is denied: what each match would need', () => {
    const call = { method: 'tools/call', tool: 'delete_all' };
    expect(explain(call).decision).toMatchObject({ verdict: 'Denied', reason: 'ToolNotAllowed', status: 403 });
    expect(whys(call)).toEqual([
      [0, 0, 'spec.rules[0].matches[0].tools is search, /^get_/; add delete_all.'],
      [1, 0, `spec.rules[1].matches[0].servers is https://mcp.test:8443/*; add ${SERVER}.`],
      [1, 1, 'spec.rules[1].matches[1].methods is resources/read; add tools/call.'],
    ]);
  });

  test.each<[McpFacts, string]>([
    [{ method: 'prompts/list' }, 'spec.rules[0].matches[0] is about tools; name prompts/list in the methods of a match.'],
    [{ method: 'resources/read', resource: 'y:1' }, 'spec.rules[1].matches[1].resources is x:*; add y:1.'],
  ])('%j', (message, why) => expect(whys(message).map(([, , text]) => text)).toContain(why));

  test('another URL', () => {
    expect(explain(undefined, { port: 8443, path: '/other' }).decision).toMatchObject({ verdict: 'Allowed', rule: 1 });
    expect(explain(undefined, { port: 444 }).decision).toMatchObject({ reason: 'ClaimedHost', engine: false });
    expect(explain(undefined, { port: 444 }).decision.message).toContain('by TLS on port 443 or 8443');
  });
});
