import { expect, test } from 'vitest';
import type { CredentialUse, Injection } from '#model';
import { providerNamed } from '#policy';
import { credentialFilters } from '../../../src/egress/translate/credential.ts';

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
