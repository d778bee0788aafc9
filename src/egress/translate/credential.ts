import { createHash } from 'node:crypto';
import type { AwsKey, CredentialUse } from '#model';
import { awsRegion, type Provider } from '#policy';
import { CREDENTIAL_LUA, ECHO_HEADER, QUERY_HEADER } from './credential-lua.ts';
import { ADS, extension, type Json } from './envoy.ts';

/**
 * What makes a cluster inject: upstream filters, so that the credential is bound to the one host of the cluster, whose certificate
 * proves it, and is put in anew with every attempt. The filters are, in order: the script, the injector, and the one that hands an answer the
 * value to look for.
 */

/** Every form of credential an agent could bring along, beside what the provider's own table names. */
const CREDENTIAL_HEADERS = ['authorization', 'proxy-authorization', 'x-api-key', 'api-key', 'x-goog-api-key', 'cookie'];
/** What a signature of AWS is made of. */
const AWS_HEADERS = ['x-amz-date', 'x-amz-security-token', 'x-amz-content-sha256', 'x-amz-region-set', 'x-amz-s3session-token'];

/** Whose requests a credential goes into, as refusals name it. */
export interface CredentialPlace {
  readonly host: string;
  /** Whose other forms of a credential are removed, too. */
  readonly provider?: Provider | undefined;
  /** `namespace/name`. */
  readonly gateway: string;
  readonly route: string;
}

/** Headers that are removed from a request before a credential goes in. */
const headersOf = ({ inject }: CredentialUse, provider: Provider | undefined): readonly string[] =>
  [
    ...new Set([
      ...CREDENTIAL_HEADERS,
      ...(provider?.credentialHeaders ?? []),
      ...(inject.kind === 'Header' ? [inject.header] : []),
      ...(inject.kind === 'AWSv4' ? AWS_HEADERS : []),
    ]),
  ].sort();

const KINDS = { Header: 'header', GCPServiceAccount: 'header', QueryParam: 'query', AWSv4: 'aws' } as const;

const script = (context: Json): Json => {
  const id = createHash('sha256').update(JSON.stringify(context)).digest('hex').slice(0, 16);
  return extension('credential-script', 'envoy.extensions.filters.http.lua.v3.Lua', {
    default_source_code: { inline_string: CREDENTIAL_LUA },
    shared_vm_id: 'clrk.credential',
    filter_context: { id, ...context },
  });
};

const injector = (credential: string, header: string): Json =>
  extension('credential', 'envoy.extensions.filters.http.credential_injector.v3.CredentialInjector', {
    overwrite: true,
    allow_request_without_credential: false,
    credential: extension('envoy.http.injected_credentials.generic', 'envoy.extensions.http.injected_credentials.generic.v3.Generic', {
      header,
      credential: { name: credential, sds_config: ADS },
    }),
  });

/** Removes headers of the request, whatever the script did; tells the answer what was injected. An answer must not come compressed. */
const edits = (removed: readonly string[], echo: string): Json =>
  extension('credential-edits', 'envoy.extensions.filters.http.header_mutation.v3.HeaderMutation', {
    mutations: {
      request_mutations: [...removed, 'accept-encoding'].map((remove) => ({ remove })),
      response_mutations: [{ append: { header: { key: ECHO_HEADER, value: echo }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' } }],
    },
  });

/** The key is in the configuration of the cluster, marked as sensitive: Envoy shows neither it nor the token in its dump. */
const signer = (service: string, region: string, { accessKeyId, secretAccessKey, sessionToken }: AwsKey): Json =>
  extension('signature', 'envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning', {
    service_name: service,
    region,
    // Of the headers, those that say what is asked for; others may be changed on the way.
    match_included_headers: [{ exact: 'content-type' }],
    credential_provider: {
      // Nothing but this key: else Envoy would look around on this machine.
      custom_credential_provider_chain: true,
      inline_credential: {
        access_key_id: accessKeyId,
        secret_access_key: secretAccessKey,
        ...(sessionToken !== undefined && { session_token: sessionToken }),
      },
    },
  });

/** The upstream filters that inject a credential. `value` is that of the credential; Envoy gets it here for AWSv4 alone, else by SDS. */
export const credentialFilters = (use: CredentialUse, { host, provider, gateway, route }: CredentialPlace, value: string | undefined): readonly Json[] => {
  const { inject, credential, policy } = use;
  const headers = headersOf(use, provider);
  const query = [...(provider?.credentialQuery ?? []), ...(inject.kind === 'QueryParam' ? [inject.name] : [])].map((name) => name.toLowerCase());
  const about = script({
    kind: KINDS[inject.kind],
    gateway,
    route,
    policy: `CredentialInjectionPolicy/${policy}`,
    headers,
    query,
    whole: use.redactResponses === true,
  });
  // Answers come the other way around: first they are told what was injected, then the script looks.
  if (inject.kind === 'QueryParam')
    return [about, injector(credential, QUERY_HEADER), script({ put: true }), edits([...headers, QUERY_HEADER], '%REQ(:PATH)%')];
  if (inject.kind === 'AWSv4') {
    const region = awsRegion(inject, host);
    if (region === undefined || value === undefined) throw new Error(`credential ${credential} cannot sign requests to ${host}`);
    return [about, edits(headers, '%REQ(AUTHORIZATION)% %REQ(X-AMZ-SECURITY-TOKEN)%'), signer(inject.service, region, JSON.parse(value) as AwsKey)];
  }
  const header = inject.kind === 'Header' ? inject.header : 'authorization';
  return [
    about,
    injector(credential, header),
    edits(
      headers.filter((name) => name !== header),
      `%REQ(${header.toUpperCase()})%`,
    ),
  ];
};

/** Names of the SDS secrets a credential needs. */
export const secretsOf = ({ inject, credential }: CredentialUse): readonly string[] => (inject.kind === 'AWSv4' ? [] : [credential]);

/** RFC 3986 2.3: what needs no encoding in a query. */
const encoded = (text: string): string => encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);

/** What Envoy's injector gets by SDS. */
export const injectedValue = ({ inject }: CredentialUse, value: string): string =>
  inject.kind === 'QueryParam' ? `${encoded(inject.name)}=${encoded(value)}` : value;
