import { describe, expect, test } from 'vitest';
import type { CredentialUse, Injection } from '#model';
import { providerNamed } from '#policy';
import { credentialFilters, injectedValue, secretsOf } from '../../../src/egress/translate/credential.ts';
import { missingCredential } from '../../../src/egress/translate/serving.ts';

/** What is removed of a request before a credential goes in: every form of one that its provider, or any other, would take. */

const EVERYWHERE = ['authorization', 'proxy-authorization', 'x-api-key', 'api-key', 'x-goog-api-key', 'cookie'];
const AWS = JSON.stringify({ accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' });

interface Removed {
  readonly headers: readonly string[];
  readonly query: readonly string[];
  /** Also where the script did not do its work; all but the header that ours is in. */
  readonly anyway: readonly string[];
}
interface Config {
  readonly filter_context?: { readonly headers?: readonly string[]; readonly query?: readonly string[] };
  readonly mutations?: { readonly request_mutations: readonly { readonly remove: string }[] };
}

const removed = (name: string, inject: Injection): Removed => {
  const use: CredentialUse = { policy: 'demo/key', credential: 'cred:demo/key', inject };
  const place = { host: 'bedrock-runtime.us-east-1.amazonaws.com', provider: providerNamed(name), gateway: 'demo/egress', route: '' };
  const configs = credentialFilters(use, place, inject.kind === 'AWSv4' ? AWS : undefined).map(
    (filter) => (filter as unknown as { readonly typed_config: Config }).typed_config,
  );
  const { headers = [], query = [] } = configs[0]!.filter_context!;
  const anyway = configs.flatMap(({ mutations }) => mutations?.request_mutations.map(({ remove }) => remove) ?? []);
  return { headers, query, anyway };
};

test.each<[provider: string, headers: readonly string[], query: readonly string[]]>([
  ['openai', ['openai-organization', 'openai-project'], []],
  ['azure-openai', ['ocp-apim-subscription-key'], ['api-key', 'subscription-key']],
  ['anthropic', [], []],
  ['google', ['x-goog-iam-authorization-token', 'x-goog-iam-authority-selector', 'x-goog-user-project'], ['key', 'access_token', 'oauth_token']],
  [
    'bedrock',
    ['x-amz-security-token', 'x-amz-date', 'x-amz-content-sha256'],
    ['x-amz-algorithm', 'x-amz-credential', 'x-amz-signature', 'x-amz-security-token', 'x-amz-date', 'x-amz-expires', 'x-amz-signedheaders'],
  ],
  ['custom', ['x-auth-token'], ['key', 'api_key', 'api-key', 'apikey', 'access_token', 'token']],
])('%s', (provider, headers, query) => {
  const all = [...EVERYWHERE, ...headers];
  for (const header of ['x-of-the-policy', ...all]) {
    const of = removed(provider, { kind: 'Header', header });
    expect(of.headers).toEqual(expect.arrayContaining([...all, header]));
    expect(of.query).toEqual(expect.arrayContaining([...query]));
    expect(of.anyway).toEqual(expect.arrayContaining(all.filter((name) => name !== header)));
    // The injector has put ours there by then.
    expect(of.anyway).not.toContain(header);
  }
  const inQuery = removed(provider, { kind: 'QueryParam', name: 'Of-The-Policy' });
  expect(inQuery.query).toEqual(expect.arrayContaining([...query, 'of-the-policy']));
  expect(inQuery.anyway).toEqual(expect.arrayContaining(all));
  const token = removed(provider, { kind: 'GCPServiceAccount' });
  expect(token.headers).toEqual(expect.arrayContaining(all));
  expect(token.anyway).not.toContain('authorization');
});

test('with a signature of AWS, everything another one is made of', () => {
  const { headers, anyway } = removed('bedrock', { kind: 'AWSv4', service: 'bedrock' });
  const parts = ['x-amz-date', 'x-amz-security-token', 'x-amz-content-sha256', 'x-amz-region-set', 'x-amz-s3session-token'];
  for (const list of [headers, anyway]) expect(list).toEqual(expect.arrayContaining([...EVERYWHERE, ...parts]));
});

describe('where a credential goes', () => {
  const PLACE = { host: 'bedrock-runtime.us-east-1.amazonaws.com', provider: undefined, gateway: 'demo/egress', route: '' };
  const use = (inject: Injection, more: Partial<CredentialUse> = {}): CredentialUse => ({ policy: 'demo/key', credential: 'cred:demo/key', inject, ...more });
  const filters = (of: CredentialUse, value?: string): readonly Readonly<Record<string, unknown>>[] =>
    credentialFilters(of, PLACE, value).map((filter) => (filter as unknown as { readonly typed_config: Readonly<Record<string, unknown>> }).typed_config);

  test('a query parameter is its name and the value, each encoded; whatever else goes in as it is', () => {
    expect(injectedValue(use({ kind: 'QueryParam', name: 'my key' }), "a&b=c'+%")).toBe('my%20key=a%26b%3Dc%27%2B%25');
    expect(injectedValue(use({ kind: 'Header', header: 'x-key' }), 'a&b=c')).toBe('a&b=c');
  });

  test('a signature has the service and region of the policy, else the region of the host, and the session token when there is one', () => {
    const signed = (inject: object, key: object) =>
      filters(use({ kind: 'AWSv4', service: 'bedrock', ...inject }), JSON.stringify({ ...JSON.parse(AWS), ...key })).at(-1);
    const key = { access_key_id: 'AKIDEXAMPLE', secret_access_key: 'secret' };
    const provider = (inline_credential: object) => ({ custom_credential_provider_chain: true, inline_credential });
    expect(signed({}, {})).toMatchObject({ service_name: 'bedrock', region: 'us-east-1' });
    expect(signed({}, {})!['credential_provider']).toEqual(provider(key));
    expect(signed({ service: 'execute-api', region: 'eu-west-1' }, {})).toMatchObject({ service_name: 'execute-api', region: 'eu-west-1' });
    expect(signed({}, { sessionToken: 't' })!['credential_provider']).toEqual(provider({ ...key, session_token: 't' }));
  });

  test('Envoy gets it by SDS, but for a key that signs', () => {
    for (const inject of [{ kind: 'Header', header: 'x-key' }, { kind: 'QueryParam', name: 'key' }, { kind: 'GCPServiceAccount' }] as const)
      expect(secretsOf(use(inject))).toEqual(['cred:demo/key']);
    expect(secretsOf(use({ kind: 'AWSv4', service: 'bedrock' }))).toEqual([]);
  });

  test('nowhere while it cannot be injected, with the reason that is known', () => {
    const header = use({ kind: 'Header', header: 'x-key' });
    const missing = (of: CredentialUse, values: readonly string[], unavailable: Readonly<Record<string, string>> = {}, host = PLACE.host) =>
      missingCredential(of, host, { values: new Map(values.map((name) => [name, 'x'])), unavailable: new Map(Object.entries(unavailable)) });
    expect(missing(header, ['cred:demo/key'])).toBeUndefined();
    expect(missing(header, ['cred:demo/other'])).toBe('SecretNotFound');
    expect(missing(header, [], { 'cred:demo/key': 'TokenPending' })).toBe('TokenPending');
    expect(missing({ ...header, missing: 'SecretKeyNotFound' }, ['cred:demo/key'])).toBe('SecretKeyNotFound');
    expect(missing(use({ kind: 'AWSv4', service: 's3' }), ['cred:demo/key'], {}, 's3.amazonaws.com')).toBe('RegionUnknown');
  });

  test.each([
    { kind: 'Header', header: 'x-key' },
    { kind: 'QueryParam', name: 'key' },
    { kind: 'GCPServiceAccount' },
    { kind: 'AWSv4', service: 'bedrock' },
  ] as const)('whole answers are searched when the policy says so: %j', (inject) => {
    const whole = (more: Partial<CredentialUse>) => (filters(use(inject, more), AWS)[0]!['filter_context'] as { readonly whole: boolean }).whole;
    expect([whole({}), whole({ redactResponses: true })]).toEqual([false, true]);
  });
});
