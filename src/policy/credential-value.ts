import { createPrivateKey } from 'node:crypto';
import type { CredentialInjectionPolicy } from '#api';
import type { AwsKey, CredentialUse, Injection, ServiceAccountKey } from '#model';
import { keyOf, type SecretLookup } from './attach.ts';

/** What a CredentialInjectionPolicy injects: its Secret read, and refused where it cannot be used. */

/** Headers that frame a message, route it or belong to us: never set from a Secret. */
const UNSETTABLE =
  /^(?:host|accept-encoding|content-length|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|traceparent|proxy-.*|x-clrk-.*|x-envoy-.*)$/;
// A header value: visible characters, spaces and tabs inside (RFC 9110, 5.5).
const HEADER_VALUE = /^[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?$/;
const VISIBLE = /^[\x21-\x7e]+$/;
const AWS_KEY_ID = /^\w{1,128}$/;
/** Service of a signature when the policy names none. */
const DEFAULT_SERVICE = 'bedrock';

/** Where a token may be asked for; a key of a service account names one of them. Source: https://developers.google.com/identity/protocols/oauth2/service-account */
const TOKEN_HOSTS: ReadonlySet<string> = new Set(['oauth2.googleapis.com', 'www.googleapis.com', 'accounts.google.com']);
const DEFAULT_TOKEN_URI = 'https://oauth2.googleapis.com/token';

export interface Credential {
  readonly use: CredentialUse;
  /** Absent when it cannot inject. */
  readonly value?: string;
  readonly why: string;
}

/** Why a Secret cannot be used. */
class Unusable extends Error {
  readonly reason: string;
  constructor(reason: string, message: string) {
    super(message);
    this.reason = reason;
  }
}

const invalid = (message: string): Unusable => new Unusable('SecretValueInvalid', message);

export const injectionOf = ({ spec }: CredentialInjectionPolicy): Injection => {
  const { target, headerName, queryParamName, providerAuth } = spec;
  if (target === 'QueryParam') return { kind: 'QueryParam', name: queryParamName ?? '' };
  if (target === 'Header') return { kind: 'Header', header: headerName?.toLowerCase() ?? 'authorization' };
  if (providerAuth?.type === 'GCPServiceAccount') return { kind: 'GCPServiceAccount' };
  return { kind: 'AWSv4', ...(providerAuth?.region && { region: providerAuth.region }), service: providerAuth?.service ?? DEFAULT_SERVICE };
};

type Values = Readonly<Record<string, string>>;

const valueAt = (values: Values, secret: string, key: string): string => {
  if (!Object.hasOwn(values, key)) throw new Unusable('SecretKeyNotFound', `Secret ${secret} has no key ${key}.`);
  return values[key]!;
};

const textOf = (values: Values, secret: string, key: string): string => {
  const value = valueAt(values, secret, key);
  if (!HEADER_VALUE.test(value)) throw invalid(`Key ${key} of Secret ${secret} is not a header value: empty, or with a line end or a space around it.`);
  return value;
};

const awsKeyOf = (values: Values, secret: string): AwsKey => {
  const accessKeyId = valueAt(values, secret, 'access_key_id');
  const secretAccessKey = valueAt(values, secret, 'secret_access_key');
  const sessionToken = Object.hasOwn(values, 'session_token') ? values['session_token']! : undefined;
  if (!AWS_KEY_ID.test(accessKeyId)) throw invalid(`Key access_key_id of Secret ${secret} is not an id of a key of AWS.`);
  if (!VISIBLE.test(secretAccessKey)) throw invalid(`Key secret_access_key of Secret ${secret} is empty, or has a space or line end.`);
  if (sessionToken !== undefined && !VISIBLE.test(sessionToken)) throw invalid(`Key session_token of Secret ${secret} is empty, or has a space or line end.`);
  return { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
};

/** A key file of a service account, as Google gives it out. */
const serviceAccountOf = (text: string, where: string): ServiceAccountKey => {
  let file: Readonly<Record<string, unknown>>;
  try {
    file = Object(JSON.parse(text)) as Readonly<Record<string, unknown>>;
  } catch {
    throw invalid(`${where} is not JSON: it has to be the key file of a service account.`);
  }
  const field = (name: string): string | undefined => (typeof file[name] === 'string' && file[name] !== '' ? file[name] : undefined);
  if (field('type') !== 'service_account') throw invalid(`${where} is not the key file of a service account: its type is not service_account.`);
  const [email, privateKey, privateKeyId] = [field('client_email'), field('private_key'), field('private_key_id')];
  if (email === undefined || privateKey === undefined) throw invalid(`${where} lacks client_email or private_key.`);
  const tokenUri = field('token_uri') ?? DEFAULT_TOKEN_URI;
  const url = URL.parse(tokenUri);
  if (url?.protocol !== 'https:' || url.port !== '' || url.username !== '' || !TOKEN_HOSTS.has(url.hostname))
    throw invalid(`${where} has a token_uri that is not https at ${[...TOKEN_HOSTS].join(', ')}.`);
  try {
    if (createPrivateKey(privateKey).asymmetricKeyType !== 'rsa') throw new Error('not RSA');
  } catch {
    throw invalid(`${where} has a private_key that is not an RSA key in PEM.`);
  }
  return { email, privateKey, ...(privateKeyId !== undefined && { privateKeyId }), tokenUri: url.href };
};

const readSecret = (policy: CredentialInjectionPolicy, inject: Injection, secret: SecretLookup): string => {
  const { secretRef, secretKey } = policy.spec;
  const { name } = secretRef;
  if (inject.kind === 'Header' && UNSETTABLE.test(inject.header)) throw new Unusable('Invalid', `Header ${inject.header} cannot be set.`);
  if (secretRef.group || (secretRef.kind && secretRef.kind !== 'Secret')) throw new Unusable('InvalidKind', 'secretRef must name a Secret.');
  const values = secret(name, keyOf(policy).namespace);
  if (!values) throw new Unusable('SecretNotFound', `There is no Secret ${name} in this namespace.`);
  if (inject.kind === 'AWSv4') return JSON.stringify(awsKeyOf(values, name));
  if (inject.kind === 'GCPServiceAccount') return JSON.stringify(serviceAccountOf(valueAt(values, name, secretKey), `Key ${secretKey} of Secret ${name}`));
  return textOf(values, name, secretKey);
};

/** What a policy injects, or why it cannot. */
export const credentialOf = (policy: CredentialInjectionPolicy, secret: SecretLookup): Credential => {
  const { namespace, name } = keyOf(policy);
  const inject = injectionOf(policy);
  const redact = policy.spec.redactResponses === true;
  const use = { policy: `${namespace}/${name}`, credential: `cred:${namespace}/${name}`, inject, ...(redact && { redactResponses: true }) };
  try {
    return { use, value: readSecret(policy, inject, secret), why: '' };
  } catch (error) {
    if (error instanceof Unusable) return { use: { ...use, missing: error.reason }, why: error.message };
    throw error;
  }
};

/** The region in a name of AWS: `bedrock-runtime.eu-central-1.amazonaws.com`. */
const AWS_HOST = /\.([a-z]{2,3}(?:-[a-z]+)+-\d{1,2})\.(?:amazonaws\.com(?:\.cn)?|api\.aws)$/;

/** Region requests to a host are signed for; undefined when neither the policy nor the host names one. */
export const awsRegion = ({ region }: Extract<Injection, { kind: 'AWSv4' }>, host: string): string | undefined => region ?? AWS_HOST.exec(host)?.[1];

/** Why a credential cannot be injected into requests to a host; undefined when it can. */
export const credentialProblem = ({ missing, inject }: CredentialUse, host: string): string | undefined =>
  missing ?? (inject.kind === 'AWSv4' && awsRegion(inject, host) === undefined ? 'RegionUnknown' : undefined);
