import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { TestStack } from '../../e2e/harness.ts';
import { isWhole, needlesOf, type Needle } from '../../e2e/support/canary.ts';
import type { Manifest } from '../../e2e/support/manifests.ts';
import type { EchoServers } from './echo-servers.ts';

/** A credential of every kind there is, each at an upstream of its own that says back what it was sent. */

const GATEWAY = 'canary';
const EMAIL = 'runner@p-1.iam.gserviceaccount.com';
const part = (): string => randomBytes(9).toString('hex');
/** Each part of it has characters that some encoding changes, and none is found anywhere by chance. */
const value = (): string => `cn/${part()}"${part()}\\${part()}%~${part()}+=`;

export const HOSTS = {
  /** A header; bodies are searched where they are errors. */
  header: 'header.echo.example',
  /** A header; bodies are always searched. */
  whole: 'whole.echo.example',
  query: 'query.echo.example',
  /** Of the whole gateway, at a name that an L4 route admits. */
  wide: 'wide.echo.example',
  aws: 'bedrock-runtime.eu-central-1.amazonaws.com',
  gcp: 'us-central1-aiplatform.googleapis.com',
  /** A header, of an MCP server. */
  mcp: 'mcp.echo.example',
  /** Nobody is there. */
  dead: 'dead.echo.example',
} as const;
export const TOKEN_HOST = 'oauth2.googleapis.com';
/** Models and paths that routes admit. */
export const PATHS = {
  aws: '/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse',
  gcp: '/v1/projects/p-1/locations/us-central1/publishers/google/models/gemini-2.0-flash:generateContent',
} as const;

const object = (kind: string, name: string, spec: Manifest['spec']): Manifest => ({
  apiVersion: 'clrk.apoxy.dev/v1alpha1',
  kind,
  metadata: { name, namespace: 'default' },
  spec,
});
const ref = (kind: string, name: string) => [{ group: 'clrk.apoxy.dev', kind, name }];

export interface Credentials {
  /** What is nowhere but where it has to be. A token is known by what its endpoint makes it of. */
  readonly needles: readonly Needle[];
  /** Of the keys that Envoy injects as they are: found in its memory, or it is not the memory of Envoy. */
  readonly injected: readonly string[];
  /** For the token endpoint: public keys by email. */
  readonly accounts: Readonly<Record<string, string>>;
  apply(stack: TestStack, servers: EchoServers, marker: string): Promise<void>;
}

export const createCredentials = (): Credentials => {
  const keys = { header: value(), whole: value(), query: value(), wide: value(), mcp: value(), dead: value() };
  const aws = {
    access_key_id: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
    secret_access_key: `${part()}/${part()}+`,
    session_token: `${part()}/+${part()}==`,
  };
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const account = { type: 'service_account', client_email: EMAIL, private_key: pem, token_uri: `https://${TOKEN_HOST}/token` };
  // The first lines are the public half.
  const lines = pem.split('\n').slice(12, 22);
  const values = [...Object.values(keys), aws.secret_access_key, aws.session_token, ...lines.slice(0, 2)];
  // Of its halves there are too many by chance.
  const token = needlesOf('ya29.minted-').filter(isWhole);
  const manifests = (servers: EchoServers, marker: string): Manifest[] => {
    const custom = (name: string) =>
      object('AIProviderRoute', name, {
        parentRefs: ref('EgressGateway', GATEWAY),
        rules: [{ matches: [{ provider: 'custom', endpoints: [`${HOSTS[name as 'header']}/*`] }] }],
      });
    const inject = (name: string, spec: object, target = ref('AIProviderRoute', name)) =>
      object('CredentialInjectionPolicy', name, { parentRefs: target, secretRef: { name: `canary-${name}` }, ...spec });
    const bearer = { target: 'Header', headerName: 'authorization', secretKey: 'value' };
    return [
      object('EgressGateway', GATEWAY, {
        defaultPolicy: 'deny-all',
        listeners: [{ name: 'inspected', protocol: 'TLS', tls: { mode: 'Terminate' } }],
        upstreamTLS: {
          hostAliases: [
            { ip: servers.ip, hostnames: Object.values(HOSTS).filter((host) => host !== HOSTS.dead) },
            { ip: servers.tokenIp, hostnames: [TOKEN_HOST] },
            // There is no listener.
            { ip: servers.deadIp, hostnames: [HOSTS.dead] },
          ],
          additionalTrustBundleSecretRef: { name: 'canary-ca' },
        },
      }),
      ...['header', 'whole', 'query', 'dead'].map(custom),
      object('AIProviderRoute', 'aws', {
        parentRefs: ref('EgressGateway', GATEWAY),
        rules: [{ matches: [{ provider: 'bedrock', models: ['anthropic.claude-haiku-*'] }] }],
      }),
      object('AIProviderRoute', 'gcp', {
        parentRefs: ref('EgressGateway', GATEWAY),
        rules: [
          { matches: [{ provider: 'google', models: ['gemini-2.0-flash'], endpoints: [`${HOSTS.gcp}/v1/projects/*/locations/*/publishers/*/models/*`] }] },
        ],
      }),
      // Its name shows that what is searched is what tells of routes.
      object('AIProviderRoute', marker, {
        parentRefs: ref('EgressGateway', GATEWAY),
        rules: [{ matches: [{ provider: 'custom', endpoints: [`${marker}.echo.example/*`] }] }],
      }),
      object('MCPRoute', 'mcp', {
        parentRefs: ref('EgressGateway', GATEWAY),
        rules: [{ matches: [{ servers: [`https://${HOSTS.mcp}/*`] }], filters: [{ type: 'ToolPolicy', toolPolicy: { allowedTools: ['search'] } }] }],
      }),
      object('EgressL4Route', 'wide', { parentRefs: ref('EgressGateway', GATEWAY), rules: [{ matches: [{ destinationHostnames: [HOSTS.wide] }] }] }),
      inject('header', bearer),
      inject('whole', { ...bearer, redactResponses: true }),
      inject('dead', bearer),
      inject('mcp', bearer, ref('MCPRoute', 'mcp')),
      inject('query', { target: 'QueryParam', queryParamName: 'key', secretKey: 'value' }),
      inject('wide', { ...bearer, headerName: 'x-api-key' }, ref('EgressGateway', GATEWAY)),
      inject('aws', { target: 'ProviderAuth', providerAuth: { type: 'AWSv4' } }),
      inject('gcp', { target: 'ProviderAuth', providerAuth: { type: 'GCPServiceAccount' }, secretKey: 'value' }),
    ];
  };
  return {
    needles: [...values.flatMap(needlesOf), ...token],
    injected: [keys.header, keys.whole],
    accounts: { [EMAIL]: publicKey.export({ type: 'spki', format: 'pem' }).toString() },
    async apply(stack, servers, marker) {
      await stack.secret('canary-ca', { 'ca.crt': servers.ca });
      for (const name of ['header', 'whole', 'mcp', 'dead'] as const) await stack.secret(`canary-${name}`, { value: `Bearer ${keys[name]}` });
      for (const name of ['query', 'wide'] as const) await stack.secret(`canary-${name}`, { value: keys[name] });
      await stack.secret('canary-aws', aws);
      await stack.secret('canary-gcp', { value: JSON.stringify(account) });
      await stack.apply(...manifests(servers, marker));
      await stack.programmed(GATEWAY);
    },
  };
};
