import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { spawnChild, stopChild } from '#lib';
import type { PolicyListener } from '#model';
import { verdictOf } from '../../src/telemetry/recorder/verdict.ts';
import { eventually } from '../e2e/harness.ts';
import { aiRoute, CHAT, denialOf, EgressLab, JSON_BODY, OPENAI } from '../e2e/support/egress-lab.ts';
import type { StepAnswer } from '../e2e/support/sandbox-client.ts';
import { startUpstreams, type UpstreamServers } from '../e2e/support/upstream-servers.ts';

/** Admitted names that lead to addresses nobody may dial, from the first answer on or later: refused, and said so. */

const FIXTURE = '10.213.0.2';
const METADATA = '169.254.169.254';
const LISTENERS: readonly PolicyListener[] = [
  { name: 'tls', shape: 'tls-terminate', port: 443 },
  { name: 'tls8', shape: 'https', port: 8443 },
  { name: 'pass', shape: 'tls-passthrough', port: 9443 },
  { name: 'web', shape: 'http', port: 80 },
  { name: 'tcp', shape: 'tcp' },
];
const NAMES = ['web.example', 'bad.example', 'other.example'];

let lab: EgressLab;
let upstreams: UpstreamServers;
const zone: Record<string, readonly string[]> = {
  'web.example': [FIXTURE],
  'other.example': [FIXTURE],
  'bad.example': [METADATA],
  [OPENAI]: ['127.0.0.1', METADATA],
};

/** From now on these are the addresses of a name; `egress` asks every 5 s. */
const resolveTo = async (name: string, ...addresses: readonly string[]): Promise<void> => {
  zone[name] = addresses;
  const file = join(lab.state, 'zone.json');
  await writeFile(`${file}.new`, JSON.stringify(zone));
  await rename(`${file}.new`, file);
};

beforeAll(async () => {
  lab = await EgressLab.start({ listeners: LISTENERS, aiRoutes: [aiRoute] }, `${FIXTURE}:53`);
  await resolveTo('web.example', FIXTURE);
  const argv = [join(import.meta.dirname, '../e2e/support/name-server.ts'), FIXTURE, join(lab.state, 'zone.json')];
  const names = spawnChild(process.execPath, argv, { netns: lab.lab.fixture, stdio: ['ignore', 'pipe', 'inherit'] });
  lab.resources.defer(async () => void (await stopChild(names)));
  await once(createInterface({ input: names.stdout! }), 'line');
  upstreams = lab.resources.use(await startUpstreams(join(lab.state, 'upstreams'), lab.lab.fixture, FIXTURE));
  await lab.enforce(
    lab.policyOf({
      listeners: LISTENERS,
      hostAliases: [],
      trustBundle: lab.trustBundle + upstreams.ca,
      l4Routes: [
        {
          route: { namespace: 'default', name: 'names' },
          createdAt: 1,
          listeners: LISTENERS.map(({ name }) => name),
          rules: [{ index: 0, matches: [{ hosts: NAMES, cidrs: [`${FIXTURE}/32`] }] }],
        },
      ],
    }),
  );
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
});
afterAll(() => lab?.[Symbol.asyncDispose]());

const FORBIDDEN = { verdict: 'Denied', reason: 'ForbiddenAddress' };
const tcp = (address: string, port: number): Promise<StepAnswer> => lab.inSandbox({ do: 'raw', address, port, send: 'hi', until: 'got hi' });
const plain = async (name: string): Promise<StepAnswer> => lab.inSandbox({ do: 'http', address: await lab.addressOf(name), host: name, path: '/' });
const secure = async (name: string): Promise<StepAnswer> =>
  lab.inSandbox({ do: 'https', address: await lab.addressOf(name), port: 8443, sni: name, path: '/', ca: lab.rootPem });
const chat = async (): Promise<StepAnswer> =>
  lab.inSandbox({
    do: 'https',
    address: await lab.addressOf(OPENAI),
    sni: OPENAI,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: JSON_BODY,
    body: CHAT,
    ca: lab.rootPem,
  });
const lineTo = (destination: string, chain: string) =>
  eventually(`the line of ${destination}`, async () => (await lab.accessLines()).findLast((line) => line.destination === destination && line.chain === chain));
const expectForbidden = async (answer: StepAnswer, route: string): Promise<void> => {
  expect([answer.status, denialOf(answer)]).toEqual([
    403,
    expect.objectContaining({ code: 'ForbiddenAddress', route, message: expect.stringContaining(METADATA) as string }) as object,
  ]);
  expect(verdictOf(await lab.lineOf(denialOf(answer)['decision']!))).toEqual(FORBIDDEN);
};

test('from the first connection on: 403 with the reason over HTTP, closed otherwise, and the record says the same', async () => {
  await expectForbidden(await plain('bad.example'), 'EgressL4Route/default/names');
  await expectForbidden(await secure('bad.example'), 'EgressL4Route/default/names');
  const address = await lab.addressOf('bad.example');
  expect((await tcp(address, 5432)).received ?? '').toBe('');
  expect(verdictOf(await lineTo(`${address}:5432`, 'tcp'))).toEqual(FORBIDDEN);
  expect((await lab.inSandbox({ do: 'https', address, port: 9443, sni: 'bad.example', path: '/', ca: upstreams.ca })).status).toBeUndefined();
  expect(verdictOf(await lineTo(`${address}:9443`, 'tls'))).toEqual(FORBIDDEN);
});

test('later, and back: new connections are judged by where the name leads now, an open one stays', async () => {
  expect(await plain('web.example')).toMatchObject({ status: 200 });
  expect(await secure('web.example')).toMatchObject({ status: 200 });
  const address = await lab.addressOf('web.example');
  const before = upstreams.seen.length;
  const held = lab.inSandbox({ do: 'hold', address, port: 5432, forMs: 15_000 });
  await eventually('it is open', () => (upstreams.seen.slice(before).some(({ port }) => port === 5432) ? true : undefined));
  await resolveTo('web.example', METADATA);
  const denied = await eventually('it is refused', async () => ((await plain('web.example')).status === 403 ? plain('web.example') : undefined), 12_000);
  await expectForbidden(denied, 'EgressL4Route/default/names');
  await expectForbidden(await secure('web.example'), 'EgressL4Route/default/names');
  expect((await tcp(address, 5432)).received ?? '').toBe('');
  expect(await held).toEqual({ received: 'ready\n' });
  await resolveTo('web.example', FIXTURE);
  await eventually('it is let through again', async () => ((await plain('web.example')).status === 200 ? true : undefined), 12_000);
  expect(await secure('web.example')).toMatchObject({ status: 200 });
  expect((await tcp(address, 5432)).received).toBe('ready\ngot hi');
});

test('a provider: refused by its route, and let through again', async () => {
  await expectForbidden(await chat(), 'AIProviderRoute/default/llm');
  // Public, and nobody is there.
  await resolveTo(OPENAI, '203.0.113.9');
  const answer = await eventually(
    'it is let through',
    async () => {
      const said = await chat();
      return said.status === 403 ? undefined : said;
    },
    12_000,
  );
  expect([answer.status, denialOf(answer)['code']]).toEqual([503, 'UpstreamUnavailable']);
  await resolveTo(OPENAI, METADATA);
  await eventually('it is refused again', async () => ((await chat()).status === 403 ? true : undefined), 12_000);
  await expectForbidden(await chat(), 'AIProviderRoute/default/llm');
});
