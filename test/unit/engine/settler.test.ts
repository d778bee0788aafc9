import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AsyncQueue, silentLogger } from '#lib';
import { settlementOf } from '#policy';
import type { AccessLine } from '#model';
import { createSettler } from '../../../src/egress/engine/settler.ts';

const line = (fields: Partial<AccessLine> = {}, engine: object = {}): AccessLine => ({
  time: '2026-01-01T00:00:00.000Z',
  id: 'd1',
  chain: 'http',
  gateway: 'demo/egress',
  source: '100.64.0.1',
  status: 200,
  upstream: '10.0.0.2:443',
  responseBytes: 40,
  engine: {
    verdict: 'Allowed',
    reason: 'Allowed',
    route: 'r',
    rule: 0,
    revision: 'x',
    provider: 'openai',
    model: 'gpt-4o',
    stream: true,
    reservedInput: 100,
    reservedOutput: 1000,
    ...engine,
  },
  ...fields,
});

/** A provider that reports from the beginning of a stream on. */
const ALONG = { provider: 'anthropic', model: 'claude-3-haiku-20240307' };

describe('what a request used', () => {
  test.each<[string, AccessLine, number | undefined]>([
    ['the reported usage', line({ usage: { input: 11, output: 5 } }), 16],
    ['more than was reserved, when that is reported', line({ usage: { input: 5000, output: 5 } }), 5005],
    ['the bound of the half that is not reported', line({ usage: { input: 11 } }), 1011],
    ['usage also of a stream the client cut', line({ usage: { input: 11, output: 5 }, flags: 'DC' }), 16],
    ['nothing without an upstream', line({ upstream: undefined, status: 503, flags: 'UH' }), 0],
    ['nothing when the connection failed', line({ status: 503, flags: 'UF' }), 0],
    ['nothing when the provider refused', line({ status: 429 }), 0],
    ['the bound when the provider failed', line({ status: 500 }), 1100],
    ['the bound when the upstream broke off', line({ status: 503, flags: 'UC' }), 1100],
    ['the bound after a timeout', line({ status: 504, flags: 'UT' }), 1100],
    ['the bound when the client left before any answer', line({ status: 0, flags: 'DC' }), 1100],
    ['input and a token a byte of a cut stream', line({ flags: 'DC' }), 140],
    ...['DPE', 'DF', 'OM', 'IH', 'UAEX', 'RL'].map(
      (flags) =>
        [`what was sent of a stream that ended with ${flags}, which an agent can cause when it has read it`, line({ flags }), 140] as [
          string,
          AccessLine,
          number,
        ],
    ),
    ['at least what is reported so far of a cut stream', line({ flags: 'DC', usage: { input: 11, output: 90 } }, ALONG), 101],
    ['more than what is reported so far of a cut stream', line({ flags: 'DC', usage: { input: 11, output: 1 } }, ALONG), 51],
    [
      'what is reported of a cut stream that had its finish reason',
      line({ flags: 'DC', usage: { input: 11, output: 1, finishReason: 'end_turn' } }, ALONG),
      12,
    ],
    ['what is reported of a stream that ended', line({ usage: { input: 11, output: 1 } }, ALONG), 12],
    ['at most the output bound of a cut stream', line({ flags: 'DC', responseBytes: 1e6 }), 1100],
    ['the bound of a cut stream with hidden reasoning', line({ flags: 'DC' }, { model: 'o3' }), 1100],
    ['the bound of a cut stream that was asked to think', line({ flags: 'DC' }, { hiddenReasoning: true }), 1100],
    ['the bound of a cut stream of an unknown model', line({ flags: 'DC' }, { model: 'stranger' }), 1100],
    ['the bound of an answer in one piece without usage', line({}, { stream: false }), 1100],
    ['the bound when usage is nonsense', line({ usage: { input: -5, output: Number.NaN } }, { stream: false }), 1100],
    ['nothing to settle without a reservation', line({}, { reservedInput: undefined }), undefined],
    ['nothing to settle without the engine', { ...line(), engine: undefined }, undefined],
    [
      'nothing when the engine went away while it judged',
      { ...line({ upstream: undefined, status: 503, route: 'AIProviderRoute/demo/openai' }), engine: undefined },
      0,
    ],
    ['nothing to settle of a name no route admits', { ...line({ upstream: undefined, status: 403, route: '' }), engine: undefined }, undefined],
  ])('%s', (_, access, used) => expect(settlementOf(access)?.tokens).toBe(used));
});

let dir: string;
let log: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'clrk-settler-'));
  log = join(dir, 'access-0.jsonl');
});
afterEach(() => rmSync(dir, { recursive: true }));
const text = (...ids: string[]): string => ids.map((id) => `${JSON.stringify(line({ id, usage: { input: 1, output: 2 } }))}\n`).join('');

test('settles what is finished, once it can, and goes on where it was after a restart', async () => {
  const settled = new AsyncQueue<string>();
  const heard = settled[Symbol.asyncIterator]();
  const next = async (): Promise<string> => (await heard.next()).value as string;
  let failures = 2;
  const start = () =>
    createSettler({
      accessLogs: () => [log],
      offsets: join(dir, 'offsets'),
      ledger: {
        reserve: () => Promise.reject(new Error('not here')),
        settle: async ({ id, tokens }) => {
          if (failures-- > 0) throw new Error('away');
          settled.push(`${id} ${tokens}`);
        },
      },
      log: silentLogger,
      signal: new AbortController().signal,
    });
  {
    await using _ = start();
    writeFileSync(log, `${text('a')}not json\n${text('b')}`);
    expect([await next(), await next()].sort()).toEqual(['a 3', 'b 3']);
    // The next line is read only after the position behind these two is on disk.
    appendFileSync(log, text('c'));
    expect(await next()).toBe('c 3');
    appendFileSync(log, text('d'));
    expect(await next()).toBe('d 3');
  }
  appendFileSync(log, text('e'));
  await using _ = start();
  // `d` may come again, since its position may not have been stored; `c` and what is before it may not.
  const first = await next();
  expect(first === 'd 3' ? await next() : first).toBe('e 3');
});
