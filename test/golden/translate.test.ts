import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '#lib';
import type { PolicySet } from '#model';
import { encodeResource, type ResourceJson } from '#wire/xds';
import { bootstrap, SAFE_OPERATORS, translate, type TranslateInput } from '../../src/egress/translate/index.ts';
import { sliceOf } from '../../src/egress/slices.ts';
import { serviceName } from '../../src/egress/upstreams.ts';

/** `GOLDEN=write` writes the expectations anew; look at the difference before committing it. */
const rewrite = process.env['GOLDEN'] === 'write';
const folder = join(import.meta.dirname, 'translate');
const cases = await readdir(folder);
const envoy = join(process.env['CLRK_TOOLS'] ?? join(process.env['CLRK_DIR'] ?? join(homedir(), '.clrk'), 'tools'), 'bin', 'envoy');

interface Case {
  readonly policy: PolicySet;
  readonly credentials: Readonly<Record<string, string>>;
  readonly ownAddresses: readonly string[];
}

const inputOf = async (name: string): Promise<TranslateInput> => {
  const { policy, credentials, ownAddresses } = JSON.parse(await readFile(join(folder, name, 'in.json'), 'utf8')) as Case;
  const where = { index: 1, slice: sliceOf(1), netns: '/proc/self/ns/net', accessLog: '/dev/null', relays: [], names: [], serviceOf: serviceName, forbidden: () => '' };
  return { policy, credentials: { values: new Map(Object.entries(credentials)), unavailable: new Map() }, ownAddresses, ...where };
};

const NODE = { gateway: 'team-a/gw', adminSocket: '/run/w0/envoy-1.admin', xdsSocket: '/run/w0/xds.sock', engineSocket: '/run/w0/engine.sock' };

test.each(cases)('%s: resources are what is written down, and all of their fields exist', async (name) => {
  const translated = translate(await inputOf(name));
  const path = join(folder, name, 'out.json');
  const text = `${JSON.stringify(translated, undefined, 2)}\n`;
  if (rewrite) await writeFile(path, text);
  expect(JSON.parse(text)).toEqual(JSON.parse(await readFile(path, 'utf8')));
  for (const resource of [...translated.clusters, ...translated.listeners, ...translated.routes]) encodeResource(resource);
});

/** A resource where its type is known by its place. */
const untyped = (resource: ResourceJson): object => Object.fromEntries(Object.entries(resource).filter(([field]) => field !== '@type'));

/**
 * The resources as one static configuration: routes, which come by RDS, put in place, and secrets from a file (Envoy dies of
 * a static cluster that waits for ADS, in validation mode).
 */
const staticConfig = async (name: string, secrets: string): Promise<string> => {
  const { clusters, listeners, routes } = translate(await inputOf(name));
  const config = bootstrap(NODE) as { static_resources: { clusters: object[]; listeners?: object[] } };
  config.static_resources.clusters.push(...clusters.map(untyped));
  config.static_resources.listeners = listeners.map(untyped);
  return JSON.stringify(config, (_, value: { rds?: { route_config_name: string }; sds_config?: object; eds_cluster_config?: object } | undefined) => {
    if (value?.eds_cluster_config) {
      const { eds_cluster_config: _endpoints, ...rest } = value;
      return { ...rest, type: 'STATIC' };
    }
    if (value?.sds_config) return { ...value, sds_config: { resource_api_version: 'V3', path_config_source: { path: secrets } } };
    if (!value?.rds) return value;
    const { rds, ...rest } = value;
    return { ...rest, route_config: untyped(routes.find((route) => route['name'] === rds.route_config_name)!) };
  });
};

test.each(cases)('%s: Envoy accepts it', async (name) => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  try {
    const file = join(dir, 'envoy.json');
    const secrets = join(dir, 'secrets.json');
    await writeFile(secrets, '{}');
    await writeFile(file, await staticConfig(name, secrets));
    await run(envoy, ['--mode', 'validate', '--reject-unknown-dynamic-fields', '-l', 'warn', '-c', file], { timeoutMs: 15_000 });
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('formats of records and answers use safe operators only: others hold what is injected', async () => {
  const operators = (text: string): string[] => [...text.matchAll(/%([A-Z_]+(?:\((?:[^()]|%[a-zA-Z0-9])*\))?)%/g)].map((match) => match[1]!);
  const ofVerdicts = ['reason', 'message', 'status', 'policy', 'route', 'revision'].map((key) => `METADATA(CLUSTER:clrk:${key})`);
  const ofKeys = ['DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(20)', 'START_TIME(%Y%j%H)'];
  const allowed = new Set([...SAFE_OPERATORS, ...ofVerdicts, ...ofKeys, 'LOCAL_REPLY_BODY', 'METADATA(ROUTE:clrk:policy)', 'METADATA(ROUTE:clrk:message)']);
  for (const name of cases) {
    const used = new Set(operators(JSON.stringify(translate(await inputOf(name)).listeners)));
    expect(used.has('STREAM_ID')).toBe(true);
    expect([...used].filter((operator) => !allowed.has(operator))).toEqual([]);
  }
});

test('credentials go to their host alone, and a route without its credential has no way out', async () => {
  const one = translate(await inputOf('one-route'));
  expect(JSON.stringify(one.clusters).match(/"cred:[^"]+"/g)).toEqual(['"cred:team-a/key"']);
  expect(one.secrets).toEqual(['ca:upstream', 'cred:team-a/key']);
  const impeded = translate(await inputOf('impeded'));
  expect(impeded.clusters.map((cluster) => cluster['name'])).toEqual(['nowhere']);
  // No credential; what upstreams are verified with is there in any case, for verdicts to come.
  expect(impeded.secrets).toEqual(['ca:upstream']);
});

interface HeaderMatch {
  readonly name: string;
  readonly present_match?: boolean;
  readonly invert_match?: boolean;
  readonly range_match?: object;
  readonly string_match?: { readonly exact?: string; readonly safe_regex?: { readonly regex: string } };
}
const holds = ({ name, present_match: present, invert_match: inverted = false, string_match: text }: HeaderMatch, headers: Readonly<Record<string, string>>): boolean => {
  const value = headers[name];
  if (value === undefined) return false;
  return (present ?? (text?.exact === undefined ? new RegExp(text?.safe_regex?.regex ?? '$^').test(value) : text.exact === value)) !== inverted;
};

test('the only route of a host takes nothing that the engine gave to a route Envoy does not have yet', async () => {
  const [l7] = translate(await inputOf('one-route')).routes as unknown as [
    { virtual_hosts: { routes: { name: string; match: { headers?: readonly HeaderMatch[] }; direct_response?: { status: number } }[] }[] },
  ];
  const [{ routes }] = l7.virtual_hosts as [(typeof l7.virtual_hosts)[number]];
  const taker = (headers: Readonly<Record<string, string>>) =>
    routes.find(({ match }) => (match.headers ?? []).every((matcher) => holds(matcher, { ':method': 'POST', ...headers })))!;
  const own = taker({}).name;
  expect(own).toMatch(/^AIProviderRoute\//);
  expect(taker({ 'x-clrk-route': own }).name).toBe(own);
  expect(taker({ 'x-clrk-route': 'MCPRoute/team-a/other' }).direct_response?.status).toBe(503);
});
