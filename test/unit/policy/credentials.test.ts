import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { CredentialInjectionPolicy } from '#api';
import type { AwsKey, ConnectionFacts, CredentialUse, ServiceAccountKey } from '#model';
import { awsRegion, credentialOf, credentialProblem, decideConnection, judgePolicies } from '#policy';
import { compile, credentialPolicy, gateway, l4Route, route } from './objects.ts';

/** What CredentialInjectionPolicies inject, into which requests, and which of several. */

type Spec = Partial<CredentialInjectionPolicy['spec']>;
type Values = Readonly<Record<string, string>>;
const there = () => true;
const judged = (spec: Spec, values: Values) => credentialOf(credentialPolicy({ headerName: undefined, ...spec }), () => values);
const pem = (type: 'rsa' | 'ec'): string =>
  type === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

test('a header and a query parameter are the value as it is in the Secret', () => {
  expect(judged({ headerName: 'X-Api-Key' }, { token: 'k 1' })).toMatchObject({ value: 'k 1', use: { inject: { kind: 'Header', header: 'x-api-key' } } });
  const query = judged({ target: 'QueryParam', queryParamName: 'Key', secretKey: 'other', redactResponses: true }, { other: 'a&b=c' });
  expect(query).toMatchObject({ value: 'a&b=c', use: { inject: { kind: 'QueryParam', name: 'Key' }, redactResponses: true } });
});

test('the Secret is one of the own namespace, whatever secretRef says; nothing but a Secret is read', () => {
  const asked: string[] = [];
  const lookup = (name: string, namespace: string): Values => (asked.push(`${namespace}/${name}`), { token: 'x' });
  const policy = (secretRef: Spec['secretRef'] & object) => credentialPolicy({ secretRef, secretKey: 'token' });
  expect(credentialOf(policy({ name: 's', namespace: 'elsewhere' }), lookup).value).toBe('x');
  expect(asked).toEqual(['demo/s']);
  for (const other of [{ kind: 'ConfigMap' }, { group: 'clrk.apoxy.dev' }])
    expect(credentialOf(policy({ name: 's', ...other }), lookup).use.missing).toBe('InvalidKind');
  expect(credentialOf(policy({ name: 's', kind: 'Secret', group: '' }), lookup).value).toBe('x');
  expect(asked).toHaveLength(2);
});

test('what changes nothing is told where the Secret is', () => {
  const said = (spec: Spec) =>
    judgePolicies([credentialPolicy(spec)], () => ({ token: 'x', access_key_id: 'A', secret_access_key: 'x' }), there)[0]!.ancestors[0]!.resolvedRefs;
  const aws = { target: 'ProviderAuth' as const, providerAuth: { type: 'AWSv4' as const } };
  for (const fine of [{}, { secretRef: { name: 's', namespace: 'demo' } }, aws])
    expect(said(fine)).toEqual({ status: 'True', reason: 'ResolvedRefs', message: '' });
  expect(said({ secretRef: { name: 's', namespace: 'other' } })).toMatchObject({
    status: 'True',
    message: expect.stringMatching(/^spec\.secretRef\.namespace has no effect: .* s of .* demo\.$/),
  });
  expect(said({ ...aws, secretKey: 'k' })).toMatchObject({ status: 'True', message: expect.stringContaining('spec.secretKey has no effect') });
});

test.each(['Host', 'content-length', 'Transfer-Encoding', 'connection', 'Upgrade', 'traceparent', 'Proxy-Authorization', 'X-Clrk-Gateway', 'x-envoy-retry-on'])(
  'header %s is not set from a Secret',
  (headerName) => {
    const { use, value } = judged({ headerName }, { token: 'x' });
    expect([use.missing, value]).toEqual(['Invalid', undefined]);
  },
);

test.each(['', ' x', 'x\n', 'x\r\ny: z', 'x\0'])('value %j cannot be sent', (token) => {
  for (const spec of [{ headerName: 'x-key' }, { target: 'QueryParam' as const, queryParamName: 'key' }])
    expect(judged(spec, { token }).use.missing).toBe('SecretValueInvalid');
});

describe('AWSv4', () => {
  const aws = { target: 'ProviderAuth' as const, providerAuth: { type: 'AWSv4' as const } };
  const KEY = { access_key_id: 'AKIDEXAMPLE', secret_access_key: 'wJalr/+x' };
  test('a key, with a session token when there is one', () => {
    expect(judged(aws, KEY).use.inject).toEqual({ kind: 'AWSv4', service: 'bedrock' });
    expect(JSON.parse(judged(aws, KEY).value!) as AwsKey).toEqual({ accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalr/+x' });
    expect(JSON.parse(judged(aws, { ...KEY, session_token: 't=' }).value!) as AwsKey).toMatchObject({ sessionToken: 't=' });
  });
  test('region and service of the policy', () =>
    expect(judged({ ...aws, providerAuth: { type: 'AWSv4', region: 'eu-west-1', service: 's3' } }, KEY).use.inject).toEqual({
      kind: 'AWSv4',
      region: 'eu-west-1',
      service: 's3',
    }));
  test.each<[Values, string]>([
    [{ secret_access_key: 'x' }, 'SecretKeyNotFound'],
    [{ access_key_id: 'A' }, 'SecretKeyNotFound'],
    [{ ...KEY, access_key_id: 'A/B' }, 'SecretValueInvalid'],
    [{ ...KEY, secret_access_key: 'x\n' }, 'SecretValueInvalid'],
    [{ ...KEY, session_token: '' }, 'SecretValueInvalid'],
  ])('%j cannot sign', (values, reason) => expect(judged(aws, values)).toMatchObject({ use: { missing: reason } }));
  test.each([
    ['bedrock-runtime.eu-central-1.amazonaws.com', 'eu-central-1'],
    ['bedrock-runtime-fips.us-gov-west-1.amazonaws.com', 'us-gov-west-1'],
    ['s3.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
    ['bedrock-runtime.ap-southeast-10.api.aws', 'ap-southeast-10'],
    ['s3.amazonaws.com', undefined],
    ['eu-west-1.example.com', undefined],
    ['x.eu-west-1.amazonaws.com.example', undefined],
  ])('region of %s', (host, region) => expect(awsRegion({ kind: 'AWSv4', service: 'bedrock' }, host)).toBe(region));
  test('the region of the policy goes before that of the host', () =>
    expect(awsRegion({ kind: 'AWSv4', service: 'bedrock', region: 'us-east-1' }, 'bedrock-runtime.eu-central-1.amazonaws.com')).toBe('us-east-1'));
  test('a host without a region is refused unless the policy names one', () => {
    const use = judged(aws, KEY).use;
    expect(credentialProblem(use, 's3.amazonaws.com')).toBe('RegionUnknown');
    expect(credentialProblem({ ...use, inject: { kind: 'AWSv4', service: 's3', region: 'us-east-1' } }, 's3.amazonaws.com')).toBeUndefined();
  });
});

describe('GCPServiceAccount', () => {
  const gcp = { target: 'ProviderAuth' as const, providerAuth: { type: 'GCPServiceAccount' as const } };
  const FILE = { type: 'service_account', client_email: 'a@p.iam.gserviceaccount.com', private_key: pem('rsa'), private_key_id: 'k1' };
  const of = (file: object | string) => judged(gcp, { token: typeof file === 'string' ? file : JSON.stringify(file) });
  test('a key file; tokens come from Google unless it says where', () => {
    expect(of(FILE).use).toMatchObject({ inject: { kind: 'GCPServiceAccount' } });
    expect(JSON.parse(of(FILE).value!) as ServiceAccountKey).toMatchObject({
      email: FILE.client_email,
      privateKeyId: 'k1',
      tokenUri: 'https://oauth2.googleapis.com/token',
    });
  });
  test('in the key of the Secret that the policy names', () => {
    const { value } = judged({ ...gcp, secretKey: 'file' }, { token: 'x', file: JSON.stringify(FILE) });
    expect(JSON.parse(value!)).toMatchObject({ email: FILE.client_email });
  });
  test.each<[string, object | string]>([
    ['is not JSON', 'x'],
    ['its type is not', { ...FILE, type: 'authorized_user' }],
    ['its type is not', '"text"'],
    ['its type is not', 'null'],
    ['lacks client_email', { ...FILE, client_email: '' }],
    ['not https at', { ...FILE, token_uri: 'http://oauth2.googleapis.com/token' }],
    ['not https at', { ...FILE, token_uri: 'https://169.254.169.254/token' }],
    ['not https at', { ...FILE, token_uri: 'https://oauth2.googleapis.com.evil.example/token' }],
    ['not https at', { ...FILE, token_uri: 'https://oauth2.googleapis.com:8443/token' }],
    ['not an RSA key', { ...FILE, private_key: pem('ec') }],
    ['not an RSA key', { ...FILE, private_key: 'x' }],
  ])('%s', (why, file) => {
    const { use, why: said, value } = of(file);
    expect([use.missing, value]).toEqual(['SecretValueInvalid', undefined]);
    expect(said).toContain(why);
  });
});

describe('which policy', () => {
  const ofGateway = (name = 'wide', created?: string, spec: Spec = {}) =>
    credentialPolicy({ parentRefs: [{ kind: 'EgressGateway', name: 'egress' }], ...spec }, name, created);
  const use = (...credentialPolicies: CredentialInjectionPolicy[]): CredentialUse | undefined =>
    compile({ credentialPolicies }).policySet.aiRoutes[0]!.credential;

  test('that of the route before an older one of the gateway; that of the gateway where there is no other', () => {
    expect(use(ofGateway('wide', '2025-01-01T00:00:00Z'), credentialPolicy())!.policy).toBe('demo/key');
    expect(use(ofGateway())!.policy).toBe('demo/wide');
    expect(compile({ credentialPolicies: [ofGateway()] }).credentials).toEqual([{ name: 'cred:demo/wide', value: 'Bearer sk-real' }]);
  });

  test('that of the route also when it cannot inject: nothing else is put in its place', () =>
    expect(use(ofGateway(), credentialPolicy({ secretRef: { name: 'gone' } }))).toMatchObject({ policy: 'demo/key', missing: 'SecretNotFound' }));

  test('of a section: none, and that of the route goes on', () => {
    const section = credentialPolicy({ parentRefs: [{ kind: 'AIProviderRoute', name: 'openai', sectionName: 'b' }] }, 'section', '2025-01-01T00:00:00Z');
    expect(use(section, credentialPolicy())!.policy).toBe('demo/key');
  });

  test('losers are told of the winner, at each kind of target', () => {
    for (const kind of ['AIProviderRoute', 'MCPRoute', 'EgressGateway']) {
      const spec = { parentRefs: [{ kind, name: 'openai' }] };
      const [winner, loser] = judgePolicies([credentialPolicy(spec, 'a', '2025-01-01T00:00:00Z'), credentialPolicy(spec, 'b')], () => ({ token: 'x' }), there);
      expect(winner!.ancestors[0]).toMatchObject({ accepted: { status: 'True' }, conflicted: { status: 'False' } });
      expect(loser!.ancestors[0]).toMatchObject({ accepted: { reason: 'Conflicted' }, conflicted: { status: 'True', reason: 'Conflicted' } });
      expect(loser!.ancestors[0]!.conflicted.message).toContain(`CredentialInjectionPolicy a already applies to ${kind} openai`);
    }
  });
});

test('targets of another namespace or group are none, and are told so; parentRefs and targetRefs are the same', () => {
  const ofRoute = (more: object) => ({ kind: 'AIProviderRoute', name: 'openai', ...more });
  for (const list of ['parentRefs', 'targetRefs'] as const) {
    const of = (ref: object, name = 'key') => credentialPolicy({ parentRefs: undefined, [list]: [ref] }, name);
    const judge = (policy: CredentialInjectionPolicy) => judgePolicies([policy], () => ({ token: 'x' }), there)[0]!.ancestors[0]!;
    const used = (policy: CredentialInjectionPolicy) => compile({ credentialPolicies: [policy] }).policySet.aiRoutes[0]!.credential?.policy;
    for (const good of [{}, { group: '' }, { group: 'clrk.apoxy.dev', namespace: 'demo' }]) {
      expect([used(of(ofRoute(good))), judge(of(ofRoute(good))).accepted.status]).toEqual(['demo/key', 'True']);
    }
    expect(used(of(ofRoute({ port: 443 })))).toBeUndefined();
    expect(judge(of(ofRoute({ port: 443 })))).toMatchObject({
      accepted: { status: 'False', reason: 'UnsupportedValue', message: expect.stringContaining(`spec.${list}[0].port is 443`) },
      conflicted: { status: 'False' },
    });
    const foreign = of(ofRoute({ namespace: 'elsewhere' }));
    expect([used(foreign), judge(foreign).accepted.reason]).toEqual([undefined, 'RefNotPermitted']);
    const section = judge(of(ofRoute({ sectionName: 'b' })));
    expect(section.accepted).toMatchObject({ status: 'False', reason: 'NotBuilt' });
    const lost = judgePolicies(
      [of(ofRoute({}))],
      () => ({ token: 'x' }),
      () => false,
    )[0]!.ancestors[0]!;
    expect(lost.accepted.reason).toBe('TargetNotFound');
  }
});

describe('the credential of a gateway goes into requests to a name that an L4 route names, and to nothing else', () => {
  const wide = credentialPolicy({ parentRefs: [{ kind: 'EgressGateway', name: 'egress' }] }, 'wide');
  const setOf = (match: object, more: Parameters<typeof compile>[0] = {}) =>
    compile({ aiRoutes: [route()], credentialPolicies: [wide], l4Routes: [l4Route({ rules: [{ matches: [match] }] })], ...more }).policySet;
  const to = (facts: Partial<ConnectionFacts>): ConnectionFacts => ({ agent: 'demo/a', transport: 'TCP', port: 443, speaks: 'tls', ...facts });
  const named = to({ host: 'api.example.com', sni: 'api.example.com' });

  test.each<[string, object, string | undefined]>([
    ['its name', { destinationHostnames: ['api.example.com'] }, 'demo/wide'],
    ['a pattern', { destinationHostnames: ['*.example.com'] }, 'demo/wide'],
    ['any name', {}, undefined],
  ])('%s', (_, match, policy) => {
    const decision = decideConnection(setOf(match), named);
    expect(decision.verdict).toBe('Allowed');
    expect(decision.credential?.policy).toBe(policy);
    expect(decision.policies).toEqual(policy ? [`CredentialInjectionPolicy/${policy}`] : []);
  });

  test('its value is there, also where no AI route uses it', () => {
    const l4Routes = [l4Route({ rules: [{ matches: [{ destinationHostnames: ['api.example.com'] }] }] })];
    expect(compile({ aiRoutes: [], credentialPolicies: [wide], l4Routes }).credentials).toEqual([{ name: 'cred:demo/wide', value: 'Bearer sk-real' }]);
  });

  test('not by allow-all', () => {
    const open = decideConnection(setOf({ destinationHostnames: ['other.example'] }, { gateway: gateway({ defaultPolicy: 'allow-all' }) }), named);
    expect(open).toMatchObject({ verdict: 'Allowed', reason: 'DefaultPolicy' });
    expect(open.credential).toBeUndefined();
  });

  test('not to an address, whatever its server name says', () => {
    const decision = decideConnection(setOf({ destinationCIDRs: ['203.0.113.0/24'] }), to({ address: '203.0.113.9', sni: 'api.example.com' }));
    expect(decision.verdict).toBe('Allowed');
    expect(decision.credential).toBeUndefined();
  });

  test('not in the clear, not into bytes that are passed on', () => {
    const listeners = [
      { name: 'web', protocol: 'HTTP' as const },
      { name: 'pass', protocol: 'TLS' as const },
    ];
    const set = setOf({ destinationHostnames: ['api.example.com'] }, { gateway: gateway({ listeners }) });
    for (const speaks of ['plain', 'tls'] as const) {
      const decision = decideConnection(set, { ...named, speaks });
      expect(decision.verdict).toBe('Allowed');
      expect(decision.credential).toBeUndefined();
    }
  });

  test('a Secret that is missing refuses these requests, and says why', () => {
    const decision = decideConnection(setOf({ destinationHostnames: ['api.example.com'] }, { secret: () => undefined }), named);
    expect(decision).toMatchObject({ verdict: 'Denied', reason: 'SecretNotFound', status: 503, policies: ['CredentialInjectionPolicy/demo/wide'] });
    expect(decideConnection(setOf({}, { secret: () => undefined }), named).verdict).toBe('Allowed');
  });
});
