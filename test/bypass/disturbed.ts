import { setTimeout as sleep } from 'node:timers/promises';
import type { Sighting } from '../fixtures/canary/places.ts';
import type { Case } from './case.ts';
import type { CaseResult } from './judge.ts';
import { deviations, outcomeOf } from './outcome.ts';
import { fill, newToken, type JobResult } from './job.ts';
import type { Step } from './steps.ts';
import type { Target } from './target.ts';

/** Attempts during which something happens to the proxy. */

interface Try {
  readonly at: number;
  readonly ms: number;
  readonly result: unknown;
}

/** How long a frozen part stays frozen: two tries of the probe, each of which it gives up after three seconds. */
const FROZEN_MS = 7_000;
/** What left before the part stood still arrives within this. */
const ARRIVAL_MS = 300;
const HAMMER_MS = { frozen: 10_000, killed: 12_000 } as const;

/** Collects what canaries see, and waits for what they must. */
const watcher = (target: Target) => {
  const seen: Sighting[] = [];
  const look = async (): Promise<readonly Sighting[]> => {
    seen.push(...(await target.sightings()));
    return seen;
  };
  const of = (token: string): readonly Sighting[] => seen.filter((sighting) => JSON.stringify(sighting).includes(token));
  const until = async (token: string, ms = 10_000): Promise<void> => {
    for (const end = Date.now() + ms; await look(), of(token).length === 0;) {
      if (Date.now() > end) throw new Error(`the canaries did not see ${token} within ${ms} ms`);
      await sleep(30);
    }
  };
  return { look, of, until };
};

/**
 * Makes the attempt and its twin again and again while a part is frozen or killed. The twin must get through before and after.
 * The attempt never gets through; or, when it is the twin itself, not while the part is frozen.
 */
export const tryDuring = async (target: Target, of: Case): Promise<CaseResult> => {
  const { part, how } = of.during!;
  const same = JSON.stringify(of.attempt.steps) === JSON.stringify(of.twin.attempt.steps);
  const tokens = { attempt: newToken(), twin: newToken() };
  await target.sightings();
  const eyes = watcher(target);
  const step = (steps: readonly Step[], token: string): Step => fill({ series: steps }, { ...target.values, token });
  const steps = [...(same ? [] : [step(of.attempt.steps, tokens.attempt)]), step(of.twin.attempt.steps, tokens.twin)];
  const running = target.run(of.attempt.given, [{ hammer: { forMs: HAMMER_MS[how], everyMs: 150, whole: true, steps } }]);
  running.catch(() => {});
  await eyes.until(tokens.twin);
  const mend = await target.disturb(part, how);
  const from = Date.now();
  if (how === 'frozen') await sleep(FROZEN_MS);
  const to = Date.now();
  await mend();
  const mended = Date.now();
  const [tries] = (await running).results as readonly (readonly (readonly Try[])[])[];
  await eyes.look();

  const [attempts, twins] = same ? [tries![0]!, tries![0]!] : [tries![0]!, tries![1]!];
  const judged = attempts.filter(({ at, ms }) => !same || (at > from && at + ms < to));
  const outcomes = judged.map(({ result }) => outcomeOf((result as unknown[] | null)?.at(-1)));
  const leaks = eyes
    .of(same ? tokens.twin : tokens.attempt)
    .filter(({ time }) => !same || (time > from + ARRIVAL_MS && time < to))
    .map((sighting) => JSON.stringify(sighting).slice(0, 400));
  const problems = outcomes.flatMap((outcome) => deviations(outcome, 0, of.expect));
  if (judged.length === 0) problems.push('nothing was tried while the part was away');
  const through = twins.filter(({ result }) => deviations(outcomeOf((result as unknown[] | null)?.at(-1)), 0, of.twin.expect).length === 0);
  const notThrough = [
    ...(through.some(({ at }) => at < from) ? [] : ['twin: it did not get through before']),
    ...(through.some(({ at }) => at > mended) ? [] : ['twin: it does not get through again']),
  ];
  return {
    id: of.id,
    class: of.class,
    blocked: leaks.length === 0,
    twin: notThrough.length === 0,
    outcome: outcomes.at(-1)?.kind ?? '',
    ...(outcomes.at(-1)?.status === undefined ? {} : { status: outcomes.at(-1)!.status! }),
    ms: 0,
    leaks,
    problems: [...leaks.map((leak) => `LEAK: ${leak}`), ...new Set(problems), ...notThrough],
  };
};

/** Runs the steps, and once a canary has seen them changes the policy; what is open then must end. */
export const tryChanging = async (target: Target, of: Case): Promise<JobResult> => {
  const token = newToken();
  const { attempt, record } = of;
  await target.sightings();
  const eyes = watcher(target);
  const running = target.run(attempt.given, [fill({ timed: { series: attempt.steps } }, { ...target.values, token })]);
  running.catch(() => {});
  await eyes.until(token);
  const undo = await target.change(attempt.given, of.change!);
  const changed = Date.now();
  const run = await running;
  await undo();
  const [timed] = run.results as readonly { readonly at: number; readonly ms: number; readonly result: readonly unknown[] }[];
  const { at, ms, result } = timed!;
  await eyes.look();
  const sightings = eyes.of(token).filter(({ time }) => time > changed + ARRIVAL_MS);
  // How long it took to end, from the change on.
  return {
    job: { attempt, token, record },
    run,
    at,
    ms: Math.max(0, at + ms - changed),
    outcome: outcomeOf(result.at(attempt.judge ?? -1)),
    results: result,
    sightings,
    records: [],
  };
};
