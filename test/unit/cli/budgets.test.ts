import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { runCli } from '#cli';
import type { ExtraRequest, ExtraResponse } from '#api';
import { startServer, type TestServer } from '../apiserver/harness.ts';
import { capture } from './capture.ts';

/** `clrk budgets` against an API that says what the test wants it to. */

const budget = (of: object = {}) => ({
  apiVersion: 'runtime.clrk.apoxy.dev/v1alpha1',
  kind: 'Budget',
  metadata: { name: 'b', namespace: 'default' },
  scope: 'AIProviderRoute/default/openai',
  gateway: 'default/egress',
  unit: 'tokens',
  window: 'day',
  limit: 200_000,
  used: 12_345,
  reserved: 500,
  left: 187_155,
  reset: '2026-01-16T00:00:00.000Z',
  fields: ['AIProviderRoute/default/openai spec.rules[0].filters[0].tokenBudget.maxTokensPerDay'],
  ...of,
});

let server: TestServer;
let kubeconfig: string;
let asked: string[] = [];
let answer: ExtraResponse;
beforeAll(async () => {
  const budgets = {
    name: 'budgets',
    singular: 'budget',
    kind: 'Budget',
    namespaced: true,
    shortNames: [],
    verbs: ['list' as const],
    handle: async ({ namespace }: ExtraRequest) => {
      asked.push(namespace);
      return answer;
    },
  };
  server = await startServer({ extraGroups: [{ group: 'runtime.clrk.apoxy.dev', version: 'v1alpha1', resources: [budgets] }] });
  kubeconfig = await server.kubeconfig();
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  asked = [];
  const run = {
    unit: 'microdollars',
    window: 'execution',
    invocation: 'run-1',
    limit: 2_500_000,
    used: 1_000_042,
    reserved: 0,
    left: 1_499_958,
    reset: undefined,
  };
  const shared = { metadata: { name: 's', namespace: 'default' }, scope: 'shared/default/team', gateway: undefined, limit: 10, used: 10, reserved: 0, left: 0 };
  answer = { list: [budget(), budget(run), budget(shared)] };
});

const cli = async (...argv: string[]) => {
  const { io, seen } = capture({ KUBECONFIG: kubeconfig });
  return { code: await runCli(['budgets', ...argv], io), ...seen };
};

test('a table: whose, of what, and what is left', async () => {
  const { code, out } = await cli();
  expect(code).toBe(0);
  expect(out.split('\n').map((line) => line.split(/ {3,}/))).toEqual([
    ['SCOPE', 'GATEWAY', 'PER', 'UNIT', 'LIMIT', 'USED', 'RESERVED', 'LEFT', 'RESET'],
    ['AIProviderRoute/openai', 'default/egress', 'day (UTC)', 'tokens', '200,000', '12,345', '500', '187,155', '2026-01-16T00:00:00.000Z'],
    ['AIProviderRoute/openai', 'default/egress', 'run run-1', 'US dollars', '$2.50', '$1.000042', '$0.00', '$1.499958'],
    ['shared/team', 'day (UTC)', 'tokens', '10', '10', '0', '0', '2026-01-16T00:00:00.000Z'],
    [''],
  ]);
});

test('-n and -A say where, -o json and yaml are the list as it is', async () => {
  expect((await cli('-A')).out).toMatch(/^NAMESPACE +SCOPE .*\ndefault +AIProviderRoute\/openai /);
  await cli('-n', 'team');
  expect(JSON.parse((await cli('-o', 'json')).out)).toMatchObject({ items: [{ left: 187_155 }, { used: 1_000_042 }, { left: 0 }] });
  expect((await cli('-o', 'yaml')).out).toContain('scope: shared/default/team');
  expect(asked).toEqual(['', 'team', 'default', 'default']);
});

test('none, and an API that cannot say', async () => {
  answer = { list: [] };
  expect(await cli()).toMatchObject({ code: 0, out: '', err: 'No budgets in namespace default.\n' });
  answer = { failure: { code: 503, reason: 'ServiceUnavailable', message: 'the dispatcher is not available; try again' } };
  expect(await cli()).toMatchObject({ code: 1, err: expect.stringContaining('the dispatcher is not available') as string });
  expect(await cli('-o', 'wide')).toMatchObject({ code: 1, err: expect.stringContaining('-o wide is none of json, yaml') as string });
});
