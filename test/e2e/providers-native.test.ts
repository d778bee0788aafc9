import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure, startStack, type Exchange, type TestStack } from './harness.ts';
import { probeAgent, type Manifest } from './support/manifests.ts';
import type { Step } from './support/native-calls.ts';
import { APIS, byName, NAMES, REFUSED, SERVED, type Name, type Refused, type Served } from './support/native-cases.ts';
import { startProviderServers, type ProviderServers } from './support/provider-servers.ts';

/** APIs that are not made like OpenAI's: Anthropic's, Google's two and Bedrock's. What is served is counted, what is not understood stays here. */

let stack: TestStack;
let servers: ProviderServers;

const GATEWAY = 'native';
const CAP = 150_000;
const MODELS = {
  anthropic: ['claude-haiku-4-5*'],
  gemini: ['gemini-2.5-flash*', 'gemini-embedding-*'],
  vertex: ['gemini-2.0-flash*', 'claude-haiku-4-5*'],
  bedrock: ['eu.anthropic.claude-haiku-4-5*', 'meta.llama3*', 'amazon.titan-embed-*'],
};
const object = (kind: string, name: string, spec: Manifest['spec']): Manifest => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});
const ref = (kind: string, name: string) => [{ group: 'clrk.apoxy.dev', kind, name }];

beforeAll(async () => {
  stack = await startStack();
  servers = await startProviderServers(stack);
  const { ip, caFile } = servers.anthropic;
  await stack.secret('native-ca', { 'ca.crt': await readFile(caFile, 'utf8') });
  const manifests: Manifest[] = [];
  for (const name of NAMES) {
    const { server, endpoints } = APIS[name];
    const { provider, secret, inject } = servers[server];
    await stack.secret(name, secret);
    const match = { provider, ...(endpoints && { endpoints }) };
    const rules = [
      { matches: [{ ...match, models: MODELS[name] }], filters: [{ type: 'TokenBudget', tokenBudget: { maxTokensPerDay: CAP } }] },
      // Calls that name no model.
      ...(name === 'anthropic' ? [{ matches: [{ provider, endpoints: ['/v1/models', '/v1/models/*'] }] }] : []),
      ...(name === 'gemini' ? [{ matches: [{ provider, endpoints: ['generativelanguage.googleapis.com/v1beta/models'] }] }] : []),
    ];
    manifests.push(
      object('AIProviderRoute', name, { parentRefs: ref('EgressGateway', GATEWAY), rules }),
      object('CredentialInjectionPolicy', name, { parentRefs: ref('AIProviderRoute', name), secretRef: { name }, ...inject }),
    );
  }
  await stack.apply(
    object('EgressGateway', GATEWAY, {
      defaultPolicy: 'deny-all',
      listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } }],
      upstreamTLS: {
        hostAliases: [{ ip, hostnames: NAMES.flatMap((name) => servers[APIS[name].server].hosts) }],
        additionalTrustBundleSecretRef: { name: 'native-ca' },
      },
    }),
    ...manifests,
    probeAgent('caller', { egressRefs: [{ gatewayRef: GATEWAY }] }),
  );
  await stack.programmed(GATEWAY);
  await stack.condition('taskagents', 'caller', 'Ready', 'True', 60_000);
});
afterAll(async () => {
  await servers?.[Symbol.asyncDispose]();
  await stack?.[Symbol.asyncDispose]();
});
beforeEach(() => showLogOnFailure(() => stack));

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly error?: string;
}

/** Makes the calls one after the other in a sandbox; with their records, in the same order. */
const call = async (...steps: readonly Step[]): Promise<{ answers: readonly Answer[]; records: readonly Exchange[] }> => {
  const { results, invocation } = await stack.probe('caller', ...steps);
  const answers = results as unknown as readonly Answer[];
  const all = await stack.egressLog(invocation, (log) => log.filter(({ protocol }) => protocol === 'https').length === steps.length);
  return { answers, records: all.filter(({ protocol }) => protocol === 'https').toSorted((a, b) => (a.time < b.time ? -1 : 1)) };
};
const seen = () => servers.anthropic.seen();
const statuses = (answers: readonly Answer[]) => answers.map(({ status, error }) => error ?? status);
const bodyOf = ({ body }: Answer) => JSON.parse(body) as Record<string, unknown>;
/** Where the SDKs of a provider look for what is wrong, our own fields are beside it. */
const codeOf = (answer: Answer): string => `${answer.status} ${(bodyOf(answer)['error'] as { code: string }).code}`;
/** What is left of the budgets of the routes, as requests that cannot fit are told. */
const left = async (): Promise<Readonly<Record<Name, number>>> => {
  const { results } = await stack.probe('caller', ...NAMES.map((name) => APIS[name].boundless));
  expect(statuses(results as unknown as readonly Answer[])).toEqual(NAMES.map(() => 429));
  return byName((_, at) => Number((results[at] as unknown as Answer).headers['x-clrk-budget-remaining']));
};
const tokens = (records: readonly Exchange[]) => records.reduce((sum, { inputTokens, outputTokens }) => sum + (inputTokens ?? 0) + (outputTokens ?? 0), 0);
const badly = (model: string, how: 'cut' | 'limited' | 'broken' | 'empty') => model.replace(/(?:-v\d+:\d+)?$/, (version) => `-${how}${version}`);

/** Makes calls to all of them in one run; answers and records by name. */
const callAll = async (steps: Readonly<Record<Name, readonly Step[]>>) => {
  const { answers, records } = await call(...NAMES.flatMap((name) => steps[name]));
  let at = 0;
  return byName((name) => {
    const [from, to] = [at, (at += steps[name].length)];
    return { answers: answers.slice(from, to), records: records.slice(from, to) };
  });
};
const stepsOf = (table: Readonly<Record<Name, readonly (Served | Refused)[]>>): Record<Name, Step[]> =>
  byName((name) => table[name].map((row) => (typeof row[0] === 'string' ? (row[1] as Step) : row[0])));

it('what is served is counted: tokens in the records, and taken from the budget', async () => {
  const all = await callAll(stepsOf(SERVED));
  const counted = ({ inputTokens, outputTokens }: Exchange) => (inputTokens ? (outputTokens ? 'both' : 'input') : 'none');
  for (const name of NAMES) {
    const { answers, records } = all[name];
    expect(statuses(answers), answers.find(({ status }) => status !== 200)?.body).toEqual(SERVED[name].map(() => 200));
    expect(records.map((record) => [record.operation, record.model, counted(record)])).toEqual(
      SERVED[name].map(([, operation, model, what]) => [operation, model, what]),
    );
  }
  expect(await left()).toEqual(byName((name) => CAP - tokens(all[name].records)));
  // Written once, read the second time: both count as input.
  const { records } = all.anthropic;
  expect(records.map(({ cachedInputTokens }) => (cachedInputTokens ?? 0) > 1_000)).toEqual([false, false, false, true, false, false, false, false]);
  expect(records[3]!.inputTokens).toBe(records[2]!.inputTokens);
  for (const { reasoningTokens } of [records[4]!, all.gemini.records[0]!]) expect(reasoningTokens).toBeGreaterThan(0);
});

it('what nobody here understands, or may be meant otherwise, is refused in a form its SDK reads, and stays here', async () => {
  const [before, budgets] = [(await seen()).length, await left()];
  const all = await callAll(stepsOf(REFUSED));
  for (const name of NAMES) {
    const codes = REFUSED[name].map(([code]) => code);
    expect(all[name].answers.map(codeOf)).toEqual(codes);
    expect(all[name].records.map(({ verdict, reason, status }) => `${verdict} ${status} ${reason}`)).toEqual(codes.map((code) => `Denied ${code}`));
  }
  expect((await seen()).length).toBe(before);
  expect(await left()).toEqual(budgets);
  const message = expect.any(String) as string;
  const google = { error: { status: 'PERMISSION_DENIED', message } };
  const shapes: Readonly<Record<Name, object>> = {
    anthropic: { type: 'error', error: { type: 'permission_error', message } },
    gemini: google,
    vertex: google,
    bedrock: { __type: 'AccessDeniedException', message },
  };
  expect(byName((name) => bodyOf(all[name].answers[0]!))).toMatchObject(shapes);
});

it('answers that fail, are cut or empty: what reached the agent is not free, and a refusal by the provider is', async () => {
  const before = await left();
  const badOf = (name: Name, how: Parameters<typeof badly>[1]): Step => APIS[name].say(badly(APIS[name].model, how), true);
  const first = await callAll(byName((name) => [badOf(name, 'limited'), badOf(name, 'empty')]));
  for (const name of NAMES) {
    expect(statuses(first[name].answers)).toEqual([429, 200]);
    expect(first[name].records[0]).toMatchObject({ verdict: 'Allowed', inputTokens: null });
    expect(first[name].records[1]!.inputTokens).toBeGreaterThan(0);
  }
  const then = await left();
  expect(then).toEqual(byName((name) => before[name] - tokens(first[name].records)));

  const cut = await callAll(byName((name) => [badOf(name, 'cut')]));
  const after = await left();
  for (const name of NAMES) {
    // The connection broke while the answer was read.
    expect(cut[name].answers[0]).toHaveProperty('error');
    const lost = then[name] - after[name];
    expect([name, lost]).toEqual([name, expect.any(Number)]);
    expect(lost).toBeGreaterThan(cut[name].records[0]!.inputTokens ?? 0);
    expect(lost).toBeLessThan(1_000);
    // The output can have been anything up to its limit where reasoning is not shown.
    if (APIS[name].hidden) expect(lost).toBeGreaterThanOrEqual(APIS[name].limit);
  }
});

it('the credential is the one of the route, and the agent’s own stays behind', async () => {
  const before = (await seen()).length;
  const own: Readonly<Record<Name, object>> = {
    anthropic: { 'x-api-key': 'mine' },
    gemini: { 'x-goog-api-key': 'mine' },
    vertex: { 'x-goog-api-key': 'mine', 'x-goog-user-project': 'mine' },
    bedrock: { 'x-amz-security-token': 'mine', 'x-amz-date': 'mine' },
  };
  const { results } = await stack.probe(
    'caller',
    ...NAMES.map((name) => {
      const { fetch: step } = APIS[name].say(APIS[name].model, false);
      return { fetch: { ...step, headers: { ...step.headers, cookie: 'session=mine', authorization: 'Bearer mine', ...own[name] } } };
    }),
  );
  expect(statuses(results as unknown as readonly Answer[])).toEqual(NAMES.map(() => 200));
  const requests = (await seen()).slice(before);
  for (const [at, name] of NAMES.entries()) {
    const { secret, inject } = servers[APIS[name].server];
    const { headers } = requests[at]!;
    // What is signed was verified by the fixture, or it had not answered.
    if (name === 'bedrock') expect(headers['authorization']).toContain(`Credential=${secret['access_key_id']}/`);
    else expect(headers[String(inject['headerName']).toLowerCase()]).toBe(Object.values(secret)[0]);
    expect(JSON.stringify(requests[at])).not.toContain('mine');
  }
});
