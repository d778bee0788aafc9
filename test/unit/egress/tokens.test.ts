import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { silentLogger, systemClock } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import type { ServiceAccountKey } from '#model';
import { ServiceAccountTokens } from '../../../src/egress/credentials/service-account-tokens.ts';
import { NoToken, requestToken, type Token } from '../../../src/egress/credentials/token-request.ts';
import { createTokenEndpoint, type TokenEndpointOptions } from '../../fixtures/google-token/server.ts';

/** Tokens for service accounts: how one is asked for, and how it is kept fresh. */

const pairOf = () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
};
const pair = pairOf();
const EMAIL = 'runner@p.iam.gserviceaccount.com';
const key: ServiceAccountKey = { email: EMAIL, privateKey: pair.privateKey, privateKeyId: 'k1', tokenUri: 'https://oauth2.googleapis.com/token' };

describe('one request', () => {
  const endpoint = async (change: Partial<TokenEndpointOptions> = {}, name = 'oauth2.googleapis.com') => {
    const valid = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
    const root = await createAuthority({ subject: 'CN=root', ca: { pathLength: 0 }, ...valid });
    const { certPem, keyPem } = await (await loadSigner(root)).issue({ subject: '', usage: 'server', dns: [name], ...valid });
    const server = createTokenEndpoint({ cert: certPem, key: keyPem, accounts: new Map([[EMAIL, pair.publicKey]]), ...change });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const place = { addresses: ['127.0.0.1'], trusted: root.certPem, port: (server.address() as AddressInfo).port, signal: AbortSignal.timeout(10_000) };
    return {
      ask: (of: ServiceAccountKey = key, now = Date.now()): Promise<Token> => requestToken(of, { ...place, now }),
      [Symbol.dispose]: () => void server.close(),
    };
  };
  const failing = async (change: Partial<TokenEndpointOptions>, of = key, now = Date.now(), name?: string): Promise<string> => {
    const { ask, ...server } = await endpoint(change, name);
    const error: unknown = await ask(of, now).catch((caught: unknown) => caught);
    server[Symbol.dispose]();
    expect(error).toBeInstanceOf(NoToken);
    const { reason, message } = error as NoToken;
    expect(message).not.toMatch(/eyJ|PRIVATE|assertion/);
    return `${reason}: ${message}`;
  };

  test('an assertion whose signature the endpoint verifies gets a token', async () => {
    const { ask, ...server } = await endpoint();
    expect(await ask()).toEqual({ token: 'ya29.runn-0', lifetimeMs: 3_599_000 });
    server[Symbol.dispose]();
  });
  test('the key of somebody else, another account, a clock that is far off', async () => {
    const refused = 'TokenRefused: oauth2.googleapis.com answered 400: invalid_grant';
    expect(await failing({}, { ...key, privateKey: pairOf().privateKey })).toBe(refused);
    expect(await failing({}, { ...key, email: 'nobody@p.iam.gserviceaccount.com' })).toBe(refused);
    expect(await failing({}, key, Date.now() + 7_200_000)).toBe(refused);
  });
  test('an endpoint that does not prove its name gets nothing', async () =>
    expect(await failing({}, key, Date.now(), 'other.example')).toMatch(/^TokenUnavailable: .*altnames/));
  test.each([
    [500, 'oops', 'answered 500'],
    [429, '{"error":"slow_down"}', 'answered 429'],
    [302, '', 'answered 302'],
    [200, 'x', 'not JSON'],
    [200, 'null', 'no bearer token'],
    [200, '{"access_token":"a b","token_type":"Bearer","expires_in":1}', 'no bearer token'],
    [200, '{"access_token":"a\\r\\nx: y","token_type":"Bearer","expires_in":1}', 'no bearer token'],
    [200, '{"access_token":"a","token_type":"mac","expires_in":1}', 'no bearer token'],
    [200, '{"access_token":"a","token_type":"Bearer"}', 'how long'],
    [200, 'x'.repeat(70_000), 'too long'],
  ])('an answer that is none: %d, %#', async (status, body, why) => expect(await failing({ grant: () => ({ status, body }) })).toContain(why));
});

describe('kept fresh', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const HOUR = 3_600_000;
  const JSON_KEY = JSON.stringify(key);

  const tokens = (answer: (n: number, key: ServiceAccountKey) => Token | NoToken) => {
    let n = 0;
    const changed = vi.fn<() => void>();
    const kept = new ServiceAccountTokens({
      request: async (of) => {
        const said = answer(n++, of);
        if (said instanceof NoToken) throw said;
        return said;
      },
      changed,
      clock: { ...systemClock, monotonic: () => Date.now() },
      log: silentLogger,
    });
    kept.want(new Map([['cred:a', JSON_KEY]]));
    return { kept, changed, asked: () => n };
  };
  const good = (n: number): Token => ({ token: `t${n}`, lifetimeMs: HOUR });
  const away = new NoToken('TokenUnavailable', 'away');

  test('at once, and anew 5 to 6 minutes before the end', async () => {
    const { kept, changed, asked } = tokens(good);
    expect(kept.of('cred:a')).toEqual({ reason: 'TokenPending' });
    await vi.advanceTimersByTimeAsync(0);
    expect(kept.of('cred:a')).toEqual({ token: 't0' });
    expect(changed).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(HOUR - 361_000);
    expect(asked()).toBe(1);
    await vi.advanceTimersByTimeAsync(61_000);
    expect(kept.of('cred:a')).toEqual({ token: 't1' });
    kept[Symbol.dispose]();
  });

  test('one that cannot be renewed is good until it ends; then there is none, and why', async () => {
    const { kept, changed } = tokens((n) => (n === 0 ? good(0) : away));
    await vi.advanceTimersByTimeAsync(HOUR - 1);
    expect(kept.of('cred:a')).toEqual({ token: 't0' });
    await vi.advanceTimersByTimeAsync(1);
    expect(kept.of('cred:a')).toEqual({ reason: 'TokenUnavailable' });
    expect(changed.mock.calls.length).toBeGreaterThanOrEqual(2);
    kept[Symbol.dispose]();
  });

  test('a failure is tried again, ever more slowly, until it works', async () => {
    const { kept, asked } = tokens((n) => (n < 4 ? away : good(n)));
    await vi.advanceTimersByTimeAsync(1_000 + 2_000 + 4_000 + 8_000);
    expect([asked(), kept.of('cred:a')]).toEqual([5, { token: 't4' }]);
    kept[Symbol.dispose]();
  });

  test('another key: the token before is used until there is an answer, and not after a refusal', async () => {
    let refuse = false;
    const { kept } = tokens((n, { email }) => (refuse ? new NoToken('TokenRefused', 'no') : { ...good(n), token: email }));
    await vi.advanceTimersByTimeAsync(0);
    kept.want(new Map([['cred:a', JSON.stringify({ ...key, email: 'second' })]]));
    expect(kept.of('cred:a')).toEqual({ token: EMAIL });
    await vi.advanceTimersByTimeAsync(0);
    expect(kept.of('cred:a')).toEqual({ token: 'second' });
    refuse = true;
    kept.want(new Map([['cred:a', JSON.stringify({ ...key, email: 'third' })]]));
    await vi.advanceTimersByTimeAsync(0);
    expect(kept.of('cred:a')).toEqual({ reason: 'TokenRefused' });
    kept.want(new Map());
    expect(vi.getTimerCount()).toBe(0);
  });
});
