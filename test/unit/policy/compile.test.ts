import { describe, expect, test } from 'vitest';
import { createAuthority } from '#lib/x509';
import { weakCertificate } from '../../fixtures/canary/certificates.ts';
import type { EgressGateway } from '#api';
import { admittedHosts, admitsHost, decideConnection, judgePolicies, unmatchedParents } from '#policy';
import { budget, compile, credentialPolicy, gateway, l4Route, route, SECRETS } from './objects.ts';

const secret = (name: string) => SECRETS[name];
const there = () => true;

test('a gateway with a route, a budget and a credential', () => {
  const { policySet, credentials, routes, listeners, notBuilt, errors } = compile({
    aiRoutes: [route({ rules: [{ matches: [{ provider: 'OpenAI', models: ['gpt-4*'] }], filters: [budget(1000), budget(500)] }] })],
  });
  expect(policySet).toMatchObject({
    gateway: { namespace: 'demo', name: 'egress' },
    defaultPolicy: 'deny-all',
    requestTimeoutMs: 300_000,
    listeners: [{ name: 'tls', shape: 'tls-terminate' }],
    aiRoutes: [
      {
        listeners: ['tls'],
        hosts: ['api.openai.com'],
        rules: [
          {
            index: 0,
            matches: [{ provider: 'openai', models: ['gpt-4*'] }],
            budgets: [
              {
                key: 'budget/demo/openai/egress',
                unit: 'tokens',
                window: 'day',
                cap: 500,
                field: 'spec.rules[0].filters[1].tokenBudget.maxTokensPerDay',
              },
            ],
            notBuilt: [],
          },
        ],
        credential: { policy: 'demo/key', credential: 'cred:demo/key', inject: { kind: 'Header', header: 'authorization' } },
      },
    ],
  });
  expect(credentials).toEqual([{ name: 'cred:demo/key', value: 'Bearer sk-real' }]);
  expect(routes[0]!.parents[0]).toMatchObject({ accepted: { status: 'True' }, resolvedRefs: { status: 'True' } });
  expect(judgePolicies([credentialPolicy()], secret, there)[0]!.ancestors[0]).toMatchObject({
    accepted: { status: 'True' },
    conflicted: { status: 'False' },
    resolvedRefs: { status: 'True' },
  });
  expect(listeners).toMatchObject([{ name: 'tls', attachedRoutes: 1, accepted: { status: 'True' }, conflicted: { status: 'False' } }]);
  expect([notBuilt, errors]).toEqual([[], []]);
  expect(JSON.stringify(policySet)).not.toContain('sk-real');
});

test('the revision is of the content: stable over order of input, and another for another content', () => {
  const routes = [route({}, 'a', '2026-01-02T00:00:00Z'), route({}, 'b', '2026-01-02T00:00:00Z')];
  const revision = compile({ aiRoutes: routes }).policySet.revision;
  expect(revision).toMatch(/^[0-9a-f]{12}$/);
  expect(compile({ aiRoutes: routes.toReversed() }).policySet.revision).toBe(revision);
  expect(compile({ aiRoutes: [routes[0]!] }).policySet.revision).not.toBe(revision);
  expect(compile({ aiRoutes: routes, secret: () => ({ token: 'rotated' }) }).policySet.revision).toBe(revision);
});

describe('attachment', () => {
  const parentOf = (parentRef: object, listeners = gateway().spec.listeners) => {
    const compiled = compile({ gateway: gateway({ listeners }), aiRoutes: [route({ parentRefs: [parentRef as never] })] });
    return { reason: compiled.routes[0]?.parents[0]?.accepted.reason, admits: admitsHost(compiled.policySet, 'api.openai.com') };
  };
  test.each([{}, { sectionName: 'tls' }, { group: 'clrk.apoxy.dev' }, { group: '' }, { namespace: 'demo' }, { kind: 'EgressGateway' }])('%j attaches', (ref) =>
    expect(parentOf({ name: 'egress', ...ref })).toEqual({ reason: 'Accepted', admits: true }),
  );
  test.each([
    [{ sectionName: 'other' }, 'NoMatchingParent'],
    [{ port: 443 }, 'NoMatchingParent'],
    [{ group: 'gateway.networking.k8s.io' }, undefined],
    [{ kind: 'Gateway' }, undefined],
    [{ namespace: 'other' }, undefined],
    [{ name: 'another' }, undefined],
  ])('%j does not', (ref, reason) => expect(parentOf({ name: 'egress', ...ref })).toEqual({ reason, admits: false }));
  test('a listener that does not terminate TLS takes no AI route', () =>
    expect(parentOf({ name: 'egress' }, [{ name: 'db', protocol: 'TCP' }])).toEqual({ reason: 'NotAllowedByListeners', admits: false }));
  test('HTTPS is TLS that is terminated', () =>
    expect(parentOf({ name: 'egress' }, [{ name: 'web', protocol: 'HTTPS' }])).toEqual({ reason: 'Accepted', admits: true }));
  test('a listener for just this port, to which the route is not attached, keeps it from the others', () =>
    expect(parentOf({ name: 'egress', sectionName: 'tls' }, [...gateway().spec.listeners, { name: 'https', protocol: 'HTTPS', port: 443 }])).toEqual({
      reason: 'NoMatchingParent',
      admits: false,
    }));
  test('a listener for another port does not serve providers', () =>
    expect(parentOf({ name: 'egress' }, [{ name: 'tls', protocol: 'TLS', port: 8443, tls: { mode: 'Terminate' } }])).toEqual({
      reason: 'NoMatchingParent',
      admits: false,
    }));
  test('where nothing comes to the route its status says why, and its hosts are for it alone all the same', () => {
    const tls = { protocol: 'TLS' as const, tls: { mode: 'Terminate' as const } };
    const of = (...listeners: EgressGateway['spec']['listeners']) => {
      const { policySet, routes } = compile({ gateway: gateway({ listeners }), l4Routes: [l4Route()] });
      const facts = { agent: 'demo/a', transport: 'TCP', host: 'api.openai.com', port: 8443, speaks: 'tls', sni: 'api.openai.com' } as const;
      return { message: routes.find(({ kind }) => kind === 'AIProviderRoute')!.parents[0]!.accepted.message, raw: decideConnection(policySet, facts).reason };
    };
    expect(of({ name: 'odd', port: 8443, ...tls })).toEqual({
      message:
        'Providers are reached on port 443, and no listener of the gateway takes that port, so nothing comes to listener odd that the route is attached to.',
      raw: 'ClaimedHost',
    });
    expect(of({ name: 'odd', port: 8443, ...tls }, { name: 'tcp', protocol: 'TCP' }).message).toContain('listener tcp alone takes that port');
    expect(of({ name: 'odd', port: 8443, ...tls }, { name: 'tls', ...tls }).message).toBe('Attached to listener odd, tls.');
  });
  test('a route of another namespace does not attach', () =>
    expect(admittedHosts(compile({ aiRoutes: [route({}, 'r', '2026-01-02T00:00:00Z', 'other')] }).policySet)).toEqual([]));

  test('references that reach no gateway are judged on their own', () => {
    const refs = [{ name: 'egress' }, { name: 'gone' }, { name: 'egress', namespace: 'other' }, { name: 'egress', kind: 'Gateway' }];
    const unmatched = unmatchedParents(route({ parentRefs: refs }), ({ namespace, name }) => namespace === 'demo' && name === 'egress');
    expect(unmatched.map(({ parentRef, accepted }) => [parentRef, accepted.reason])).toEqual([
      [refs[1], 'NoMatchingParent'],
      [refs[2], 'NoMatchingParent'],
      [refs[3], 'InvalidKind'],
    ]);
    expect(unmatched[1]!.accepted.message).toContain('namespace other');
  });
});

describe('credentials', () => {
  const use = (input: Parameters<typeof compile>[0]) => compile(input).policySet.aiRoutes[0]!.credential;
  test.each([
    [() => undefined, 'SecretNotFound'],
    [() => ({ other: 'x' }), 'SecretKeyNotFound'],
    [() => ({ token: '' }), 'SecretValueInvalid'],
    [() => ({ token: 'Bearer x\n' }), 'SecretValueInvalid'],
    [() => ({ token: 'a\r\nx-evil: 1' }), 'SecretValueInvalid'],
  ])('a Secret that is not usable is a reason to refuse', (lookup: (name: string) => Record<string, string> | undefined, reason) => {
    const compiled = compile({ secret: lookup });
    expect(compiled.policySet.aiRoutes[0]!.credential).toMatchObject({ missing: reason });
    expect(compiled.credentials).toEqual([]);
    expect(judgePolicies([credentialPolicy()], lookup, there)[0]!.ancestors[0]!.resolvedRefs).toMatchObject({ status: 'False', reason });
    expect(JSON.stringify(compiled)).not.toContain('evil');
  });

  test('the oldest of several policies wins, then the name; the others are Conflicted', () => {
    const policies = [credentialPolicy({}, 'z-old', '2026-01-01T00:00:00Z'), credentialPolicy({}, 'b'), credentialPolicy({}, 'a')];
    const compiled = compile({ credentialPolicies: policies });
    expect(compiled.policySet.aiRoutes[0]!.credential!.policy).toBe('demo/z-old');
    expect(
      judgePolicies(policies, secret, there).map(({ key, ancestors }) => [key.name, ancestors[0]!.accepted.reason, ancestors[0]!.conflicted.status]),
    ).toEqual([
      ['z-old', 'Accepted', 'False'],
      ['b', 'Conflicted', 'True'],
      ['a', 'Conflicted', 'True'],
    ]);
    expect(use({ credentialPolicies: policies.slice(1) })!.policy).toBe('demo/a');
  });

  test('targetRefs are the same as parentRefs', () =>
    expect(use({ credentialPolicies: [credentialPolicy({ parentRefs: undefined, targetRefs: [{ kind: 'AIProviderRoute', name: 'openai' }] })] })).toMatchObject(
      { policy: 'demo/key' },
    ));

  test.each([
    [{ parentRefs: [{ kind: 'AIProviderRoute', name: 'other' }] }],
    [{ parentRefs: [{ kind: 'MCPRoute', name: 'openai' }] }],
    [{ parentRefs: [{ kind: 'AIProviderRoute', name: 'openai', sectionName: 'backend' }] }],
    [{ parentRefs: [{ kind: 'AIProviderRoute', name: 'openai', namespace: 'other' }] }],
    [{ parentRefs: [{ kind: 'AIProviderRoute', name: 'openai', group: 'other' as never }] }],
  ])('what is for something else injects nothing: %j', (spec) => expect(use({ credentialPolicies: [credentialPolicy(spec)] })).toBeUndefined());

  test('headers that frame or route a message are not set', () => {
    for (const headerName of ['Host', 'Accept-Encoding', 'content-length', 'Transfer-Encoding', 'x-clrk-id', 'traceparent'])
      expect(use({ credentialPolicies: [credentialPolicy({ headerName })] })).toMatchObject({ missing: 'Invalid' });
  });

  test('a route that is not there', () =>
    expect(judgePolicies([credentialPolicy()], secret, () => false)[0]!.ancestors[0]!.accepted).toMatchObject({ status: 'False', reason: 'TargetNotFound' }));
});

describe('the upstream leg', () => {
  const alias = (ip: string, hostnames = ['api.openai.com']) => compile({ gateway: gateway({ upstreamTLS: { hostAliases: [{ ip, hostnames }] } }) });
  test('an alias may be private', () =>
    expect(alias('10.9.0.2', ['API.openai.com.']).policySet.hostAliases).toEqual([{ ip: '10.9.0.2', hostnames: ['api.openai.com'] }]));
  test('but never this host or a metadata service', () => {
    const { policySet, errors } = alias('169.254.169.254');
    expect(policySet.hostAliases).toEqual([]);
    expect(errors).toMatchObject([{ reason: 'ForbiddenAddress' }]);
  });
  test('names that are no names are left out', () => expect(alias('10.0.0.1', ['1.2.3.4']).errors).toMatchObject([{ reason: 'InvalidHostname' }]));

  test('trust: certificates of every value, and nothing else of the Secret', async () => {
    const a = await createAuthority({ subject: 'CN=a', ca: { pathLength: 0 }, notBefore: new Date(0), notAfter: new Date(4e12) });
    const spec = { upstreamTLS: { additionalTrustBundleSecretRef: { name: 'bundle' } } };
    const of = (values: Record<string, string> | undefined) =>
      compile({ gateway: gateway(spec), secret: (name) => (name === 'bundle' ? values : secret(name)) });
    const good = of({ 'ca.crt': a.certPem, 'tls.key': a.keyPem, empty: '' });
    expect(good.policySet.trustBundle.trim()).toBe(a.certPem.trim());
    expect(good.errors).toEqual([]);
    expect(of(undefined).errors).toMatchObject([{ reason: 'SecretNotFound' }]);
    const other = { upstreamTLS: { additionalTrustBundleSecretRef: { name: 'bundle', kind: 'ConfigMap' } } };
    expect(compile({ gateway: gateway(other), secret: () => ({ 'ca.crt': a.certPem }) })).toMatchObject({
      errors: [{ reason: 'InvalidKind' }],
      policySet: { trustBundle: '' },
    });
    expect(of({ 'ca.crt': 'nonsense' }).errors).toMatchObject([{ reason: 'TrustBundleInvalid' }]);
    expect(of({ 'ca.crt': `${a.certPem}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----` })).toMatchObject({
      errors: [{ reason: 'TrustBundleInvalid' }],
      policySet: { trustBundle: good.policySet.trustBundle },
    });
    const weak = await weakCertificate();
    expect(of({ 'ca.crt': `${a.certPem}\n${weak.authority}` })).toMatchObject({
      errors: [{ reason: 'TrustBundleInvalid', message: expect.stringContaining('1024 bits') as string }],
      policySet: { trustBundle: good.policySet.trustBundle },
    });
  });
});

test('fields that are not built are named', () => {
  const { notBuilt, policySet } = compile({ gateway: gateway({ defaultPolicy: 'allow-all', otlp: { endpoint: 'http://x' }, requestTimeout: '8m' }) });
  expect(notBuilt).toEqual(['spec.otlp']);
  expect(policySet).toMatchObject({ defaultPolicy: 'allow-all', requestTimeoutMs: 480_000 });
});
