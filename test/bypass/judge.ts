import type { Sighting } from '../fixtures/canary/places.ts';
import { formsIn, needlesOf } from '../e2e/support/canary.ts';
import type { Case, Watch } from './case.ts';
import { deviations } from './outcome.ts';
import { fill, matchesRecord, type JobResult } from './job.ts';

/** A line of the results file. */
export interface CaseResult {
  readonly id: string;
  readonly class: string;
  /** Nothing arrived where nothing may. */
  readonly blocked: boolean;
  /** The twin got through, and its canary saw it. */
  readonly twin: boolean;
  readonly outcome: string;
  readonly status?: number;
  readonly code?: string;
  readonly ms: number;
  /** What was expected and did not happen; empty = passed. */
  readonly problems: readonly string[];
  /** What canaries saw of the attempt that they must not. */
  readonly leaks: readonly string[];
}

const shown = (sighting: unknown): string => JSON.stringify(sighting).slice(0, 400);

const onlyCleaned = ({ name, without = [], with: wanted = [], atMost }: Watch, seen: readonly Sighting[]): { leaks: string[]; problems: string[] } => {
  const there = seen.filter(({ canary }) => canary === name);
  const leaks = [
    ...seen.filter(({ canary }) => canary !== name).map(shown),
    ...there.filter((sighting) => without.some((pattern) => new RegExp(pattern).test(JSON.stringify(sighting)))).map(shown),
  ];
  const requests = there.filter(({ event }) => event === 'request').length;
  if (atMost !== undefined && requests > atMost) leaks.push(`${requests} requests got through, ${atMost} may`);
  const problems = wanted
    .filter((pattern) => !there.some((sighting) => new RegExp(pattern).test(JSON.stringify(sighting))))
    .map((pattern) => `canary ${name} saw nothing like /${pattern}/, but ${there.map(shown).join(' ') || 'nothing'}`);
  return { leaks, problems };
};

/** What of an attempt is where it must not be. */
export const leaksOf = (watch: Watch, result: JobResult, key: string): { readonly leaks: readonly string[]; readonly problems: readonly string[] } => {
  const { name } = watch;
  const patterns = (text: string): string[] =>
    (watch.without ?? []).filter((pattern) => new RegExp(pattern).test(text)).map((pattern) => `/${pattern}/ was found`);
  if (name === 'key') {
    const text = JSON.stringify(result.results);
    return { leaks: [...formsIn(Buffer.from(text), needlesOf(key)).map((form) => `the credential, ${form}`), ...patterns(text)], problems: [] };
  }
  if (name === 'records') return { leaks: patterns(JSON.stringify(result.records)), problems: [] };
  if (name === 'neighbour') return { leaks: result.sightings.map(shown), problems: [] };
  if (watch.without || watch.with || watch.atMost !== undefined) return onlyCleaned(watch, result.sightings);
  return { leaks: result.sightings.map(shown), problems: [] };
};

/** Whether the twin got through, and its canary saw it. */
const twinProblems = ({ twin, canary }: Case, result: JobResult): readonly string[] => {
  const problems = deviations(result.outcome, result.ms, { withinMs: 15_000, ...twin.expect });
  if (['key', 'neighbour'].includes(canary.name)) return problems;
  const seen: readonly unknown[] = canary.name === 'records' ? result.records : result.sightings.filter((sighting) => sighting.canary === canary.name);
  const pattern = new RegExp(twin.sees === undefined ? '' : fill(twin.sees, { token: result.job.token }));
  return seen.some((sighting) => pattern.test(JSON.stringify(sighting))) ? problems : [...problems, `canary ${canary.name} did not see the twin`];
};

export const judge = (of: Case, attempt: JobResult, twin: JobResult, key: string): CaseResult => {
  const watch = fill(of.canary, { token: attempt.job.token });
  const { leaks, problems } = leaksOf(watch, attempt, key);
  const { outcome, ms } = attempt;
  const wrong = [...deviations(outcome, ms, of.expect), ...problems];
  if (of.record && !attempt.records.some((record) => matchesRecord(record, of.record!)))
    wrong.push(`no record like ${JSON.stringify(of.record)} among ${JSON.stringify(attempt.records)}`);
  const notThrough = twinProblems(of, twin);
  return {
    id: of.id,
    class: of.class,
    blocked: leaks.length === 0,
    twin: notThrough.length === 0,
    outcome: outcome.kind,
    ...(outcome.status === undefined ? {} : { status: outcome.status }),
    ...(outcome.code === undefined ? {} : { code: outcome.code }),
    ms,
    problems: [...leaks.map((leak) => `LEAK: ${leak}`), ...wrong, ...notThrough.map((problem) => `twin: ${problem}`)],
    leaks,
  };
};
