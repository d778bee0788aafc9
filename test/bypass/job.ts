import { randomBytes } from 'node:crypto';
import type { Sighting } from '../fixtures/canary/places.ts';
import type { Attempt, RecordExpectation } from './case.ts';
import type { Outcome } from './outcome.ts';
import type { Run, TargetRecord } from './target.ts';

/** An attempt to be made once: of a case, or the twin several cases share. */
export interface Job {
  readonly attempt: Attempt;
  readonly token: string;
  readonly record?: RecordExpectation | undefined;
}

/** What came of it. */
export interface JobResult {
  readonly job: Job;
  readonly outcome: Outcome;
  /** Milliseconds since 1970, and how long it took. */
  readonly at: number;
  readonly ms: number;
  readonly results: readonly unknown[];
  readonly sightings: readonly Sighting[];
  readonly records: readonly TargetRecord[];
  readonly run: Run;
}

/** As long as `{{token}}`, so that lengths that were counted before it was put in still hold. */
export const newToken = (): string => `tk${randomBytes(4).toString('hex').slice(1)}`;

/** Puts the values of this run into steps. */
export const fill = <T>(value: T, values: Readonly<Record<string, string>>): T =>
  JSON.parse(JSON.stringify(value).replace(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole)) as T;

export const matchesRecord = (record: TargetRecord, { protocol, verdict, reason, host }: RecordExpectation): boolean =>
  (verdict === undefined || record.verdict === verdict) &&
  [reason].flat().includes(record.reason) &&
  (protocol === undefined || [protocol].flat().includes(record.protocol)) &&
  (host === undefined || record.host === host);
