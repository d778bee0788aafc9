import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseChatRequest } from '../fixtures/openai/request.ts';
import { QUICKSTART } from '../fixtures/quickstart.ts';
import { eventually, showLogOnFailure, startStack, type Exchange, type InvokeResult, type TestStack } from './harness.ts';
import { openaiRoute, quickstart } from './support/manifests.ts';

/** One agent, end to end, on real parts. */

let stack: TestStack;
let document: string;
beforeAll(async () => {
  stack = await startStack();
  document = await readFile(join(QUICKSTART, 'document.txt'), 'utf8');
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

interface Summary {
  readonly summary: string;
  readonly streamed: { readonly text: string; readonly chunks: number };
  readonly exfiltration: { readonly status: number; readonly code: string; readonly message: string };
}

/** What one line of `egress log -o json` has, in this order. */
const FIELDS =
  'time, invocation, agent, gateway, route, protocol, method, host, path, status, verdict, reason, decisionId, revision, model, inputTokens, outputTokens, durationMs, destination, requestBytes, responseBytes, provider, operation, routeMatched, stream, maxTokens, responseModel, responseId, finishReasons, cachedInputTokens, cacheCreationTokens, reasoningTokens, reservedTokens, budgetOverrun, providerFetches, credentialsReplaced, credentialsEchoed, namespace, worker, traceId, spanId, costUsd, costEstimated, mcpMethod, tool, mcpResource, mcpSession, mcpProtocol'.split(
    ', ',
  );
const CHAT = 'https://api.openai.com/v1/chat/completions';
const chat = (fields: object, headers: object = {}) => ({
  fetch: {
    url: CHAT,
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ model: 'gpt-4.1-mini', messages: [{ role: 'user', content: 'Ships pass the lighthouse. The lamp turns.' }], ...fields }),
  },
});
const errorOf = (result: unknown) => (JSON.parse((result as { body: string }).body) as { error: Record<string, string> }).error;
const newTrace = () => ({ traceId: randomBytes(16).toString('hex'), parent: randomBytes(8).toString('hex') });

describe('the quickstart', () => {
  let answer: InvokeResult;
  let summary: Summary;
  let records: Exchange[];
  const { traceId, parent } = newTrace();

  beforeAll(async () => {
    answer = await stack.invoke('summarizer', document, { traceparent: `00-${traceId}-${parent}-01` });
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}\n${await stack.log()}`);
    summary = answer.json() as Summary;
    records = await stack.egressLog(
      answer.invocation,
      (all) =>
        all.filter(({ verdict, inputTokens }) => verdict === 'Allowed' && inputTokens !== null).length === 2 &&
        all.some(({ verdict, protocol }) => verdict === 'Denied' && protocol === 'https'),
    );
  });

  it('answers over HTTP with the id of the invocation and the type of the output', () => {
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.invocation).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });

  it('summarised the document with the real SDK, plain and streamed', () => {
    const flat = document.replace(/\s+/g, ' ');
    for (const sentence of summary.summary.split(/(?<=\.) /)) expect(flat).toContain(sentence);
    expect(summary.summary.length).toBeGreaterThan(100);
    expect(summary.streamed.text).toBe(summary.summary);
    expect(summary.streamed.chunks).toBeGreaterThan(20);
  });

  it('was denied the host no route admits, with the reason in its own output', () => {
    expect(summary.exfiltration).toMatchObject({ status: 403, code: 'NoRoute' });
    expect(summary.exfiltration.message).toMatch(/no route/i);
  });

  it('reached the provider with the injected key, the verified name, the trace of the run, and nothing of ours besides', async () => {
    const seen = await stack.seenOf(traceId, 2);
    expect(seen).toHaveLength(2);
    for (const { headers, sni, path, body } of seen) {
      expect(headers['authorization']).toBe(`Bearer ${stack.key}`);
      expect(sni).toBe('api.openai.com');
      expect(headers[':authority'] ?? headers['host']).toBe('api.openai.com');
      expect(path).toBe('/v1/chat/completions');
      expect(body).toContain('Skerry Point');
      expect(headers['traceparent']).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
      expect(headers['traceparent']).not.toContain(parent);
      expect(headers['x-request-id']).not.toBe(answer.invocation);
      expect(headers['user-agent']).toMatch(/^OpenAI\/JS/);
      expect(Object.keys(headers).filter((name) => /^x-(clrk|envoy|forwarded)|^(via|forwarded|cookie|tracestate|baggage)$/.test(name))).toEqual([]);
    }
    expect(seen.map(({ body }) => (JSON.parse(body) as { stream?: boolean }).stream ?? false)).toEqual([false, true]);
    expect(new Set(seen.map(({ headers }) => headers['traceparent'])).size).toBe(2);
    expect((await stack.seen()).filter(({ path }) => path.includes('upload'))).toEqual([]);
  });

  it('left one record for each request, with every field', async () => {
    const requests = records.filter(({ protocol }) => protocol === 'https');
    expect(requests).toHaveLength(3);
    const [plain, streamed, denied] = requests as [Exchange, Exchange, Exchange];
    const seen = await stack.seenOf(traceId, 2);
    for (const [index, record] of [plain, streamed].entries()) {
      const { promptTokens } = parseChatRequest(JSON.parse(seen[index]!.body));
      expect(record).toMatchObject({
        invocation: answer.invocation,
        agent: 'summarizer',
        gateway: 'default/default',
        route: 'AIProviderRoute/default/openai',
        protocol: 'https',
        method: 'POST',
        host: 'api.openai.com',
        path: '/v1/chat/completions',
        status: 200,
        verdict: 'Allowed',
        reason: 'Allowed',
        model: 'gpt-4.1-mini',
        inputTokens: promptTokens,
        provider: 'openai',
        operation: 'chat',
        routeMatched: true,
        stream: index === 1,
        budgetOverrun: false,
        finishReasons: ['stop'],
        providerFetches: [],
        credentialsEchoed: [],
        traceId,
        // The provider got exactly this span, as a child of the run's trace.
        spanId: String(seen[index]!.headers['traceparent']).split('-')[2],
      });
      expect(record.responseModel).toMatch(/^gpt-4\.1-mini/);
      expect(record.responseId).not.toBe('');

      expect(record.outputTokens).toBeGreaterThan(20);
      expect(record.durationMs).toBeGreaterThan(0);
      expect(Math.abs(Date.parse(record.time) - Date.parse(seen[index]!.time))).toBeLessThan(5_000);
    }
    expect(plain.outputTokens).toBe(streamed.outputTokens);
    expect(denied).toMatchObject({
      invocation: answer.invocation,
      agent: 'summarizer',
      gateway: 'default/default',
      method: 'POST',
      host: 'exfil.example.com',
      path: '/upload',
      status: 403,
      verdict: 'Denied',
      reason: 'NoRoute',
    });
    for (const record of requests) expect(Object.keys(record)).toEqual(FIELDS);
    const revisions = requests.map(({ revision }) => revision);
    expect(revisions[0]).toMatch(/^[0-9a-f]{12}$/);
    expect(new Set(revisions).size).toBe(1);
    expect(new Set(requests.map(({ decisionId }) => decisionId)).size).toBe(3);
    const { status } = await stack.get('egressgateways', 'default');
    expect(status!['programmed']).toMatchObject([{ worker: '0', revision: revisions[0] }]);
  });

  it('is on record as an Invocation', async () => {
    const { status, spec } = await stack.invocation(answer.invocation);
    expect(spec).toMatchObject({ parentRef: { name: 'summarizer' }, trigger: { type: 'HTTP' } });
    expect(status).toMatchObject({
      phase: 'Succeeded',
      exitCode: 0,
      traceId,
      revision: 'summarizer-00001',
      worker: '0',
      outputBytes: Buffer.byteLength(answer.text),
    });
    expect(status.firstByteMs).toBeGreaterThan(0);
  });

  it('can be run from the command line', async () => {
    const run = await stack.clrk(['agents', 'run-task', 'summarizer', '-i', `@${join(QUICKSTART, 'document.txt')}`, '--content-type', 'text/plain']);
    expect(run).toMatchObject({ code: 0 });
    expect((JSON.parse(run.stdout) as Summary).summary).toBe(summary.summary);
    const [, id] = /invocation (\S+)/.exec(run.stderr)!;
    expect(await stack.invocation(id!)).toMatchObject({ spec: { trigger: { type: 'CLI' } }, status: { phase: 'Succeeded' } });
    expect((await stack.clrk(['agents', 'list'])).stdout).toMatch(/^summarizer\s+default\s+summarizer-00001/m);

    const invocations = (await stack.clrk(['agents', 'invocations', 'summarizer'])).stdout.split('\n');
    expect(invocations[0]).toMatch(/^INVOCATION\s+PHASE\s+TRIGGER\s+AGE\s+REASON$/);
    expect(invocations[1]).toMatch(new RegExp(`^${id}\\s+Succeeded\\s+CLI\\s+\\S+\\s+-$`)); // newest first
    expect((await stack.clrk(['agents', 'invocations', 'nobody'])).stderr).toMatch(/No invocations of nobody/);
    const shown = (await stack.clrk(['agents', 'get', 'summarizer'])).stdout;
    expect(shown).toMatch(/^Image:\s+quickstart\/summarizer/m);
    expect(shown).toMatch(/^ {2}LatestReadyRevisionName:\s+summarizer-00001/m);
    expect(shown).toMatch(/^ {2}Ready\s+True\s+RevisionReady/m);
    expect(await stack.clrk(['agents', 'get', 'nobody'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('There is no TaskAgent default/nobody') as string,
    });
  });

  it('is shown by kubectl', async () => {
    const { code, stdout, stderr } = await stack.kubectl([
      'get',
      'taskagents,agentsandboxrevisions,workerpools,egressgateways,aiproviderroutes,credentialinjectionpolicies',
    ]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    for (const name of ['taskagent.clrk.apoxy.dev/summarizer', 'agentsandboxrevision.clrk.apoxy.dev/summarizer-00001', 'egressgateway.clrk.apoxy.dev/default'])
      expect(stdout).toContain(name);
    const table = await stack.kubectl(['get', 'invocations']);
    expect(table.stdout.split('\n')[0]).toMatch(/^NAME\s+AGENT\s+PHASE\s+TRIGGER\s+AGE$/);
    expect(table.stdout).toMatch(new RegExp(`^${answer.invocation}\\s+summarizer\\s+Succeeded\\s+HTTP\\s+\\d+`, 'm'));
  });
});

describe('what an agent is given', () => {
  it('one CloudEvent on stdin', async () => {
    const id = randomUUID();
    const answer = await stack.invoke('probe', { steps: [], note: 'ä' }, { 'x-clrk-invocation-id': id, 'ce-tenant': 'acme', 'x-other': 'not for the agent' });
    expect(answer.invocation).toBe(id);
    const { event } = answer.json() as { event: Record<string, unknown> };
    expect(event).toMatchObject({ specversion: '1.0', id, source: 'clrk://default/probe', datacontenttype: 'application/json', tenant: 'acme' });
    expect(JSON.stringify(event)).not.toContain('not for the agent');
  });

  it('its stdout is the answer, as text when it is not JSON; stderr goes to the log', async () => {
    const note = `note-${randomUUID()}`;
    const answer = await stack.invoke('probe', { steps: [{ stderr: `${note}\n` }, { stdout: 'plain words' }] });
    expect(answer).toMatchObject({ status: 200, text: 'plain words' });
    expect(answer.headers['content-type']).toMatch(/^text\/plain/);
    expect(await stack.log(2_000)).toContain(note);
  });

  it('more than 1 MiB of output is streamed whole', async () => {
    const answer = await stack.invoke('probe', { steps: Array.from({ length: 48 }, () => ({ stdout: 'x'.repeat(65_536) })) });
    expect(answer.status).toBe(200);
    expect(answer.text.length).toBe(48 * 65_536);
  });

  it('a failure is 502 with exit code and output, a timeout 504', async () => {
    const failed = await stack.invoke('probe', { steps: [{ stdout: 'so far' }, { exit: 3 }] });
    expect(failed.status).toBe(502);
    expect(failed.json()).toMatchObject({ error: { invocation: failed.invocation, exitCode: 3 }, output: 'so far' });
    expect((await stack.invocation(failed.invocation)).status).toMatchObject({ phase: 'Failed', exitCode: 3 });

    const probe = await stack.get('taskagents', 'probe');
    await stack.apply({ ...probe, metadata: { name: 'hasty', namespace: 'default' }, spec: { ...probe.spec, timeout: '1s' } });
    await stack.condition('taskagents', 'hasty', 'Ready', 'True');
    const late = await stack.invoke('hasty', { steps: [{ sleep: 30_000 }] });
    expect(late.status).toBe(504);
    expect((await stack.invocation(late.invocation)).status.phase).toBe('Timeout');
  });

  it('a repeated id is the same run, and for another body a conflict', async () => {
    const headers = { 'x-clrk-invocation-id': randomUUID() };
    expect((await stack.invoke('probe', { steps: [] }, headers)).status).toBe(200);
    const repeat = await stack.invoke('probe', { steps: [] }, headers);
    expect([200, 409]).toContain(repeat.status); // 409 OutputNotKept: it ran once, and its answer went to the first caller
    const other = await stack.invoke('probe', { steps: [{ env: true }] }, headers);
    expect(other.status).toBe(409);
  });
});

describe('the only way out', () => {
  it('admits no other model, endpoint or method than the route says', async () => {
    const before = (await stack.seen()).length;
    const { results, invocation } = await stack.probe(
      'probe',
      chat({ model: 'gpt-5' }),
      { fetch: { url: 'https://api.openai.com/v1/models', headers: { accept: 'application/json' } } },
      { fetch: { url: 'https://api.openai.com/v1/files', method: 'POST', body: 'secret' } },
    );
    expect(results.map((result) => result!['status'])).toEqual([403, 403, 403]);
    expect(errorOf(results[0])).toMatchObject({ code: 'ModelNotAllowed' });
    expect(errorOf(results[1])).toMatchObject({ code: 'EndpointNotAllowed' });
    expect((await stack.seen()).length).toBe(before);
    const records = await stack.egressLog(
      invocation,
      (all) => all.filter(({ verdict, protocol }) => verdict === 'Denied' && protocol === 'https').length === 3,
    );
    expect(records.map(({ decisionId }) => decisionId)).toContain(errorOf(results[0])['decision']);
  });

  it('refuses other ways fast: addresses, ports, plain HTTP, IPv6, other resolvers', async () => {
    const { results } = await stack.probe(
      'probe',
      { connect: { host: '1.1.1.1', port: 443 } },
      { connect: { host: '10.213.0.2', port: 443 } },
      { connect: { host: '169.254.169.254', port: 80 } },
      { connect: { host: 'exfil.example.com', port: 22 } },
      { connect: { host: '2606:4700::1111', port: 443 } },
      { connect: { host: '8.8.8.8', port: 853 } },
    );
    // A gateway may take the connection to refuse it; it ends it at once, and nothing comes back but a refusal.
    for (const [index, result] of results.entries()) {
      if (result!['error']) expect([index, result]).not.toEqual([index, { error: 'timeout' }]);
      else expect([index, result]).toEqual([index, { connected: true, closed: true, received: expect.not.stringMatching(/^HTTP\/1.1 [23]/) as string }]);
    }
  });

  it('sends the credential to the name that was verified only: dialled name, SNI and Host must agree', async () => {
    const before = (await stack.seen()).length;
    const attempt = (host: string, servername: string, authority: string) => ({
      https: { host, servername, method: 'POST', path: '/v1/chat/completions', headers: { host: authority, 'content-type': 'application/json' }, body: '{}' },
    });
    const [real, other] = ['api.openai.com', 'exfil.example.com'];
    const { results } = await stack.probe(
      'probe',
      attempt(real, real, other),
      attempt(real, other, real),
      attempt(real, other, other),
      attempt(other, real, real),
    );
    expect(results[0]).toMatchObject({ status: 421 });
    for (const result of results.slice(1)) expect([403, 421, undefined]).toContain(result!['status']);
    expect((await stack.seen()).length).toBe(before);
  });

  it('replaces whatever key the agent sends', async () => {
    const { traceId, parent } = newTrace();
    const answer = await stack.invoke('probe', { steps: [chat({}, { authorization: 'Bearer sk-attacker' })] }, { traceparent: `00-${traceId}-${parent}-01` });
    expect(answer.status).toBe(200);
    const [request] = await stack.seenOf(traceId);
    expect(request!.headers['authorization']).toBe(`Bearer ${stack.key}`);
    expect(JSON.stringify(request)).not.toContain('sk-attacker');
  });

  it('gives an agent without gateway no way out at all', async () => {
    const probe = await stack.get('taskagents', 'probe');
    await stack.apply({ ...probe, metadata: { name: 'alone', namespace: 'default' }, spec: { ...probe.spec, egressRefs: [] } });
    await stack.condition('taskagents', 'alone', 'Ready', 'True');
    const { results } = await stack.probe('alone', chat({}), { lookup: 'api.openai.com' }, { connect: { host: '1.1.1.1', port: 443 } });
    for (const result of results) expect(result).toHaveProperty('error');
  });
});

describe('the day budget', () => {
  /** A route of its own, so that no other test spends from its budget. */
  const MODEL = 'gpt-4o';
  const route = (cap: number) => openaiRoute('a-budget', 'default', [MODEL], cap);
  const ask = (limit: number) => chat({ model: MODEL, max_completion_tokens: limit });
  let used = 0;

  beforeAll(async () => {
    // The quickstart's route admits gpt-4o too; it must not, for these requests to count where they should.
    const [openai] = (await quickstart()).filter(({ kind }) => kind === 'AIProviderRoute');
    await stack.apply({ ...openai!, spec: openaiRoute('openai', 'default', ['gpt-4.1*'], 200_000).spec });
    const [key] = (await quickstart()).filter(({ kind }) => kind === 'CredentialInjectionPolicy');
    await stack.apply({
      ...key!,
      metadata: { name: 'budget-key', namespace: 'default' },
      spec: { ...key!.spec, parentRefs: [{ kind: 'AIProviderRoute', name: 'a-budget' }] },
    });
  });

  const applied = async (cap: number): Promise<void> => {
    const before = revisionsOf(await stack.get('egressgateways', 'default'));
    await stack.apply(route(cap));
    await eventually('the new budget is in force', async () => (revisionsOf(await stack.get('egressgateways', 'default')) !== before ? true : undefined));
  };
  const revisionsOf = (gateway: { status?: Record<string, unknown> }): string =>
    ((gateway.status?.['programmed'] ?? []) as { revision: string }[]).map(({ revision }) => revision).join();

  it('counts what the provider reports', async () => {
    await applied(100_000);
    const { invocation, results } = await stack.probe('probe', ask(50), ask(50));
    expect(results.map((result) => result!['status'])).toEqual([200, 200]);
    const records = await stack.egressLog(invocation, (all) => all.filter(({ outputTokens }) => outputTokens !== null).length === 2);
    used = records.reduce((sum, { inputTokens, outputTokens }) => sum + inputTokens! + outputTokens!, 0);
    expect(used).toBeGreaterThan(20);
  });

  it('never lets a request ask for more than is left', async () => {
    await applied(used + 200);
    const { traceId, parent } = newTrace();
    const answer = await stack.invoke('probe', { steps: [ask(5_000)] }, { traceparent: `00-${traceId}-${parent}-01` });
    expect((answer.json() as { results: { status: number }[] }).results[0]!.status).toBe(200);
    const [request] = await stack.seenOf(traceId);
    const { max_completion_tokens: limit } = JSON.parse(request!.body) as { max_completion_tokens: number };
    expect(limit).toBeGreaterThan(0);
    expect(limit).toBeLessThan(200);
    const [record] = await stack.egressLog(answer.invocation, ([first]) => typeof first?.outputTokens === 'number');
    used += record!.inputTokens! + record!.outputTokens!;
  });

  it('refuses with 429 before anything leaves when it is spent, also streamed, and says until when', async () => {
    await applied(used);
    const before = (await stack.seen()).length;
    const { results, invocation } = await stack.probe('probe', ask(5), chat({ model: MODEL, stream: true }));
    for (const result of results) {
      expect(result!['status']).toBe(429);
      expect(errorOf(result)).toMatchObject({ code: 'BudgetExhausted' });
    }
    expect((await stack.seen()).length).toBe(before);
    const records = await stack.egressLog(invocation, (all) => all.length >= 2);
    for (const record of records) expect(record).toMatchObject({ verdict: 'Denied', reason: 'BudgetExhausted', status: 429, model: MODEL });
  });

  it('counts a stream that did not ask for usage', async () => {
    await applied(used + 100_000);
    const { invocation } = await stack.probe('probe', chat({ model: MODEL, stream: true, max_completion_tokens: 30 }));
    const [record] = await stack.egressLog(invocation, ([first]) => typeof first?.outputTokens === 'number');
    expect(record!.inputTokens).toBeGreaterThan(5);
    expect(record!.outputTokens).toBeGreaterThan(3);
  });

  it('is kept when the stack is stopped and started again', async () => {
    await stack.stop();
    await stack.start();
    await stack.programmed();
    await stack.condition('taskagents', 'probe', 'Ready', 'True');
    await applied(used);
    const { results } = await stack.probe('probe', ask(5));
    expect(results[0]!['status']).toBe(429);
  });
});
