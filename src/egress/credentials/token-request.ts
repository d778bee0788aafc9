import { createSign } from 'node:crypto';
import { request } from 'node:https';
import { isIPv6 } from 'node:net';
import type { ServiceAccountKey } from '#model';

/**
 * Asks Google for an access token of a service account, with an assertion signed by its key (RFC 7523).
 * Source: https://developers.google.com/identity/protocols/oauth2/service-account#httprest
 */

/** Everything the service account may do: what it may is set by its roles. */
const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ASSERTION_S = 3600;
const TIMEOUT_MS = 10_000;
const MAX_ANSWER = 64 * 1024;

export interface Token {
  readonly token: string;
  /** How long it is good, from when it was asked for. */
  readonly lifetimeMs: number;
}

/** Why there is no token: `TokenRefused` (the answer was no), `TokenUnavailable` (there was none). The message has no value in it. */
export class NoToken extends Error {
  readonly reason: 'TokenRefused' | 'TokenUnavailable';
  constructor(reason: NoToken['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** The signed assertion of a service account. `now` in milliseconds. */
export const assertionOf = ({ email, privateKey, privateKeyId, tokenUri }: ServiceAccountKey, now: number): string => {
  const iat = Math.floor(now / 1000);
  const head = part({ alg: 'RS256', typ: 'JWT', ...(privateKeyId !== undefined && { kid: privateKeyId }) });
  const signed = `${head}.${part({ iss: email, scope: SCOPE, aud: tokenUri, iat, exp: iat + ASSERTION_S })}`;
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(privateKey, 'base64url')}`;
};

const tokenIn = (text: string): Token => {
  let answer: Readonly<Record<string, unknown>>;
  try {
    answer = Object(JSON.parse(text)) as Readonly<Record<string, unknown>>;
  } catch {
    throw new NoToken('TokenUnavailable', 'the answer is not JSON');
  }
  const { access_token: token, expires_in: seconds, token_type: type } = answer;
  // RFC 6749 A.12, and nothing that could end a header.
  if (typeof token !== 'string' || !/^[\x21-\x7e]{1,8192}$/.test(token) || String(type).toLowerCase() !== 'bearer')
    throw new NoToken('TokenUnavailable', 'the answer has no bearer token');
  if (typeof seconds !== 'number' || !(seconds > 0)) throw new NoToken('TokenUnavailable', 'the answer does not say how long the token is good');
  return { token, lifetimeMs: Math.min(seconds, 86_400) * 1000 };
};

/** The word of an OAuth error, if it is one: nothing else of such an answer is told. */
const errorIn = (text: string): string => {
  try {
    const { error } = Object(JSON.parse(text)) as { error?: unknown };
    return typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? `: ${error}` : '';
  } catch {
    return '';
  }
};

export interface TokenPlace {
  /** Checked addresses of the host of `tokenUri`; the first is dialled. */
  readonly addresses: readonly string[];
  /** PEM of what its certificate is verified with. */
  readonly trusted: string;
  readonly now: number;
  /** 443 but for tests. */
  readonly port?: number;
  readonly signal: AbortSignal;
}

/** A new token, or a `NoToken`. Redirects are not followed. */
export const requestToken = (key: ServiceAccountKey, { addresses, trusted, now, port = 443, signal }: TokenPlace): Promise<Token> =>
  new Promise((resolve, reject) => {
    const url = new URL(key.tokenUri);
    const body = new URLSearchParams({ grant_type: GRANT, assertion: assertionOf(key, now) }).toString();
    const unavailable = (why: string): void => reject(new NoToken('TokenUnavailable', why));
    const [address] = addresses;
    if (address === undefined) return unavailable(`${url.hostname} has no address`);
    const call = request(
      {
        host: address,
        family: isIPv6(address) ? 6 : 4,
        servername: url.hostname,
        port,
        method: 'POST',
        path: url.pathname + url.search,
        ca: trusted,
        minVersion: 'TLSv1.2',
        agent: false,
        headers: {
          host: url.hostname,
          'content-type': 'application/x-www-form-urlencoded',
          'content-length': Buffer.byteLength(body),
          accept: 'application/json',
        },
        timeout: TIMEOUT_MS,
        signal,
      },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
          if (text.length > MAX_ANSWER) call.destroy(new Error('the answer is too long'));
        });
        answer.once('error', (error) => unavailable(error.message));
        answer.once('end', () => {
          const { statusCode: status = 0 } = answer;
          if (status >= 400 && status < 500 && status !== 429) return reject(new NoToken('TokenRefused', `${url.hostname} answered ${status}${errorIn(text)}`));
          if (status !== 200) return unavailable(`${url.hostname} answered ${status}`);
          try {
            resolve(tokenIn(text));
          } catch (error) {
            reject(error as Error);
          }
        });
      },
    );
    call.once('timeout', () => call.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
    call.once('error', (error) => unavailable(error.message));
    call.end(body);
  });

/** The first answer about the addresses of a name, or a `NoToken` with what is wrong with it. */
export const addressesOf = async (
  watch: (listener: (addresses: readonly string[], problem: string) => void) => Disposable,
  signal: AbortSignal,
): Promise<readonly string[]> => {
  const first = Promise.withResolvers<readonly string[]>();
  const give = (): void => first.reject(new NoToken('TokenUnavailable', 'no name server answered'));
  const timer = setTimeout(give, TIMEOUT_MS);
  signal.addEventListener('abort', give, { once: true });
  using _watching = watch((addresses, problem) => (problem ? first.reject(new NoToken('TokenUnavailable', problem)) : first.resolve(addresses)));
  try {
    return await first.promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', give);
  }
};
