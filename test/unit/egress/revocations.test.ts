import { expect, test } from 'vitest';
import type { AiRoute, McpRoute, PolicySet } from '#model';
import { Revocations } from '../../../src/egress/revocations.ts';

const route = (models: readonly string[]): AiRoute => ({
  route: { namespace: 'default', name: 'llm' },
  createdAt: 1,
  listeners: ['tls'],
  rules: [{ index: 0, matches: [{ provider: 'openai', models }], budgets: [], notBuilt: [] }],
  hosts: ['api.openai.com'],
});
const policy = (...aiRoutes: readonly AiRoute[]): PolicySet => ({
  gateway: { namespace: 'default', name: 'gw' },
  revision: 'r',
  defaultPolicy: 'deny-all',
  listeners: [{ name: 'tls', shape: 'tls-terminate' }],
  requestTimeoutMs: 1_000,
  lookupFamily: 'V4Only',
  hostAliases: [],
  trustBundle: '',
  aiRoutes,
  l4Routes: [],
  mcpRoutes: [],
});
const asked = (model: string) => ({ host: 'api.openai.com', port: 443, method: 'POST', path: '/v1/chat/completions', provider: 'openai', model });
const make = () => new Revocations(({ host, port }) => `${host}:${port}`);
const HOST = new Set(['api.openai.com:443']);

test('requests that were let through and are denied now: by address, once, and only those', () => {
  const revocations = make();
  revocations.found(policy(route(['a', 'b'])), new Map());
  revocations.served('100.64.0.5', asked('a'));
  revocations.served('100.64.0.7', asked('b'));
  revocations.found(policy(route(['a'])), new Map([['100.64.16.0/20', new Set(['198.18.0.1:5432'])]]));
  expect(revocations.take()).toEqual(
    new Map([
      ['100.64.16.0/20', new Set(['198.18.0.1:5432'])],
      ['100.64.0.7', HOST],
    ]),
  );
  expect(revocations.take()).toEqual(new Map());
  revocations.released('100.64.0.5');
  revocations.found(policy(), new Map());
  expect(revocations.take()).toEqual(new Map());
});

test('who makes many kinds of requests is not forgotten: whatever changes about the host counts', () => {
  const revocations = make();
  const all = policy(route(['*']));
  revocations.found(all, new Map());
  revocations.served('100.64.0.5', asked('first'));
  for (let i = 0; i < 100; i++) revocations.served('100.64.0.5', asked(`m${i}`));
  revocations.found({ ...all, revision: 'r2' }, new Map());
  expect(revocations.take()).toEqual(new Map());
  revocations.found(policy(route(['m*'])), new Map());
  expect(revocations.take()).toEqual(new Map([['100.64.0.5', HOST]]));
});

test('messages to MCP servers are told apart by tool', () => {
  const tools = (...globs: string[]): PolicySet => {
    const rules: McpRoute['rules'] = [{ index: 0, matches: [{ tools: { globs } }], toolPolicies: [] }];
    const route = {
      route: { namespace: 'default', name: 'mcp' },
      createdAt: 1,
      listeners: ['tls'],
      hosts: ['mcp.test'],
      places: [{ host: 'mcp.test', port: 443 }],
      rules,
    };
    return { ...policy(), mcpRoutes: [route] };
  };
  const call = (tool: string) => ({ host: 'mcp.test', port: 443, method: 'POST', path: '/mcp', mcp: { method: 'tools/call', tool } });
  const revocations = make();
  revocations.found(tools('a', 'b'), new Map());
  revocations.served('100.64.0.5', call('a'));
  revocations.served('100.64.0.5', call('b'));
  revocations.served('100.64.0.7', call('b'));
  revocations.found(tools('b'), new Map());
  expect(revocations.take()).toEqual(new Map([['100.64.0.5', new Set(['mcp.test:443'])]]));
});
