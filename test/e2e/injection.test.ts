import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run, spawnChild, stopChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import type { AccessLine, AwsKey, CredentialUse, Injection, PolicySet, ServiceAccountKey } from '#model';
import { verifySignature } from '../fixtures/bedrock/sigv4.ts';
import type { Echo, Form } from '../fixtures/echo/main.ts';
import { eventually } from './harness.ts';
import { aiRoute, denialOf, EgressLab, OPENAI } from './support/egress-lab.ts';
import { formsIn, needlesOf } from './support/canary.ts';
import type { StepAnswer } from './support/sandbox-client.ts';

/** Credentials of a whole gateway at an upstream that says back what it was sent; see EgressLab. */

const APP = join(import.meta.dirname, '..', '..');
const ECHO_IP = '10.213.9.9';
const TOKEN_IP = '10.213.9.10';
const TOKEN = 'oauth2.googleapis.com';
const ECHO = 'echo.example';
const BEDROCK = 'bedrock-runtime.eu-central-1.amazonaws.com';
const OPEN = 'open.example';
/** Each of its characters is one that some encoding changes. */
const KEY = 'sk-echo/0+9=ab~c"d\\e%f(g)h';
const AWS: AwsKey = { accessKeyId: 'AKIDECHO', secretAccessKey: 'wJalr/echo+secret', sessionToken: 'IQoJb3JpZ2luX2VjEcho/+==' };

interface Seen {
  readonly host?: string;
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

let lab: EgressLab;
let ca: string;
const seen: Seen[] = [];
const address = new Map<string, string>();

const useOf = (inject: Injection, more: Partial<CredentialUse> = {}): CredentialUse => ({
  policy: 'default/wide',
  credential: 'cred:default/wide',
  inject,
  ...more,
});

const policyOf = (credential: CredentialUse | undefined, change: Partial<PolicySet> = {}): PolicySet =>
  lab.policyOf({
    hostAliases: [
      { ip: '10.213.0.2', hostnames: [OPENAI] },
      { ip: ECHO_IP, hostnames: [ECHO, BEDROCK, OPEN] },
      { ip: TOKEN_IP, hostnames: [TOKEN] },
    ],
    trustBundle: lab.trustBundle + ca,
    l4Routes: [
      { route: { namespace: 'default', name: 'echo' }, createdAt: 1, listeners: ['tls'], rules: [{ index: 0, matches: [{ hosts: [ECHO, BEDROCK] }] }] },
      { route: { namespace: 'default', name: 'any' }, createdAt: 1, listeners: ['tls'], rules: [{ index: 0, matches: [{}] }] },
    ],
    ...(credential && { credential }),
    ...change,
  });

const enforce = (credential: CredentialUse | undefined, value: string): Promise<void> => {
  lab.values.set('cred:default/wide', value);
  return lab.enforce(policyOf(credential));
};

interface Asked {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly host?: string;
}

/** One request of the sandbox: the answer, what the upstream saw of it, and the line about it. */
const ask = async ({
  host = ECHO,
  path = '/',
  headers = {},
  ...more
}: Asked): Promise<StepAnswer & { readonly saw?: Seen; readonly line: () => Promise<AccessLine> }> => {
  const before = seen.length;
  const marked = `${path.split('?')[0]}~${Math.random().toString(36).slice(2)}`;
  const answer = await lab.inSandbox({
    do: 'https',
    address: address.get(host)!,
    sni: host,
    path: path.replace(/^[^?]*/, marked),
    headers,
    ca: lab.rootPem,
    ...more,
  });
  const saw = seen.slice(before).find(({ url }) => url.startsWith(marked));
  const line = () => eventually(`the line of ${marked}`, async () => (await lab.accessLines()).find((entry) => entry.path === marked));
  return { ...answer, ...(saw && { saw }), line };
};

/** A program of test/fixtures, in their namespace; it has said that it is ready. */
const startFixture = async (name: string, ...argv: readonly string[]): Promise<{ readonly lines: Interface; readonly stop: () => Promise<void> }> => {
  const child = spawnChild(process.execPath, [join(APP, 'test/fixtures', name, 'main.ts'), ...argv], {
    netns: lab.lab.fixture,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stop = async (): Promise<void> => void (await stopChild(child));
  lab.resources.defer(stop);
  const lines = createInterface({ input: child.stdout! });
  await once(lines, 'line');
  return { lines, stop };
};

beforeAll(async () => {
  lab = await EgressLab.start();
  for (const ip of [ECHO_IP, TOKEN_IP]) {
    await run('ip', ['address', 'add', `${ip}/32`, 'dev', 'lo'], { netns: lab.lab.fixture });
    await run('ip', ['route', 'add', `${ip}/32`, 'via', lab.lab.fixtureIp], { netns: lab.lab.stack });
  }
  const dir = join(lab.state, 'echo');
  await mkdir(dir);
  const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const root = await createAuthority({ subject: 'CN=echo', ca: { pathLength: 0 }, ...valid });
  ca = root.certPem;
  const signer = await loadSigner(root);
  for (const name of [ECHO, BEDROCK, OPEN, TOKEN]) {
    const issued = await signer.issue({ subject: '', usage: 'server', dns: [name], ...valid });
    await writeFile(join(dir, `${name}.pem`), issued.certPem);
    await writeFile(join(dir, `${name}.key`), issued.keyPem);
  }
  (await startFixture('echo', ECHO_IP, dir, ECHO, BEDROCK, OPEN)).lines.on('line', (line) => seen.push(JSON.parse(line) as Seen));
  await enforce(useOf({ kind: 'Header', header: 'authorization' }), `Bearer ${KEY}`);
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  for (const name of [ECHO, BEDROCK, OPEN]) address.set(name, await lab.addressOf(name));
});
afterAll(() => lab?.[Symbol.asyncDispose]());

test('a header: ours is there, whatever the agent brought along is not, and is noted by name', async () => {
  const mine = {
    authorization: 'Bearer mine',
    'x-api-key': 'mine',
    'X-Goog-Api-Key': 'mine',
    cookie: 'session=mine',
    'accept-encoding': 'gzip',
    'x-other': 'stays',
  };
  const { status, saw, line } = await ask({ headers: mine, path: '/?key=stays' });
  expect(status).toBe(200);
  expect(saw!.headers).toMatchObject({ authorization: `Bearer ${KEY}`, 'x-other': 'stays' });
  expect(saw!.url).toMatch(/\?key=stays$/);
  expect(JSON.stringify(saw)).not.toContain('mine');
  expect(Object.keys(saw!.headers).filter((name) => /^x-(?:clrk|envoy)|cookie|accept-encoding/.test(name))).toEqual([]);
  expect((await line()).credential).toEqual({ replaced: 'header authorization, header cookie, header x-api-key, header x-goog-api-key' });
  expect((await line()).verdict).toMatchObject({ policy: 'CredentialInjectionPolicy/default/wide' });
});

test('a placeholder is replaced, and nothing to note', async () => {
  const { saw, line } = await ask({ headers: { authorization: 'Bearer clrk-injected-by-proxy' } });
  expect(saw!.headers['authorization']).toBe(`Bearer ${KEY}`);
  expect((await line()).credential).toBeUndefined();
});

test('a name that no route names gets none', async () => {
  const { saw } = await ask({ host: OPEN, headers: { authorization: 'Bearer mine' } });
  expect(saw!.headers['authorization']).toBe('Bearer mine');
});

const PLACES: readonly Echo[] = (['raw', 'base64', 'base64url', 'in base64', 'percent', 'escaped', 'unicode'] as readonly Form[]).flatMap((form) => [
  { of: 'authorization', form, in: 'header' },
  { of: 'authorization', form, in: 'body', status: 401, bare: true },
]);
test.each<Echo>([
  ...PLACES,
  { of: 'authorization', in: 'cookies' },
  { of: 'authorization', in: 'header', status: 500 },
  { of: 'authorization', in: 'trailer' },
  { of: 'authorization', in: 'body', status: 400, pieces: 1 },
  { of: 'authorization', in: 'body', status: 400, pieces: 7, kib: 1 },
  { of: 'authorization', in: 'body', status: 503, pieces: 4096, kib: 128 },
])('an echo is taken out: %j', async (echo) => {
  const { status, body, headers, line } = await ask({ headers: { 'x-echo': JSON.stringify(echo) } });
  expect(status).toBe(echo.status ?? 200);
  expect(formsIn(Buffer.from(JSON.stringify([body, headers])), needlesOf(KEY)).filter((form) => !form.includes('half'))).toEqual([]);
  if (echo.in === 'trailer') return; // HTTP/1.1 has none at this gateway
  expect((await line()).credential).toEqual({ echoed: echo.in === 'cookies' ? 'header' : echo.in });
  if (echo.in === 'body') expect(body).toMatch(/You sent \((?:Bearer )?.*\[redacted\].*\) and again/);
  if (echo.in === 'cookies') expect(headers!['set-cookie']).toEqual(['a=1', expect.stringContaining('[redacted]'), 'c=3']);
});

test('an error that cannot be searched is withheld', async () => {
  for (const echo of [
    { of: 'authorization', in: 'body', status: 400, gzip: true },
    { of: 'authorization', in: 'body', status: 400, kib: 1024 },
  ] as const) {
    const { status, body, line } = await ask({ headers: { 'x-echo': JSON.stringify(echo) } });
    expect([status, denialOf({ body: body! })['code']]).toEqual([502, 'RedactionFailed']);
    expect((await line()).status).toBe(502);
  }
});

test('an error of megabytes is searched behind an AI route; one that would hold up the gateway for it is withheld', async () => {
  const rules = [{ index: 0, matches: [{ provider: 'custom', endpoints: [`${ECHO}/*`] }], budgets: [], notBuilt: [] }];
  const credential = useOf({ kind: 'Header', header: 'authorization' });
  await lab.enforce(policyOf(undefined, { l4Routes: [], aiRoutes: [{ ...aiRoute, rules, hosts: [ECHO], credential }] }));
  const echo = { of: 'authorization', in: 'body', status: 400, kib: 8192 } satisfies Echo;
  const searched = await ask({ headers: { 'x-echo': JSON.stringify(echo) } });
  expect([searched.status, searched.body!.length > 8192 * 1024]).toEqual([400, true]);
  expect(searched.body!.slice(-200)).toContain('[redacted]');
  const held = await ask({ headers: { 'x-echo': JSON.stringify({ ...echo, filler: '%' }) } });
  expect([held.status, denialOf({ body: held.body! })['code']]).toEqual([502, 'RedactionFailed']);
  await enforce(credential, `Bearer ${KEY}`);
});

test('redactResponses: whole bodies, whatever their status and pieces; what is encoded is withheld', async () => {
  await enforce(useOf({ kind: 'Header', header: 'authorization' }, { redactResponses: true }), `Bearer ${KEY}`);
  for (const echo of [
    { of: 'authorization', in: 'body', form: 'raw' },
    { of: 'authorization', in: 'body', form: 'in base64', pieces: 1 },
    { of: 'authorization', in: 'body', form: 'unicode', pieces: 5, kib: 16 },
    { of: 'authorization', in: 'body', form: 'percent', pieces: 65_536, kib: 200 },
    { of: 'authorization', in: 'body', form: 'base64url', status: 401, pieces: 3 },
  ] as const satisfies readonly Echo[]) {
    const { status, body, line } = await ask({ headers: { 'x-echo': JSON.stringify(echo) } });
    expect([status, body!.length > 0]).toEqual(['status' in echo ? 401 : 200, true]);
    expect(body!.slice(-200)).toMatch(/You sent \((?:Bearer )?.*\[redacted\].*\) and again \(.*\[redacted\].*\)\.$/);
    expect(formsIn(Buffer.from(body!), needlesOf(KEY)).filter((form) => !form.includes('half'))).toEqual([]);
    expect((await line()).credential).toEqual({ echoed: 'body' });
  }
  // Held and sent on at once, whoever reads how fast.
  const large = JSON.stringify({ of: 'authorization', in: 'body', kib: 240 } satisfies Echo);
  for (let n = 0; n < 30; n++) expect((await ask({ headers: { 'x-echo': large } })).status).toBe(200);
  const larger = await ask({ headers: { 'x-echo': JSON.stringify({ of: 'authorization', in: 'body', kib: 2048 } satisfies Echo) } });
  expect([larger.status, denialOf({ body: larger.body! })['code']]).toEqual([502, 'RedactionFailed']);
  const gzip = await ask({ headers: { 'x-echo': JSON.stringify({ of: 'authorization', in: 'body', gzip: true }) } });
  expect([gzip.status, denialOf({ body: gzip.body! })['code']]).toEqual([502, 'RedactionFailed']);
  const { status, body } = await ask({});
  expect([status, body]).toEqual([200, '{"ok":true}']);
  expect((await ask({ method: 'HEAD' })).status).toBe(200);
});

test('a query parameter: ours alone, encoded; every other parameter as it was', async () => {
  await enforce(useOf({ kind: 'QueryParam', name: 'key' }), KEY);
  const value = encodeURIComponent(KEY).replace(/[()]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
  const others = 'a=1%262&b=%2B+&c&=d&e=%00%ff&f=g?h';
  const { saw, line } = await ask({ path: `/x?${others}&key=mine&KEY=mine&%6bey=mine&g=h;key=mine`, headers: { authorization: 'Bearer mine' } });
  expect(saw!.url.split('?').slice(1).join('?')).toBe(`${others}&key=${value}`);
  expect(saw!.headers['authorization']).toBeUndefined();
  expect(Object.keys(saw!.headers).filter((name) => name.startsWith('x-clrk'))).toEqual([]);
  expect((await line()).credential).toEqual({ replaced: 'header authorization, query key, query key, query key, query key' });
  expect((await ask({ path: '/none' })).saw!.url).toMatch(new RegExp(`^/none~\\w+\\?key=${value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`));
  const echoed = await ask({ headers: { 'x-echo': JSON.stringify({ of: 'query:key', in: 'body', status: 404, form: 'percent' }) } });
  expect(echoed.body).toBe('You sent ([redacted]) and again ([redacted]).');
  expect(JSON.stringify(await lab.accessLines())).not.toContain('sk-echo');
});

test('AWSv4: signed requests, verified by another implementation; nothing of the agent’s is left', async () => {
  await enforce(useOf({ kind: 'AWSv4', service: 'bedrock' }), JSON.stringify(AWS));
  const headers = {
    'content-type': 'application/json',
    authorization: 'AWS4-HMAC-SHA256 Credential=MINE/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00',
    'x-amz-date': '20260101T000000Z',
    'x-amz-security-token': 'mine',
    'x-amz-user-agent': 'sdk',
  };
  for (const path of [
    '/model/anthropic.claude%3A0/invoke',
    '/model/arn%3Aaws%3Abedrock/converse?b=2&a=1&X-Amz-Signature=mine&X-Amz-Credential=mine',
    '/',
    '/a b'.replace(' ', '%20'),
  ]) {
    for (const body of ['', '{"a":"ü"}', 'x'.repeat(100_000)]) {
      const { status, saw } = await ask({ host: BEDROCK, method: 'POST', path, headers, body });
      expect(status).toBe(200);
      expect(JSON.stringify(saw)).not.toMatch(/mine/i);
      const [sent = '', query = ''] = saw!.url.split('?');
      verifySignature(
        { method: 'POST', path: sent, query, headers: { ...saw!.headers, host: BEDROCK }, body: Buffer.from(saw!.body, 'latin1') },
        { keys: AWS, region: 'eu-central-1', service: 'bedrock', now: Date.now() },
      );
      const signed = /SignedHeaders=([^,]+)/.exec(saw!.headers['authorization']!)![1]!.split(';');
      expect(Object.keys(saw!.headers).filter((name) => name.startsWith('x-amz-') && !signed.includes(name))).toEqual([]);
    }
  }
  const { body } = await ask({
    host: BEDROCK,
    headers: { 'x-echo': JSON.stringify({ of: 'x-amz-security-token', in: 'body', status: 403, form: 'escaped' }) },
  });
  expect(body).toBe('You sent ([redacted]) and again ([redacted]).');
  // A key without a session token.
  const { sessionToken: _, ...plain } = AWS;
  for (const redactResponses of [false, true]) {
    await enforce(useOf({ kind: 'AWSv4', service: 'bedrock' }, { redactResponses }), JSON.stringify(plain));
    await eventually('no session token', async () => {
      const { status, saw } = await ask({ host: BEDROCK, headers });
      return status === 200 && saw!.headers['x-amz-security-token'] === undefined ? true : undefined;
    });
    const told = await ask({ host: BEDROCK, headers: { 'x-echo': JSON.stringify({ of: 'authorization', in: 'body', status: 403 }) } });
    expect([told.status, told.body]).toEqual([403, expect.stringMatching(/Signature=\[redacted\]\) and again/)]);
  }
  // A host without a region in its name.
  const refused = await ask({});
  expect([refused.status, denialOf({ body: refused.body! })['code'], refused.saw]).toEqual([503, 'RegionUnknown', undefined]);
});

test('GCPServiceAccount: a token that the key was really exchanged for, fresh ones before it ends, none after; echoes are taken out', async () => {
  const email = 'runner@p.iam.gserviceaccount.com';
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const accounts = join(lab.state, 'accounts.json');
  await writeFile(accounts, JSON.stringify({ [email]: publicKey.export({ type: 'spki', format: 'pem' }) }));
  const account: ServiceAccountKey = { email, privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), tokenUri: `https://${TOKEN}/token` };
  // Nobody there yet: refused, with the reason.
  await enforce(useOf({ kind: 'GCPServiceAccount' }), JSON.stringify(account));
  const refused = await eventually('no token', async () => {
    const answer = await ask({});
    return denialOf({ body: answer.body! })['code'] === 'TokenUnavailable' ? answer : undefined;
  });
  expect([refused.status, refused.saw]).toEqual([503, undefined]);
  const endpoint = await startFixture('google-token', TOKEN_IP, ...['pem', 'key'].map((type) => join(lab.state, 'echo', `${TOKEN}.${type}`)), accounts, '6');
  const bearer = (n: number) => `Bearer ya29.minted-${n}-for-runner`;
  const first = await eventually('a token', async () => (await ask({ headers: { authorization: 'Bearer mine' } })).saw, 20_000);
  expect(first.headers['authorization']).toBe(bearer(0));
  const echoed = await ask({ headers: { 'x-echo': JSON.stringify({ of: 'authorization', in: 'body', status: 401, form: 'base64', bare: true }) } });
  expect(echoed.body).toBe('You sent ([redacted]) and again ([redacted]).');
  await eventually('the next token', async () => ((await ask({})).saw?.headers['authorization'] === bearer(1) ? true : undefined), 10_000);
  await endpoint.stop();
  const ended = await eventually('the end of the last token', async () => ((await ask({})).status === 503 ? true : undefined), 15_000);
  expect(ended).toBe(true);
  // Another key, of nobody the endpoint knows.
  await startFixture('google-token', TOKEN_IP, ...['pem', 'key'].map((type) => join(lab.state, 'echo', `${TOKEN}.${type}`)), accounts, '3600');
  await enforce(useOf({ kind: 'GCPServiceAccount' }), JSON.stringify({ ...account, email: 'nobody@p.iam.gserviceaccount.com' }));
  await eventually('a refusal', async () => (denialOf({ body: (await ask({})).body! })['code'] === 'TokenRefused' ? true : undefined), 10_000);
  await enforce(useOf({ kind: 'GCPServiceAccount' }), JSON.stringify(account));
  await eventually('the token of the right key', async () => ((await ask({})).saw?.headers['authorization'] === bearer(0) ? true : undefined), 10_000);
  expect(JSON.stringify([await lab.accessLines(), await lab.egressLines()])).not.toContain('ya29');
}, 90_000);

test('rotation is in force at once, of what travels by secret and of what is in the cluster', async () => {
  await enforce(useOf({ kind: 'AWSv4', service: 'bedrock' }), JSON.stringify({ ...AWS, accessKeyId: 'AKIDNEXT' }));
  await eventually('the next key', async () => ((await ask({ host: BEDROCK })).saw?.headers['authorization']?.includes('AKIDNEXT') ? true : undefined));
  const header = useOf({ kind: 'Header', header: 'x-key' });
  await enforce(header, 'first');
  expect((await ask({})).saw!.headers['x-key']).toBe('first');
  await enforce(header, 'second');
  await eventually('the second value', async () => ((await ask({})).saw?.headers['x-key'] === 'second' ? true : undefined));
});

test('a value that is too short to be a secret is injected, and not looked for', async () => {
  for (const redactResponses of [false, true]) {
    await enforce(useOf({ kind: 'Header', header: 'x-tenant' }, { redactResponses }), '4');
    await eventually('it is there', async () => ((await ask({})).saw?.headers['x-tenant'] === '4' ? true : undefined));
    const { status, body, line } = await ask({ headers: { 'x-echo': JSON.stringify({ of: 'x-tenant', in: 'body', status: 404 }) } });
    expect([status, body]).toEqual([404, 'You sent (4) and again (4).']);
    expect((await line()).credential).toBeUndefined();
  }
});

test('a credential that cannot be injected refuses, and says why', async () => {
  await lab.enforce(policyOf(useOf({ kind: 'Header', header: 'x-key' }, { missing: 'SecretNotFound' })));
  const { status, body, saw } = await ask({});
  expect([status, saw]).toEqual([503, undefined]);
  expect(denialOf({ body: body! })).toMatchObject({ code: 'SecretNotFound', policy: 'CredentialInjectionPolicy/default/wide' });
  expect((await ask({ host: OPEN })).status).toBe(200);
});
