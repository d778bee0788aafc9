import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from 'vitest';
import type { L4Match, L4Route, PolicyListener, PolicySet } from '#model';
import type { SandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { verdictOf } from '../../src/telemetry/recorder/verdict.ts';
import { eventually } from './harness.ts';
import { BAD_CERTIFICATES, KEYS, writeBadCertificates } from './support/bad-certificates.ts';
import { aiRoute, denialOf, EgressLab, OPENAI, pairOf } from './support/egress-lab.ts';
import type { StepAnswer } from './support/sandbox-client.ts';
import { clientHello } from './support/client-hello.ts';
import { startUpstreams } from './support/upstream-servers.ts';

/** Connections that no AI route claims: listeners of every shape, on real parts. */

const FIXTURE = '10.213.0.2';
const LISTENERS: readonly PolicyListener[] = [
  { name: 'tls', shape: 'tls-terminate', port: 443 },
  { name: 'tls8', shape: 'https', port: 8443 },
  { name: 'pass', shape: 'tls-passthrough', port: 9443 },
  { name: 'web', shape: 'http', port: 80 },
  { name: 'tcp', shape: 'tcp' },
];
const ALL = LISTENERS.map(({ name }) => name);

const l4 = (name: string, matches: readonly L4Match[], change: Partial<L4Route> = {}): L4Route => ({
  route: { namespace: 'default', name },
  createdAt: 1,
  listeners: ALL,
  rules: [{ index: 0, matches }],
  ...change,
});
const NAMES = [
  'web.example',
  'db.example',
  'other.example',
  'a.wild.example',
  'deep.a.wild.example',
  'plain.example',
  ...Object.keys({ ...BAD_CERTIFICATES, ...KEYS }),
];

let lab: EgressLab;
let other: SandboxNetwork;
let upstreamCa: string;
let badCa: string;
let upstreams: readonly Record<string, unknown>[];

const policy = (change: Partial<PolicySet> = {}): PolicySet =>
  lab.policyOf({
    listeners: LISTENERS,
    hostAliases: [{ ip: FIXTURE, hostnames: [OPENAI, ...NAMES] }],
    trustBundle: lab.trustBundle + upstreamCa + badCa,
    l4Routes: [
      l4('web', [
        {
          hosts: ['web.example'],
          ports: [
            { from: 80, to: 80 },
            { from: 8443, to: 9443 },
          ],
        },
      ]),
      l4('db', [
        {
          hosts: ['db.example'],
          ports: [
            { from: 5432, to: 5432 },
            { from: 7000, to: 7000 },
          ],
          agents: ['default/agent'],
        },
      ]),
      l4('bad', [{ hosts: [...Object.keys(BAD_CERTIFICATES), '*.key.example'], ports: [{ from: 8443, to: 8443 }] }]),
      l4('other', [{ hosts: ['other.example'], ports: [{ from: 9443, to: 9443 }] }]),
      l4('wild', [{ hosts: ['*.wild.example'], ports: [{ from: 5432, to: 5432 }] }]),
      l4('range', [{ cidrs: [`${FIXTURE}/32`], ports: [{ from: 7000, to: 7000 }] }]),
    ],
    ...change,
  });

const tcp = (address: string, port: number, send = 'hi', network?: SandboxNetwork): Promise<StepAnswer> =>
  lab.inSandbox({ do: 'raw', address, port, send, until: send === 'hi' ? 'got hi' : 'hello' }, network);

beforeAll(async () => {
  lab = await EgressLab.start({ listeners: LISTENERS, aiRoutes: [aiRoute] });
  ({ seen: upstreams, ca: upstreamCa } = lab.resources.use(await startUpstreams(join(lab.state, 'upstreams'), lab.lab.fixture, FIXTURE)));
  badCa = await writeBadCertificates(join(lab.state, 'upstreams'));
  other = await lab.newSandbox(1);
  await lab.enforce(policy());
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  expect(await lab.claim(1, 'other')).toMatchObject({ refused: '' });
});
afterAll(() => lab?.[Symbol.asyncDispose]());
beforeEach(() => onTestFailed(async () => console.error(await lab.diagnosis())));

/** Resolves when one more connection to this port has come to the upstreams than at the time of the call. */
const nextAt = (port: number): Promise<true> => {
  const before = upstreams.length;
  return eventually(`a connection to ${port}`, () => (upstreams.slice(before).some((seen) => seen['port'] === port) ? true : undefined));
};

const lineTo = (destination: string, chain: string) =>
  eventually(`the line of ${destination}`, async () => (await lab.accessLines()).findLast((line) => line.destination === destination && line.chain === chain));

test('TCP by name: the server may speak first, and the record says who let it through', async () => {
  const address = await lab.addressOf('db.example');
  const answer = await tcp(address, 5432);
  expect(answer.received).toBe('ready\ngot hi');
  expect(await lineTo(`${address}:5432`, 'tcp')).toMatchObject({
    upstream: `${FIXTURE}:5432`,
    verdict: { verdict: 'Allowed', route: 'EgressL4Route/default/db', host: 'db.example', revision: policy().revision },
  });
  expect((await tcp(address, 7000)).received).toBe('got hi');
});

test('another agent may not, and is told so at once', async () => {
  const before = upstreams.length;
  const address = await lab.addressOf('db.example');
  const answer = await tcp(address, 5432, 'hi', other);
  expect(answer.received ?? '').toBe('');
  expect(upstreams.length).toBe(before);
});

test('TCP by address: the port that is named, and no other', async () => {
  expect((await tcp(FIXTURE, 7000)).received).toBe('got hi');
  const before = upstreams.length;
  expect((await tcp(FIXTURE, 5432)).received ?? '').toBe('');
  expect(upstreams.length).toBe(before);
});

test('no range covers the worker itself', async () => {
  const own = l4('own', [{ cidrs: ['10.213.0.0/24'], ports: [{ from: 7000, to: 7000 }] }]);
  await lab.enforce(policy({ l4Routes: [own] }));
  expect((await tcp(FIXTURE, 7000)).received).toBe('got hi');
  expect((await tcp('10.213.0.1', 7000)).received ?? '').toBe('');
  expect(await lineTo('10.213.0.1:7000', 'tcp')).toMatchObject({ verdict: { verdict: 'Denied', reason: 'ForbiddenAddress' } });
  await lab.enforce(policy());
});

test('a wildcard is one label, and its names have addresses when they are asked for', async () => {
  expect((await tcp(await lab.addressOf('a.wild.example'), 5432)).received).toBe('ready\ngot hi');
  expect(await lab.addressOf('deep.a.wild.example')).toMatch(/^198\.18\.(8|9|1[0-5])\./);
});

test('HTTP in the clear: Host is the name that was dialled, headers are the agent’s, and WebSocket passes', async () => {
  const address = await lab.addressOf('web.example');
  const answer = await lab.inSandbox({ do: 'http', address, host: 'web.example', path: '/x?y=1' });
  expect(answer).toMatchObject({ status: 200, body: '80 GET /x?y=1' });
  // Nothing an upstream says of our own headers has an effect.
  expect(answer.headers).not.toHaveProperty('x-clrk-status');
  expect(answer.headers).not.toHaveProperty('alt-svc');
  const seen = upstreams.at(-1)! as { headers: Record<string, string> };
  expect(Object.keys(seen.headers).filter((name) => /^x-(clrk|envoy|forwarded)/.test(name))).toEqual([]);
  const upgrade = `GET /ws HTTP/1.1\r\nhost: web.example\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n\r\n`;
  expect((await tcp(address, 80, upgrade)).received).toMatch(/^HTTP\/1\.1 101 [\s\S]*hello$/);
});

test('HTTP with another Host: 421 and the reason, nothing is sent', async () => {
  const address = await lab.addressOf('web.example');
  const before = upstreams.length;
  for (const host of ['evil.example', OPENAI, '169.254.169.254', 'web.example:8080', 'web.example@evil.example']) {
    const answer = await lab.inSandbox({ do: 'http', address, host, path: '/' });
    expect([host, answer.status]).toEqual([host, host.includes('@') ? answer.status : 421]);
    expect(answer.status).toBeGreaterThanOrEqual(400);
  }
  expect(upstreams.length).toBe(before);
  const answer = await lab.inSandbox({ do: 'http', address, host: 'evil.example', path: '/' });
  expect(denialOf(answer)).toMatchObject({ code: 'HostMismatch', gateway: 'default/gw', decision: expect.any(String) as string });
  expect(await lab.lineOf(denialOf(answer)['decision']!)).toMatchObject({ chain: 'http', status: 421, host: 'evil.example', verdict: { verdict: 'Denied' } });
});

test('TLS that ends here: any method, verified upstream, the record of a request', async () => {
  const address = await lab.addressOf('web.example');
  const answer = await lab.inSandbox({ do: 'https', address, port: 8443, sni: 'web.example', method: 'PUT', path: '/y', body: 'z', ca: lab.rootPem });
  expect(answer).toMatchObject({ status: 200, body: '8443 PUT /y' });
  const line = await lineTo(`${address}:8443`, 'http');
  expect(line).toMatchObject({ status: 200, sni: 'web.example', verdict: { verdict: 'Allowed', route: 'EgressL4Route/default/web' } });
});

test('gRPC: HTTP/2 from end to end, with trailers', async () => {
  const address = await lab.addressOf('web.example');
  const answer = await lab.inSandbox({ do: 'h2', address, port: 8443, sni: 'web.example', path: '/grpc', ca: lab.rootPem });
  expect(answer).toMatchObject({ status: 200, body: 'frame', headers: { 'content-type': 'application/grpc', 'grpc-status': '0' } });
});

test('bodies of any size, both ways, in constant memory', async () => {
  const address = await lab.addressOf('web.example');
  const residentMib = async (): Promise<number> => {
    const status = await readFile(`/proc/${await lab.envoyPid()}/status`, 'utf8');
    return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024;
  };
  const before = await residentMib();
  const answer = await lab.inSandbox({ do: 'h2', address, port: 8443, sni: 'web.example', path: '/bytes?mib=200', mib: 200, ca: lab.rootPem });
  expect(answer.body).toMatch(`got ${200 * 1024 * 1024}\n`);
  expect(answer.bytes).toBeGreaterThan(200 * 1024 * 1024);
  expect(await residentMib()).toBeLessThan(before + 64);
  // JSON is as much as anything else: nobody waits for the end of it.
  const json = await lab.inSandbox({ do: 'h2', address, port: 8443, sni: 'web.example', path: '/bytes?mib=20&type=application/json', ca: lab.rootPem });
  expect(json.status).toBe(200);
  expect(json.bytes).toBeGreaterThan(20 * 1024 * 1024);
});

test('who does not read what is sent to it costs little', async () => {
  const address = await lab.addressOf('web.example');
  const residentMib = async (): Promise<number> => {
    const status = await readFile(`/proc/${await lab.envoyPid()}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024;
  };
  const before = await residentMib();
  const send = 'GET /bytes?mib=12 HTTP/1.1\r\nhost: web.example\r\n\r\n';
  const stalled = lab.inSandbox({ do: 'stall', address, port: 80, send, connections: 24, forMs: 5_000 });
  let most = 0;
  const end = Symbol('end');
  while ((await Promise.race([stalled, later(200, end)])) === end) most = Math.max(most, await residentMib());
  // 8 MiB each would be 192.
  expect(most - before).toBeLessThan(48);
});

test('an upstream that does not prove its name: nothing is sent, the answer says in which way', async () => {
  const before = upstreams.length;
  for (const [name, message] of Object.entries(BAD_CERTIFICATES)) {
    const answer = await lab.inSandbox({ do: 'https', address: await lab.addressOf(name), port: 8443, sni: name, path: '/', ca: lab.rootPem });
    expect([name, answer.status]).toEqual([name, 502]);
    expect([name, denialOf(answer)]).toEqual([
      name,
      expect.objectContaining({ code: 'UpstreamCertificateInvalid', message: expect.stringMatching(message) as string }) as object,
    ]);
    expect(verdictOf(await lab.lineOf(denialOf(answer)['decision']!))).toEqual({ verdict: 'Allowed', reason: 'UpstreamCertificateInvalid' });
  }
  expect(upstreams.length).toBe(before);
});

test('an upstream with a weak key is refused, and the record has the reason; those with good keys are not', async () => {
  const ask = async (name: string) => lab.inSandbox({ do: 'https', address: await lab.addressOf(name), port: 8443, sni: name, path: '/', ca: lab.rootPem });
  for (const [name, { weak }] of Object.entries(KEYS)) {
    const before = upstreams.length;
    const answer = await ask(name);
    expect([name, answer.status]).toEqual([name, weak ? 502 : 200]);
    if (!weak) continue;
    expect([name, denialOf(answer)['code']]).toEqual([name, 'UpstreamTLSFailed']);
    const line = await lab.lineOf(denialOf(answer)['decision']!);
    expect([verdictOf(line), line.upstreamFailure]).toEqual([
      { verdict: 'Allowed', reason: 'UpstreamTLSFailed' },
      expect.stringContaining('TLS_error') as string,
    ]);
    expect(upstreams.length).toBe(before);
  }
});

test('TLS that is passed through: by its name, and only to the address of that name', async () => {
  const address = await lab.addressOf('other.example');
  const answer = await lab.inSandbox({ do: 'https', address, port: 9443, sni: 'other.example', path: '/p', ca: upstreamCa });
  expect(answer).toMatchObject({ status: 200, body: '9443 GET /p' });
  expect(await lineTo(`${address}:9443`, 'tls')).toMatchObject({ sni: 'other.example', verdict: { verdict: 'Allowed', route: 'EgressL4Route/default/other' } });
  const before = upstreams.length;
  const fronted = await lab.inSandbox({
    do: 'https',
    address: await lab.addressOf('web.example'),
    port: 9443,
    sni: 'other.example',
    path: '/',
    ca: upstreamCa,
  });
  expect(fronted.error).toMatch(/ECONNRESET|EPROTO/);
  expect(upstreams.length).toBe(before);
});

test('a handshake that fails is on record', async () => {
  const address = await lab.addressOf('web.example');
  const { error } = await lab.inSandbox({ do: 'https', address, port: 8443, sni: 'never.example', path: '/', ca: lab.rootPem });
  expect(error).toMatch(/ECONNRESET|EPROTO|ERR_SSL/);
  const line = await eventually('its line', async () => (await lab.accessLines()).find(({ sni, chain }) => sni === 'never.example' && chain === 'refused'));
  expect(line).toMatchObject({ reason: 'HandshakeFailed', destination: `${address}:8443`, id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string });
  // Of a connection that went well there is one line.
  await lab.inSandbox({ do: 'https', address, port: 8443, sni: 'web.example', path: '/once', ca: lab.rootPem });
  await eventually('the line of a request', async () => (await lab.accessLines()).find(({ path }) => path === '/once'));
  expect((await lab.accessLines()).filter(({ reason }) => reason === 'HandshakeFailed')).toHaveLength(1);
});

test('a name of an AI route is no L4 route’s, on any port', async () => {
  await lab.enforce(policy({ l4Routes: [l4('all', [{}])] }));
  const address = await lab.addressOf(OPENAI);
  const before = upstreams.length;
  for (const port of [443, 80, 5432, 7000])
    expect((await tcp(address, port, 'GET / HTTP/1.1\r\nhost: api.openai.com\r\n\r\n')).received ?? '').not.toMatch(/ready|got|HTTP\/1\.1 200/);
  expect(upstreams.length).toBe(before);
  // Anything else is admitted by a rule that names nothing, but for private addresses.
  expect((await tcp(await lab.addressOf('plain.example'), 5432)).received).toBe('ready\ngot hi');
  expect((await tcp(FIXTURE, 5432)).received ?? '').toBe('');
  await lab.enforce(policy());
});

test('allow-all lets through what no route matches, and never what is forbidden', async () => {
  await lab.enforce(policy({ defaultPolicy: 'allow-all', l4Routes: [] }));
  expect((await tcp(await lab.addressOf('plain.example'), 5432)).received).toBe('ready\ngot hi');
  const web = await lab.addressOf('web.example');
  expect(await lab.inSandbox({ do: 'https', address: web, port: 8443, sni: 'web.example', path: '/', ca: lab.rootPem })).toMatchObject({ status: 200 });
  const before = upstreams.length;
  for (const address of [FIXTURE, '127.0.0.1', '169.254.169.254', '10.213.0.1', pairOf(1).sandbox, '198.19.255.3'])
    expect((await tcp(address, 7000)).received ?? '').toBe('');
  expect(upstreams.length).toBe(before);
  await lab.enforce(policy());
});

test('a denied route answers HTTP with its status and text, and closes what is open', async () => {
  const web = await lab.addressOf('web.example');
  const db = await lab.addressOf('db.example');
  const open = nextAt(5432);
  const held = lab.inSandbox({ do: 'hold', address: db, port: 5432, forMs: 20_000 });
  await open;
  const before = policy().l4Routes;
  const denied = { policy: 'default/stop', status: 451, message: 'Not during the audit.' };
  await lab.enforce(policy({ l4Routes: before.map((route) => (['web', 'db'].includes(route.route.name) ? { ...route, denied } : route)) }));
  expect(await held).toMatchObject({ received: 'ready\n', error: expect.stringMatching(/ECONNRESET|closed/) as string });
  for (const answer of [
    await lab.inSandbox({ do: 'http', address: web, host: 'web.example', path: '/' }),
    await lab.inSandbox({ do: 'https', address: web, port: 8443, sni: 'web.example', path: '/', ca: lab.rootPem }),
  ]) {
    expect(answer.status).toBe(451);
    expect(denialOf(answer)).toMatchObject({ code: 'DeniedByPolicy', message: 'Not during the audit.', policy: 'EgressDenyPolicy/default/stop' });
  }
  expect((await tcp(db, 5432)).received ?? '').toBe('');
  await lab.enforce(policy());
  expect((await tcp(db, 5432)).received).toBe('ready\ngot hi');
});

test('a change that concerns others cuts nothing', async () => {
  const db = await lab.addressOf('db.example');
  const open = nextAt(5432);
  const held = lab.inSandbox({ do: 'hold', address: db, port: 5432, forMs: 3_000 });
  await open;
  await lab.enforce(policy({ l4Routes: [...policy().l4Routes, l4('new', [{ hosts: ['plain.example'] }])] }));
  await lab.enforce(policy());
  expect(await held).toEqual({ received: 'ready\n' });
});

test('a stream of events goes on through changes of its own route', async () => {
  const address = await lab.addressOf('web.example');
  const open = nextAt(80);
  const held = lab.inSandbox({ do: 'hold', address, port: 80, forMs: 4_000, send: 'GET /stream HTTP/1.1\r\nhost: web.example\r\n\r\n' });
  await open;
  const [web, ...others] = policy().l4Routes;
  await lab.enforce(policy({ l4Routes: [{ ...web!, rules: [...web!.rules, { index: 1, matches: [{ hosts: ['more.example'] }] }] }, ...others] }));
  await lab.enforce(policy());
  const { received, error } = await held;
  expect(error).toBeUndefined();
  expect(received!.match(/data: \d+/g)!.length).toBeGreaterThan(40);
});

test('egress killed: what is open goes on, what was judged still gets through, and it is back by itself', async () => {
  const db = await lab.addressOf('db.example');
  const open = nextAt(5432);
  const held = lab.inSandbox({ do: 'hold', address: db, port: 5432, forMs: 6_000 });
  await open;
  process.kill(await lab.egressPid(), 'SIGKILL');
  expect((await tcp(db, 5432)).received).toBe('ready\ngot hi');
  await eventually('names that were not asked for before', async () => {
    const { addresses } = await lab.inSandbox({ do: 'dns', name: 'c.wild.example', type: 'A' });
    return addresses?.[0]?.startsWith('198.18.') ? true : undefined;
  });
  expect((await tcp(await lab.addressOf('a.wild.example'), 5432)).received).toBe('ready\ngot hi');
  expect(await held).toEqual({ received: 'ready\n' });
});

test('Envoy killed: verdicts are asked for anew', async () => {
  const db = await lab.addressOf('db.example');
  process.kill(await lab.envoyPid(), 'SIGKILL');
  await eventually('it serves again', async () => ((await tcp(db, 5432)).received === 'ready\ngot hi' ? true : undefined));
  expect((await tcp(db, 5432, 'hi', other)).received ?? '').toBe('');
});

test('egress frozen: what was judged goes on, what was not is refused in bounded time', async () => {
  const db = await lab.addressOf('db.example');
  expect((await tcp(db, 5432)).received).toBe('ready\ngot hi');
  const wild = await lab.addressOf('b.wild.example');
  const pid = await lab.egressPid();
  process.kill(pid, 'SIGSTOP');
  try {
    expect((await tcp(db, 5432)).received).toBe('ready\ngot hi');
    expect((await tcp(wild, 5432)).received ?? '').toBe('');
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

test('a server name that is no UTF-8 is refused, and leaves and verdicts go on for everybody', async () => {
  const web = await lab.addressOf('web.example');
  const hello = clientHello(Buffer.from('a\xff.example', 'latin1'));
  await lab.inSandbox({ do: 'raw', address: web, port: 8443, send: hello.toString('hex'), hex: true });
  // Whatever Envoy has to ask for now: the leaf of a new name, a verdict, a policy.
  await lab.enforce(policy({ l4Routes: [...policy().l4Routes, l4('leaf', [{ hosts: ['plain.example'] }])] }));
  const plain = await lab.addressOf('plain.example');
  const answer = await lab.inSandbox({ do: 'https', address: plain, port: 8443, sni: 'plain.example', path: '/', ca: lab.rootPem });
  expect(denialOf(answer)).toMatchObject({ code: 'UpstreamCertificateInvalid' });
  await lab.enforce(policy());
});

test('a denial closes what is open also while Envoy refuses something else of the same change', async () => {
  const db = await lab.addressOf('db.example');
  const open = nextAt(5432);
  const held = lab.inSandbox({ do: 'hold', address: db, port: 5432, forMs: 12_000 });
  await open;
  const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  const denied = { policy: 'default/stop', status: 451, message: '' };
  const { trustBundle, l4Routes } = policy();
  const change = policy({ trustBundle: trustBundle + broken, l4Routes: l4Routes.map((route) => ({ ...route, denied })) });
  const enforced = lab.enforce(change).then(
    () => 'in force',
    () => 'refused',
  );
  expect(await held).toMatchObject({ received: 'ready\n', error: expect.stringMatching(/ECONNRESET|closed/) as string });
  expect(lab.report!.gateways[0]!.error).toMatch(/ca:upstream/);
  await lab.enforce(policy());
  expect(await enforced).toBe('refused');
});

// Last: what this agent may try in an hour is spent by it.
test('who tries too many destinations is cut off for a while, and nobody else', async () => {
  await lab.enforce(policy({ l4Routes: [...policy().l4Routes, l4('any', [{ hosts: ['plain.example'] }])] }));
  const address = await lab.addressOf('plain.example');
  const db = await lab.addressOf('db.example');
  const wild = await lab.addressOf('a.wild.example', other);
  let from = 20_000;
  await eventually(
    'it is refused at its own address',
    async () => {
      await lab.inSandbox({ do: 'ports', address, from, to: (from += 800) });
      return (await lab.accessLines()).some(({ source, reason }) => source === pairOf(0).sandbox && reason === 'TooManyDestinations') ? true : undefined;
    },
    60_000,
  );
  await eventually('another agent gets through', async () => ((await tcp(wild, 5432, 'hi', other)).received === 'ready\ngot hi' ? true : undefined));
  await eventually('it is let again', async () => ((await tcp(db, 5432)).received === 'ready\ngot hi' ? true : undefined), 20_000);
  await lab.enforce(policy());
});
