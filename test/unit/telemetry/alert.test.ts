import { expect, test } from 'vitest';
import { silentLogger } from '#lib';
import type { ExchangeRecord } from '#model';
import { alertOf } from '../../../src/telemetry/recorder/alert.ts';
import { record } from './records.ts';

/** What an operator is told at once. */

const told = (over: Partial<ExchangeRecord>): readonly unknown[] => {
  const lines: unknown[] = [];
  alertOf({ ...silentLogger, warn: (message: string, fields?: object) => lines.push([message, fields]) })(record(over));
  return lines;
};

test('an echo and an answer that was withheld are warnings, with what finds the record; nothing else is', () => {
  expect(told({ credentialsEchoed: ['header', 'body'], reason: 'CredentialEchoed', decisionId: 'd1', host: 'a.example' })).toEqual([
    [expect.stringContaining('said back'), expect.objectContaining({ decisionId: 'd1', host: 'a.example', places: ['header', 'body'] })],
  ]);
  expect(told({ reason: 'RedactionFailed' })).toEqual([[expect.stringContaining('withheld'), expect.anything()]]);
  expect(told({})).toEqual([]);
  expect(told({ credentialsReplaced: ['header cookie'] })).toEqual([]);
});
