import { expect, test } from 'vitest';
import { parseAccess } from '../../../src/telemetry/recorder/lines.ts';

const line = (change: object): string =>
  JSON.stringify({ time: '2026-11-26T02:02:12.969Z', id: 'x', chain: 'http', source: '100.64.0.5', gateway: 'default/gw', ...change });

test('a request without an id of its own is on record by what its line says, the same each time it is read', () => {
  const unread = line({ id: null, status: 400, details: 'http1.codec_error' });
  const parsed = parseAccess(unread)!;
  expect(parsed).toMatchObject({ chain: 'http', status: 400 });
  expect(parsed.id).toMatch(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  expect(parseAccess(unread)!.id).toBe(parsed.id);
  expect(parseAccess(line({ id: null, status: 431 }))!.id).not.toBe(parsed.id);
  expect(parseAccess(line({}))!.id).toBe('x');
});

test('the verdict of a connection: what is known of it, and nothing of another shape', () => {
  const verdict = { verdict: 'Denied', reason: 'NoRoute', route: '', rule: '-1', revision: 'r', host: 'db.example', message: 'x' };
  expect(parseAccess(line({ chain: 'tcp', verdict }))).toMatchObject({
    chain: 'tcp',
    verdict: { verdict: 'Denied', reason: 'NoRoute', route: '', rule: -1, revision: 'r', host: 'db.example' },
  });
  expect(parseAccess(line({ chain: 'tcp', verdict: 'Allowed' }))!.verdict).toBeUndefined();
  expect(parseAccess(line({ chain: 'quic' }))).toBeUndefined();
});
