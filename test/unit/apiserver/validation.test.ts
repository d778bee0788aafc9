import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KINDS } from '#api';
import { pathOf } from '../../parity/judge.ts';
import { CHANGES, LOOSE, refusedFields, STORED, TIGHTENED } from '../../parity/tighten.ts';
import { agent, ROOT, startServer, type TestClient, type TestServer } from './harness.ts';

let server: TestServer;
let admin: TestClient;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
});
afterAll(() => server[Symbol.asyncDispose]());

const PLURALS: Readonly<Record<string, string>> = {
  TaskAgent: 'taskagents',
  AgentSandboxRevision: 'agentsandboxrevisions',
  WorkerPool: 'workerpools',
  EgressGateway: 'egressgateways',
  AIProviderRoute: 'aiproviderroutes',
  CredentialInjectionPolicy: 'credentialinjectionpolicies',
  DaemonAgent: 'daemonagents',
  MCPRoute: 'mcproutes',
  EgressL4Route: 'egressl4routes',
  RateLimitPolicy: 'ratelimitpolicies',
  EgressDenyPolicy: 'egressdenypolicies',
  LoggingPolicy: 'loggingpolicies',
};
const create = (kind: string, spec: unknown, name = 'x', query = '?dryRun=All&fieldValidation=Strict') =>
  admin.call('POST', `${ROOT}/${PLURALS[kind]}${query}`, { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind, metadata: { name }, spec });

const listener = { name: 'l', protocol: 'TLS', tls: { mode: 'Terminate' } };
const template = { spec: { image: 'a' } };
const task = { workerPoolRef: 'p', template };
const route = { parentRefs: [{ name: 'g' }], rules: [{}] };
const deny = { targetRef: { group: 'clrk.apoxy.dev', kind: 'MCPRoute', name: 'r' } };
const mcpFilter = (toolPolicy: object) => ({ ...route, rules: [{ filters: [{ type: 'ToolPolicy', toolPolicy }] }] });
const l4Match = (match: object) => ({ ...route, rules: [{ matches: [match] }] });
const policy = { parentRefs: [{ kind: 'AIProviderRoute', name: 'r' }], secretRef: { name: 's' }, target: 'Header', headerName: 'authorization' };

test.each<[string, string, object, object]>([
  ['TaskAgent', 'timeout', task, { timeout: '100s' }],
  [
    'WorkerPool',
    'replicas and template',
    { template: { image: 'i' } },
    { replicas: 1, template: { image: 'i', imagePullPolicy: 'IfNotPresent', serviceAccountName: 'clrk-worker' } },
  ],
  ['EgressGateway', 'policy', { listeners: [listener] }, { defaultPolicy: 'deny-all', dns: undefined }],
  ['EgressGateway', 'lookup family, when dns is there', { listeners: [listener], dns: {} }, { dns: { lookupFamily: 'V4Preferred' } }],
  ['CredentialInjectionPolicy', 'secret key', policy, { secretKey: 'token' }],
  ['DaemonAgent', 'restart policy', task, { restartPolicy: 'Always' }],
  ['RateLimitPolicy', 'scope', { requests: 1, window: '1s' }, { scope: 'PerAgent' }],
  ['EgressDenyPolicy', 'no response of its own', deny, { denyResponse: undefined }],
  ['EgressDenyPolicy', 'status, when a response is there', { ...deny, denyResponse: {} }, { denyResponse: { statusCode: 403 } }],
  [
    'EgressGateway',
    'captured bytes, when bodies are captured',
    { listeners: [listener], otlp: { captureBody: {} } },
    { otlp: { captureBody: { maxBytes: 65_536 } } },
  ],
  [
    'MCPRoute',
    'scope of each limit',
    mcpFilter({ rateLimits: [{ requests: 1, window: '1m' }] }),
    mcpFilter({ rateLimits: [{ requests: 1, window: '1m', scope: 'PerAgent' }] }),
  ],
])('%s gets its defaults: %s', async (kind, _, spec, expected) => {
  const { status, body } = await create(kind, spec);
  expect(body.message).toBeUndefined();
  expect(status).toBe(201);
  for (const [field, value] of Object.entries(expected)) expect(body.spec[field]).toEqual(value);
});

const REQUIRED = 'Required value';
test.each<[string, unknown, string, string]>([
  ['TaskAgent', undefined, 'spec', REQUIRED],
  ['TaskAgent', { template }, 'spec.workerPoolRef', REQUIRED],
  ['TaskAgent', { ...task, workerPoolRef: '' }, 'spec.workerPoolRef', 'Invalid value: "": spec.workerPoolRef in body should be at least 1 chars long'],
  ['TaskAgent', { ...task, workerPoolRef: 3 }, 'spec.workerPoolRef', 'Invalid value: "integer": spec.workerPoolRef in body must be of type string: "integer"'],
  ['TaskAgent', { ...task, template: {} }, 'spec.template.spec', REQUIRED],
  ['TaskAgent', { ...task, template: { spec: {} } }, 'spec.template.spec.image', REQUIRED],
  ...['has space', 'http://x', '/a', 'a/', 'a//b', '-a', ''].map(
    (image) => ['TaskAgent', { ...task, template: { spec: { image } } }, 'spec.template.spec.image', 'Invalid value'] as [string, unknown, string, string],
  ),
  ['TaskAgent', { ...task, timeout: '0s' }, 'spec.timeout', 'Invalid value: "0s": must be greater than zero'],
  ['TaskAgent', { ...task, timeout: '-1m' }, 'spec.timeout', 'Invalid value: "-1m": must be greater than zero'],
  ['TaskAgent', { ...task, timeout: '1d' }, 'spec.timeout', 'Invalid value: "1d": spec.timeout in body should match'],
  ['TaskAgent', { ...task, maxConcurrent: -1 }, 'spec.maxConcurrent', 'Invalid value: -1: spec.maxConcurrent in body should be greater than or equal to 0'],
  [
    'TaskAgent',
    { ...task, maxConcurrent: 2 ** 31 },
    'spec.maxConcurrent',
    'Invalid value: 2147483648: spec.maxConcurrent in body should be less than or equal to 2147483647',
  ],
  ['TaskAgent', { ...task, maxConcurrent: 1.5 }, 'spec.maxConcurrent', 'must be of type integer: "number"'],
  ['TaskAgent', { ...task, delivery: { mode: 'X' } }, 'spec.delivery.mode', 'Unsupported value: "X": supported values: "Stdin", "Metadata"'],
  ['TaskAgent', { ...task, egressRefs: [{ gatewayRef: '' }] }, 'spec.egressRefs[0].gatewayRef', 'should be at least 1 chars long'],
  ['TaskAgent', { ...task, egressRefs: 'x' }, 'spec.egressRefs', 'must be of type array: "string"'],
  [
    'TaskAgent',
    { ...task, template: { spec: { image: 'a', env: [{ name: 'A' }, { name: 'A' }] } } },
    'spec.template.spec.env[1]',
    'Duplicate value: {"name":"A"}',
  ],
  ['TaskAgent', { ...task, schedule: '' }, 'spec.schedule', 'at least 1 chars long'],
  ['TaskAgent', { ...task, schedule: 'every day' }, 'spec.schedule', 'must be a schedule: it needs five fields'],
  ['TaskAgent', { ...task, schedule: '61 * * * *' }, 'spec.schedule', 'must be a schedule'],
  ['TaskAgent', { ...task, schedule: '* * * * * *' }, 'spec.schedule', 'must be a schedule: it needs five fields'],
  ['TaskAgent', { ...task, schedule: '@every 0s' }, 'spec.schedule', '@every needs a duration'],
  ['TaskAgent', { ...task, schedule: '@daily', timeZone: 'Mars/Base' }, 'spec.timeZone', 'must be an IANA time zone'],
  ['TaskAgent', { ...task, concurrencyPolicy: 'Queue' }, 'spec.concurrencyPolicy', 'Unsupported value: "Queue"'],
  ['TaskAgent', { ...task, identity: {} }, 'spec.identity.extractors', REQUIRED],
  ['TaskAgent', { ...task, identity: { extractors: [] } }, 'spec.identity.extractors', 'at least 1 items'],
  ['TaskAgent', { ...task, identity: { extractors: [{ type: 'Header' }] } }, 'spec.identity.extractors[0].header', REQUIRED],
  ['TaskAgent', { ...task, identity: { extractors: [{ type: 'JWT', jwt: { claim: 'sub' } }] } }, 'spec.identity.extractors[0].jwt.field', REQUIRED],
  ['TaskAgent', { ...task, state: { backend: 'postgres' } }, 'spec.state.backend', 'Unsupported value: "postgres"'],
  ...['relative', '/', '/a/../b', '/a//b', '/a/', '/etc/x', '/tmp', '/usr/lib/x'].map(
    (mountPath) => ['TaskAgent', { ...task, state: { mountPath } }, 'spec.state.mountPath', 'must'] as [string, unknown, string, string],
  ),
  [
    'TaskAgent',
    { ...task, template: { spec: { image: 'a', env: [{ name: 'A', valueFrom: {} }] } } },
    'spec.template.spec.env[0].valueFrom',
    'exactly one of secretKeyRef and configMapKeyRef',
  ],
  ['WorkerPool', { template: { image: 'i', extraVolumes: [{ name: 'run' }] } }, 'spec.template.extraVolumes[0].name', 'this name is reserved'],
  [
    'WorkerPool',
    { template: { image: 'i', extraVolumeMounts: [{ name: 'v', mountPath: '/srv' }] } },
    'spec.template.extraVolumeMounts[0].name',
    'must be one of extraVolumes',
  ],
  [
    'WorkerPool',
    { template: { image: 'i', extraVolumes: [{ name: 'v' }], extraVolumeMounts: [{ name: 'v', mountPath: '/var/lib' }] } },
    'spec.template.extraVolumeMounts[0].mountPath',
    'must not be at, above or below /var/lib/clrk/state',
  ],
  [
    'AIProviderRoute',
    { ...route, rules: [{ filters: [{ type: 'TokenBudget', tokenBudget: { maxCostPerDay: '-1' } }] }] },
    'spec.rules[0].filters[0].tokenBudget.maxCostPerDay',
    'should match',
  ],
  ['WorkerPool', { template: {} }, 'spec.template.image', REQUIRED],
  ['WorkerPool', { replicas: -1, template: { image: 'a' } }, 'spec.replicas', 'greater than or equal to 0'],
  ['EgressGateway', {}, 'spec.listeners', REQUIRED],
  ['EgressGateway', { listeners: [] }, 'spec.listeners', 'should have at least 1 items'],
  ['EgressGateway', { listeners: [listener, listener] }, 'spec.listeners[1]', 'Duplicate value: {"name":"l"}'],
  ['EgressGateway', { listeners: [{ name: 'l', protocol: 'SCTP' }] }, 'spec.listeners[0].protocol', 'Unsupported value: "SCTP"'],
  ['EgressGateway', { listeners: [{ name: 'x'.repeat(64), protocol: 'TCP' }] }, 'spec.listeners[0].name', 'Too long'],
  ['EgressGateway', { listeners: [{ name: 'l', protocol: 'TLS', tls: { mode: 'Sniff' } }] }, 'spec.listeners[0].tls.mode', 'Unsupported value: "Sniff"'],
  [
    'EgressGateway',
    { listeners: [{ name: 'l', protocol: 'UDP', tls: { mode: 'Terminate' } }] },
    'spec.listeners[0].tls',
    'Forbidden: must not be set for protocol TCP or UDP',
  ],
  ['EgressGateway', { listeners: [listener], defaultPolicy: 'maybe' }, 'spec.defaultPolicy', 'Unsupported value: "maybe"'],
  ['EgressGateway', { listeners: [listener], dns: { lookupFamily: 'V5' } }, 'spec.dns.lookupFamily', 'Unsupported value: "V5"'],
  [
    'EgressGateway',
    { listeners: [listener], upstreamTLS: { hostAliases: [{ ip: '1.2.3.999', hostnames: ['a'] }] } },
    'spec.upstreamTLS.hostAliases[0].ip',
    'must be an IP address',
  ],
  ['AIProviderRoute', { ...route, parentRefs: [] }, 'spec.parentRefs', 'should have at least 1 items'],
  ['AIProviderRoute', { ...route, rules: [] }, 'spec.rules', 'should have at least 1 items'],
  ['AIProviderRoute', { ...route, rules: [{ matches: [{ provider: 'nobody' }] }] }, 'spec.rules[0].matches[0].provider', 'must be one of openai'],
  ['AIProviderRoute', { ...route, rules: [{ filters: [{ type: 'Nope' }] }] }, 'spec.rules[0].filters[0].type', 'Unsupported value: "Nope"'],
  [
    'AIProviderRoute',
    { ...route, rules: [{ filters: [{ type: 'TokenBudget' }] }] },
    'spec.rules[0].filters[0].tokenBudget',
    'Required value: must be set when type is TokenBudget',
  ],
  [
    'AIProviderRoute',
    { ...route, rules: [{ filters: [{ type: 'ExtensionRef', extensionRef: { group: 'other', kind: 'K', name: 'n' } }] }] },
    'spec.rules[0].filters[0].extensionRef.group',
    'group must be clrk.apoxy.dev',
  ],
  ['CredentialInjectionPolicy', { ...policy, parentRefs: undefined }, 'spec.parentRefs', 'Required value: at least one of parentRefs and targetRefs'],
  ['CredentialInjectionPolicy', { ...policy, parentRefs: [{ kind: 'TaskAgent', name: 'r' }] }, 'spec.parentRefs[0].kind', 'Unsupported value: "TaskAgent"'],
  ['CredentialInjectionPolicy', { ...policy, parentRefs: [{ group: 'x', kind: 'MCPRoute', name: 'r' }] }, 'spec.parentRefs[0].group', 'Unsupported value: "x"'],
  [
    'CredentialInjectionPolicy',
    { ...policy, targetRefs: [{ kind: 'EgressGateway', name: 'r', sectionName: 's' }] },
    'spec.targetRefs[0].sectionName',
    'Forbidden',
  ],
  ['CredentialInjectionPolicy', { ...policy, headerName: undefined }, 'spec.headerName', 'Required value: must be set when target is Header'],
  ['CredentialInjectionPolicy', { ...policy, headerName: 'a\nb' }, 'spec.headerName', 'should match'],
  [
    'CredentialInjectionPolicy',
    { ...policy, target: 'QueryParam', queryParamName: 'k' },
    'spec.headerName',
    'Forbidden: must not be set unless target is Header',
  ],
  ['CredentialInjectionPolicy', { ...policy, providerAuth: { type: 'AWSv4' } }, 'spec.providerAuth', 'Forbidden'],
  [
    'CredentialInjectionPolicy',
    { ...policy, headerName: undefined, target: 'ProviderAuth', providerAuth: { type: 'Kerberos' } },
    'spec.providerAuth.type',
    'Unsupported value: "Kerberos": supported values: "AWSv4", "GCPServiceAccount"',
  ],
  ['DaemonAgent', { ...task, restartPolicy: 'Sometimes' }, 'spec.restartPolicy', 'Unsupported value: "Sometimes"'],
  ['DaemonAgent', { ...task, maxRestarts: -1 }, 'spec.maxRestarts', 'greater than or equal to 0'],
  ['DaemonAgent', { ...task, maxLifetimeSeconds: -1 }, 'spec.maxLifetimeSeconds', 'greater than or equal to 0'],
  ['RateLimitPolicy', { requests: 0, window: '1s' }, 'spec.requests', 'greater than or equal to 1'],
  ['RateLimitPolicy', { requests: 1 }, 'spec.window', REQUIRED],
  ['RateLimitPolicy', { requests: 1, window: '0s' }, 'spec.window', 'must be greater than zero'],
  ['RateLimitPolicy', { requests: 1, window: '1s', scope: 'PerHour' }, 'spec.scope', 'Unsupported value: "PerHour"'],
  ['EgressDenyPolicy', {}, 'spec', 'exactly one of targetRef and targetRefs must be set'],
  ['EgressDenyPolicy', { ...deny, targetRefs: [deny.targetRef] }, 'spec', 'exactly one of targetRef and targetRefs must be set'],
  ['EgressDenyPolicy', { targetRefs: [] }, 'spec.targetRefs', 'Required value: at least one target'],
  ['EgressDenyPolicy', { targetRef: { ...deny.targetRef, kind: 'EgressGateway' } }, 'spec.targetRef.kind', 'Unsupported value: "EgressGateway"'],
  ['EgressDenyPolicy', { targetRefs: [{ ...deny.targetRef, group: 'x' }] }, 'spec.targetRefs[0].group', 'Unsupported value: "x"'],
  ['EgressDenyPolicy', { ...deny, denyResponse: { statusCode: 200 } }, 'spec.denyResponse.statusCode', 'greater than or equal to 400'],
  ['MCPRoute', { ...route, hostnames: ['Upper.example'] }, 'spec.hostnames[0]', 'should match'],
  ['MCPRoute', { ...route, hostnames: ['10.0.0.1'] }, 'spec.hostnames[0]', 'spec.hostnames[0] in body should match'],
  ['MCPRoute', { ...route, rules: [{ filters: [{ type: 'TokenBudget' }] }] }, 'spec.rules[0].filters[0].type', 'Unsupported value: "TokenBudget"'],
  ['MCPRoute', { ...route, rules: [{ filters: [{ type: 'ToolPolicy' }] }] }, 'spec.rules[0].filters[0].toolPolicy', REQUIRED],
  [
    'MCPRoute',
    { ...route, rules: [{ filters: [{ type: 'ExtensionRef', extensionRef: { group: 'clrk.apoxy.dev', kind: 'WorkerPool', name: 'n' } }] }] },
    'spec.rules[0].filters[0].extensionRef.kind',
    'Unsupported value: "WorkerPool": supported values: "RateLimitPolicy", "LoggingPolicy"',
  ],
  ['MCPRoute', { ...route, rules: [{ matches: [{ toolsRegex: ['(?=a)b'] }] }] }, 'spec.rules[0].matches[0].toolsRegex[0]', 'regular expression of RE2'],
  [
    'MCPRoute',
    mcpFilter({ deniedToolsRegex: ['ok', '(a)\\1'] }),
    'spec.rules[0].filters[0].toolPolicy.deniedToolsRegex[1]',
    'must be a regular expression of RE2',
  ],
  ['MCPRoute', mcpFilter({ allowedToolsRegex: ['('] }), 'spec.rules[0].filters[0].toolPolicy.allowedToolsRegex[0]', 'regular expression of RE2'],
  [
    'MCPRoute',
    mcpFilter({ rateLimits: [{ requests: 1, window: '1s', toolsRegex: ['['] }] }),
    'spec.rules[0].filters[0].toolPolicy.rateLimits[0].toolsRegex[0]',
    'regular expression of RE2',
  ],
  ['MCPRoute', mcpFilter({ rateLimits: [{ requests: 0, window: '1s' }] }), 'spec.rules[0].filters[0].toolPolicy.rateLimits[0].requests', 'equal to 1'],
  ['EgressL4Route', l4Match({ destinationCIDRs: ['10.0.0.0/33'] }), 'spec.rules[0].matches[0].destinationCIDRs[0]', 'must be a range of addresses'],
  ['EgressL4Route', l4Match({ destinationCIDRs: ['010.0.0.0/8'] }), 'spec.rules[0].matches[0].destinationCIDRs[0]', 'must be a range of addresses'],
  ['EgressL4Route', l4Match({ destinationCIDRs: ['fe80::1%eth0'] }), 'spec.rules[0].matches[0].destinationCIDRs[0]', 'must be a range of addresses'],
  ['EgressL4Route', l4Match({ destinationCIDRs: ['10.0.0.1', '10.0.0.1'] }), 'spec.rules[0].matches[0].destinationCIDRs[1]', 'Duplicate value: "10.0.0.1"'],
  ['EgressL4Route', l4Match({ destinationHostnames: ['a.*.example'] }), 'spec.rules[0].matches[0].destinationHostnames[0]', 'should match'],
  ['EgressL4Route', l4Match({ protocol: 'SCTP' }), 'spec.rules[0].matches[0].protocol', 'Unsupported value: "SCTP"'],
  ['EgressL4Route', l4Match({ ports: [{}] }), 'spec.rules[0].matches[0].ports[0]', 'exactly one of port and startPort'],
  ['EgressL4Route', l4Match({ ports: [{ port: 1, startPort: 2, endPort: 3 }] }), 'spec.rules[0].matches[0].ports[0]', 'exactly one of port and startPort'],
  ['EgressL4Route', l4Match({ ports: [{ startPort: 2 }] }), 'spec.rules[0].matches[0].ports[0]', 'go together'],
  ['EgressL4Route', l4Match({ ports: [{ startPort: 3, endPort: 2 }] }), 'spec.rules[0].matches[0].ports[0].endPort', 'must not be below startPort'],
  ['EgressL4Route', l4Match({ ports: [{ port: 0 }] }), 'spec.rules[0].matches[0].ports[0].port', 'greater than or equal to 1'],
  [
    'EgressL4Route',
    l4Match({ sourceAgents: { matchExpressions: [{ key: 'team', operator: 'In' }] } }),
    'spec.rules[0].matches[0].sourceAgents.matchExpressions[0].values',
    'must be given with In and NotIn',
  ],
  ['LoggingPolicy', { redactHeaders: [''] }, 'spec.redactHeaders[0]', 'at least 1 chars long'],
  ['LoggingPolicy', { captureRequest: 'yes' }, 'spec.captureRequest', 'must be of type boolean'],
  ['CredentialInjectionPolicy', { ...policy, secretRef: { name: '' } }, 'spec.secretRef.name', 'should be at least 1 chars long'],
  ['CredentialInjectionPolicy', { ...policy, target: 'Cookie' }, 'spec.target', 'Unsupported value: "Cookie"'],
])('%s %j is refused at %s', async (kind, spec, field, message) => {
  const { status, body } = await create(kind, spec);
  expect(status).toBe(422);
  expect(body.reason).toBe('Invalid');
  expect(body.details).toMatchObject({ kind, group: 'clrk.apoxy.dev', name: 'x' });
  const cause = body.details.causes.find((candidate: { field: string }) => candidate.field === field);
  expect(cause, JSON.stringify(body.details.causes)).toBeDefined();
  expect(cause.message).toContain(message);
});

test('every error of an object comes at once, and rules wait for the schema', async () => {
  const { body } = await create('TaskAgent', { ...task, maxConcurrent: -1, workerPoolRef: 3, timeout: '0s' });
  expect(body.message).toBe(
    'TaskAgent.clrk.apoxy.dev "x" is invalid: [' +
      'spec.workerPoolRef: Invalid value: "integer": spec.workerPoolRef in body must be of type string: "integer", ' +
      'spec.maxConcurrent: Invalid value: -1: spec.maxConcurrent in body should be greater than or equal to 0, ' +
      '<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]',
  );
  const single = await create('TaskAgent', { ...task, timeout: '0s' });
  expect(single.body.message).toBe('TaskAgent.clrk.apoxy.dev "x" is invalid: spec.timeout: Invalid value: "0s": must be greater than zero');
});

test('the spec of a revision does not change; its labels may', async () => {
  const path = `${ROOT}/agentsandboxrevisions`;
  await create('AgentSandboxRevision', { image: 'a', args: ['b'] }, 'r-00001', '');
  const refused = await admin.call('PATCH', `${path}/r-00001`, { spec: { image: 'b' } }, { type: 'application/merge-patch+json' });
  expect(refused.status).toBe(422);
  expect(refused.body.details.causes).toEqual([
    {
      reason: 'FieldValueInvalid',
      message: 'Invalid value: a revision is immutable: change spec.template of its agent, which makes a new revision',
      field: 'spec',
    },
  ]);
  const labelled = await admin.call('PATCH', `${path}/r-00001`, { metadata: { labels: { a: 'b' } } }, { type: 'application/merge-patch+json' });
  expect(labelled.status).toBe(200);
});

test('unknown and repeated fields: Strict refuses, Warn tells, Ignore is silent; none are kept', async () => {
  const body =
    '{"apiVersion":"clrk.apoxy.dev/v1alpha1","kind":"TaskAgent","metadata":{"name":"w","zz":1},"spec":{"workerPoolRef":"a","workerPoolRef":"b","nope":1,"template":{"spec":{"image":"i"}}}}';
  const post = (validation: string) => admin.call('POST', `${ROOT}/taskagents?dryRun=All&fieldValidation=${validation}`, body);
  const strict = await post('Strict');
  expect(strict.status).toBe(400);
  expect(strict.body.message).toBe(
    'TaskAgent in version "v1alpha1" cannot be handled as a TaskAgent: strict decoding error: duplicate field "spec.workerPoolRef", unknown field "metadata.zz", unknown field "spec.nope"',
  );
  const warned = await post('Warn');
  expect(warned.status).toBe(201);
  expect([warned.headers['warning']].flat().join('\n')).toContain('299 - "unknown field \\"spec.nope\\""');
  expect(warned.body.spec).toEqual({ workerPoolRef: 'b', template: { spec: { image: 'i' } }, timeout: '100s' });
  const ignored = await post('Ignore');
  expect(ignored.headers['warning']).toBeUndefined();
});

test('fields that are not built are kept as they are', async () => {
  const state = { sizeLimitMB: 5, mountPath: '/var/mine' };
  const { body } = await create('TaskAgent', { ...task, state, scheduleInput: { anything: [1, { a: null }] } });
  expect(body.spec).toMatchObject({ state, scheduleInput: { anything: [1, { a: null }] } });
  const placed = { image: 'i', affinity: { nodeAffinity: { x: [1] } }, tolerations: [{ key: 'a', odd: true }], extraVolumes: [{ name: 'v', emptyDir: {} }] };
  expect((await create('WorkerPool', { template: placed })).body.spec.template).toMatchObject(placed);
});

test.each([
  ['upper case', 'Demo'],
  ['underscore', 'a_b'],
  ['too long', 'x'.repeat(254)],
  ['a slash', 'a/b'],
])('names are DNS names: %s is refused', async (_, name) => {
  const { status, body } = await create('TaskAgent', task, name);
  expect(status).toBe(422);
  expect(body.details.causes[0].field).toBe('metadata.name');
});

test('labels are checked', async () => {
  const { status, body } = await admin.call('POST', `${ROOT}/taskagents`, agent('l', {}, { labels: { 'bad key!': 'x', ok: 'no spaces' } }));
  expect(status).toBe(422);
  expect(body.details.causes.map(({ field }: { field: string }) => field)).toEqual(['metadata.labels', 'metadata.labels']);
});

test('a Secret takes plain text, and never shows a value in an error', async () => {
  const at = '/api/v1/namespaces/default/secrets';
  const made = await admin.call('POST', at, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, stringData: { token: 'abc' } });
  expect(made.body).toMatchObject({ type: 'Opaque', data: { token: 'YWJj' } });
  expect(made.body.stringData).toBeUndefined();
  const refused = await admin.call('POST', at, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 't' }, data: { token: 'sk-real-key!' } });
  expect(refused.status).toBe(422);
  expect(JSON.stringify(refused.body)).not.toContain('sk-real');
});

test('what was stored before a rule was made may stay, and everything else of it change', async () => {
  await using before = await startServer({ kinds: KINDS.map((kind) => (kind === TIGHTENED ? LOOSE : kind)) });
  expect((await (await before.client()).call('POST', pathOf(TIGHTENED), STORED)).status).toBe(201);
  await before.stop();
  await using after = await startServer({ database: join(before.dir, 'api.db') });
  expect(await refusedFields(await after.client())).toEqual(CHANGES.map(([, refused]) => refused));
});
