import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli } from '#cli';
import type { ExtraRequest } from '#api';
import { startServer, type TestServer } from '../apiserver/harness.ts';
import { record } from '../telemetry/records.ts';
import { capture } from './capture.ts';

/** `clrk egress log` against an API with these records. */

const records = [
  record(),
  record({ decisionId: 'd-2', verdict: 'Denied', reason: 'NoRoute', protocol: 'tcp', method: '', host: '', path: '', destination: '10.40.0.5:5432' }),
];

let server: TestServer;
let kubeconfig: string;
let asked: URLSearchParams | undefined;
beforeAll(async () => {
  const exchanges = {
    name: 'exchanges',
    singular: 'exchange',
    kind: 'Exchange',
    namespaced: true,
    shortNames: [],
    verbs: ['list' as const],
    handle: async ({ query, namespace }: ExtraRequest) => {
      asked = query;
      return { list: records.map((each) => ({ apiVersion: 'v1', kind: 'Exchange', metadata: { name: each.decisionId, namespace }, ...each })) };
    },
  };
  server = await startServer({ extraGroups: [{ group: 'runtime.clrk.apoxy.dev', version: 'v1alpha1', resources: [exchanges] }] });
  kubeconfig = await server.kubeconfig();
});
afterAll(() => server[Symbol.asyncDispose]());

const log = async (argv: readonly string[], terminal = false) => {
  const { io, seen } = capture({ KUBECONFIG: kubeconfig });
  return { code: await runCli(['egress', 'log', ...argv], { ...io, terminal }), ...seen };
};

test('filters reach the API in its words', async () => {
  expect((await log(['--verdict', 'denied', '--protocol', 'TCP,udp', '--host', '*.Example.com', '--agent', 'a', '--limit', '5'])).code).toBe(0);
  expect(Object.fromEntries(asked!)).toEqual({ verdict: 'Denied', protocol: 'tcp,udp', host: '*.example.com', agent: 'a', limit: '5' });
});

test.each([
  [['--verdict', 'maybe'], /neither allowed nor denied/],
  [['--protocol', 'tcp,quic'], /there is no quic/],
  [['--protocol', ','], /no name in it/],
  [['-o', 'name'], /none of wide, json, yaml/],
])('%j', async (argv, text) => {
  expect(await log(argv)).toMatchObject({ code: 1, err: expect.stringMatching(text) });
});

test('a table for people, with how to ask why on a terminal only; JSON lines and YAML for programs', async () => {
  const plain = await log([]);
  expect(plain.out).toMatch(/^TIME +VERDICT +REQUEST +HTTP +MODEL +TOKENS .*BYTES +MS$/m);
  expect((await log(['-o', 'wide'])).out).toMatch(/BYTES +MS +COST +FETCHES +AGENT +ROUTE +DECISION$/m);
  expect(plain.out).toMatch(/Denied +NoRoute +tcp +10\.40\.0\.5:5432/);
  expect(plain.err).toBe('');
  expect((await log([], true)).err).toContain('clrk explain default/summarizer tcp 10.40.0.5:5432\n');
  expect((await log(['-o', 'json'], true)).err).toBe('');
  expect(
    (await log(['-o', 'json'])).out
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { reason: string }).reason),
  ).toEqual(['Allowed', 'NoRoute']);
  expect((await log(['-o', 'yaml'])).out).toMatch(/^ {2}destination: 10\.40\.0\.5:5432$/m);
});
