import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { runCli } from '#cli';
import type { ExtraRequest, ExtraResponse } from '#api';
import { startServer, type TestServer } from '../apiserver/harness.ts';
import { capture } from './capture.ts';

/** `clrk explain` against an API that says what the test wants it to. */

const denied = {
  agent: 'default/probe',
  asked: 'tcp db.example.com:5432',
  verdict: 'Denied',
  reason: 'NoRoute',
  message: 'No route of gateway default/data admits db.example.com:5432.',
  status: 0,
  sees: 'a connection that is refused',
  gateway: 'default/data',
  steps: ['Listener postgres takes it.'],
  listener: 'postgres',
  handling: 'tcp',
  route: '',
  rule: -1,
  policies: [],
  ranges: ['10.40.0.0/24'],
  revision: 'abcdef012345',
  inForce: false,
  warnings: ['worker 0 is behind'],
  misses: [
    { gateway: 'default/data', route: 'EgressL4Route/default/near', rule: 0, match: 1, why: 'spec.rules[0].matches[1].ports is 5433; add port 5432.' },
    { gateway: 'default/web', route: 'EgressL4Route/default/far', rule: -1, match: -1, why: 'It is\u001b[31m for names.' },
  ],
};

let server: TestServer;
let kubeconfig: string;
let asked: Pick<ExtraRequest, 'namespace' | 'name' | 'query'>[] = [];
let answer: ExtraResponse;
beforeAll(async () => {
  const explain = {
    name: 'explain',
    singular: 'explain',
    kind: 'Explanation',
    namespaced: true,
    shortNames: [],
    verbs: ['get' as const],
    handle: async (request: ExtraRequest) => {
      asked.push(request);
      return answer;
    },
  };
  server = await startServer({ extraGroups: [{ group: 'runtime.clrk.apoxy.dev', version: 'v1alpha1', resources: [explain] }] });
  kubeconfig = await server.kubeconfig();
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  asked = [];
  answer = { object: { apiVersion: 'v1', kind: 'Explanation', metadata: { name: 'probe' }, ...denied } } as ExtraResponse;
});

const cli = async (...argv: string[]) => {
  const { io, seen } = capture({ KUBECONFIG: kubeconfig });
  return { code: await runCli(['explain', ...argv], io), ...seen };
};

test('denied: exit code 1, the verdict first, then what it is made of, and each miss', async () => {
  const { code, out } = await cli('probe', 'tcp', 'db.example.com:5432');
  expect(code).toBe(1);
  expect(out).toMatch(/^Denied, NoRoute: No route of gateway default\/data admits db\.example\.com:5432\.\n/);
  expect(out).toMatch(/^The agent sees: +a connection that is refused$/m);
  expect(out).toMatch(/^Listener: +postgres \(tcp\)$/m);
  expect(out).toContain('How it got there:\n  Listener postgres takes it.\n');
  expect(out).toMatch(/^Revision: +abcdef012345, not in force everywhere$/m);
  expect(out).toMatch(/^Warning: worker 0 is behind$/m);
  expect(out).toContain('  EgressL4Route/default/near, rule 0, match 1\n    spec.rules[0].matches[1].ports is 5433; add port 5432.\n');
  expect(out).toContain('  EgressL4Route/default/far (gateway default/web)\n    It is for names.\n');
});

test('allowed: exit code 0; json and yaml are the answer as it is', async () => {
  answer = { object: { apiVersion: 'v1', kind: 'Explanation', metadata: { name: 'probe' }, ...denied, verdict: 'Allowed', misses: [] } } as ExtraResponse;
  const { code, out } = await cli('probe', 'GET', 'https://db.example.com/', '-o', 'json');
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ verdict: 'Allowed', revision: 'abcdef012345' });
  expect((await cli('probe', 'GET', 'https://db.example.com/', '-o', 'yaml')).out).toMatch(/^verdict: Allowed$/m);
});

test('what is asked reaches the API: a request or a connection, in the namespace of the context, of -n, or before the slash', async () => {
  await cli('probe', 'post', 'https://a.example.com/?x=1&y', '--model', 'm');
  await cli('team/probe', 'UDP', '[2001:db8::5]:53');
  await cli('probe', 'tcp', 'a.example.com:443', '--sni', '', '-n', 'team');
  expect(asked.map(({ namespace, name, query }) => [namespace, name, Object.fromEntries(query)])).toEqual([
    ['default', 'probe', { method: 'post', url: 'https://a.example.com/?x=1&y', model: 'm' }],
    ['team', 'probe', { protocol: 'UDP', destination: '[2001:db8::5]:53' }],
    ['team', 'probe', { protocol: 'tcp', destination: 'a.example.com:443', sni: '' }],
  ]);
});

test('a question without an answer: exit code 2, never 1', async () => {
  for (const argv of [
    ['a/b/c', 'GET', 'https://a/'],
    ['/b', 'GET', 'https://a/'],
    ['team/probe', 'GET', 'https://a/', '-n', 'other'],
    ['probe', 'GET'],
    ['probe', 'GET', 'https://a/', '-o', 'wide'],
  ])
    expect((await cli(...argv)).code, argv.join(' ')).toBe(2);
  answer = { failure: { code: 400, reason: 'BadRequest', message: '"x" is not HOST:PORT' } };
  expect(await cli('probe', 'tcp', 'x')).toMatchObject({ code: 2, err: expect.stringContaining('"x" is not HOST:PORT.') });
  answer = { failure: { code: 404, reason: 'NotFound', message: 'there is no agent "probe"' } };
  expect(await cli('probe', 'tcp', 'x:1')).toMatchObject({ code: 2, err: expect.stringContaining('there is no agent "probe".') });
  answer = { failure: { code: 503, reason: 'ServiceUnavailable', message: 'the controllers have only begun to start' } };
  expect((await cli('probe', 'tcp', 'x:1')).code).toBe(2);
  const { io } = capture();
  expect(await runCli(['explain', 'probe', 'tcp', 'x:1'], io)).toBe(2);
});
