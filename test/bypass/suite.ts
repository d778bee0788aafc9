import { RESOLVABLE } from '../fixtures/canary/dns.ts';
import type { Sighting } from '../fixtures/canary/places.ts';
import type { Attempt, Case } from './case.ts';
import { attemptOf, SLACK_MS } from './attribution.ts';
import { fill, matchesRecord, newToken, type Job, type JobResult } from './job.ts';
import { judge, type CaseResult } from './judge.ts';
import { outcomeOf } from './outcome.ts';
import type { Step } from './steps.ts';
import type { Target, TargetRecord } from './target.ts';
import { tryChanging, tryDuring } from './disturbed.ts';

interface Timed {
  readonly at: number;
  readonly ms: number;
  readonly result: readonly unknown[];
}

/** Attempts of one sandbox. More would come near the limits a sandbox has, for new names above all. */
const BATCH = 12;
const GAP: Step = { sleep: 2 * SLACK_MS };

/** Resolving admitted names is a proxy's own business; every other question is a sighting, and so is any other packet to a DNS port. */
const isNoise = ({ canary, event, local, name }: Sighting): boolean =>
  canary === 'dns' && local.endsWith(':53') && (event === 'question' ? RESOLVABLE.has(name!) : true);

const keyOf = (attempt: Attempt): string => JSON.stringify(attempt);
const groupOf = ({ given, from }: Attempt): string => `${given} ${from ?? 'sandbox'}`;

const chunks = <T>(list: readonly T[], size: number): readonly (readonly T[])[] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, index) => list.slice(index * size, (index + 1) * size));

/** Makes the attempts of a table in batches, each once, when the first of its cases is asked for. */
export class Suite {
  readonly #target: Target;
  readonly #batches = new Map<string, () => Promise<ReadonlyMap<string, JobResult>>>();
  #last: Promise<unknown> = Promise.resolve();

  constructor(target: Target, cases: readonly Case[]) {
    this.#target = target;
    const plain = cases.filter((each) => !each.during && !each.change);
    const own = plain.filter(({ alone }) => !alone);
    const groups = Map.groupBy(own, ({ attempt }) => groupOf(attempt));
    for (const group of groups.values()) {
      for (const some of chunks(group, BATCH)) {
        const attempts = some.map(({ attempt, record }): Job => ({ attempt, record, token: newToken() }));
        const twins = some.map(({ twin }) => twin).filter(({ attempt }) => groupOf(attempt) === groupOf(some[0]!.attempt));
        this.#plan([...attempts, ...this.#twins(twins)]);
      }
    }
    for (const { attempt, record } of plain.filter(({ alone }) => alone)) this.#plan([{ attempt, record, token: newToken() }]);
    const rest = Map.groupBy(this.#twins(cases.filter((each) => !each.during).map(({ twin }) => twin)), ({ attempt }) => groupOf(attempt));
    for (const group of rest.values()) for (const some of chunks(group, BATCH)) this.#plan(some);
  }

  /** Twins that are not planned yet, each once. */
  #twins(twins: readonly Case['twin'][]): readonly Job[] {
    const fresh = new Map(twins.filter(({ attempt }) => !this.#batches.has(keyOf(attempt))).map((twin) => [keyOf(twin.attempt), twin]));
    return [...fresh.values()].map(({ attempt, record }) => ({ attempt, record, token: newToken() }));
  }

  #plan(jobs: readonly Job[]): void {
    let running: Promise<ReadonlyMap<string, JobResult>> | undefined;
    const run = () => (running ??= this.#exclusive(() => this.#run(jobs)));
    for (const { attempt } of jobs) this.#batches.set(keyOf(attempt), run);
  }

  /** One batch at a time: sightings are told apart by when they were made. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work, work);
    this.#last = next.catch(() => {});
    return next;
  }

  async #resultOf(attempt: Attempt): Promise<JobResult> {
    const results = await this.#batches.get(keyOf(attempt))!();
    return results.get(keyOf(attempt))!;
  }

  /** Makes a case's attempt and its twin, and judges them. */
  async result(of: Case): Promise<CaseResult> {
    if (of.during) return this.#exclusive(() => tryDuring(this.#target, of));
    if (of.change) {
      const attempt = await this.#exclusive(() => tryChanging(this.#target, of));
      return judge(of, attempt, await this.#resultOf(of.twin.attempt), this.#target.key);
    }
    const attempt = await this.#resultOf(of.attempt);
    return judge(of, attempt, await this.#resultOf(of.twin.attempt), this.#target.key);
  }

  async #run(jobs: readonly Job[]): Promise<ReadonlyMap<string, JobResult>> {
    const { given, from } = jobs[0]!.attempt;
    if (JSON.stringify(jobs).includes('{{neighbour}}')) await this.#target.neighbour();
    await this.#target.sightings();
    const steps = jobs.map(({ attempt, token }): Step => fill({ series: [{ timed: { series: attempt.steps } }, GAP] }, { ...this.#target.values, token }));
    const run = await (from === 'outside' ? this.#target.outside(steps) : from === 'early' ? this.#target.early(given, steps) : this.#target.run(given, steps));
    const timed = (run.results as readonly (readonly [Timed, unknown])[]).map(([result]) => result);
    const outcomes = jobs.map(({ attempt: { judge: judged } }, index) => outcomeOf(timed[index]!.result.at(judged ?? -1)));
    const tried = jobs.map(({ attempt }, index) => ({ ...timed[index]!, text: JSON.stringify(fill(attempt.steps, this.#target.values)) }));
    const recordsOf = (all: readonly TargetRecord[], index: number): readonly TargetRecord[] => {
      const { decision } = outcomes[index]!;
      return all.filter((record) => (decision === undefined ? attemptOf(record, tried) === index : record.decisionId === decision));
    };
    const complete = (all: readonly TargetRecord[]): boolean =>
      jobs.every(({ record }, index) => !record || recordsOf(all, index).some((each) => matchesRecord(each, record)));
    const records = from === 'outside' ? [] : await this.#target.records(run, complete);
    const sightings = (await this.#target.sightings()).filter((sighting) => !isNoise(sighting));
    const windows = sightings.map(({ time }) =>
      Math.max(
        0,
        timed.findLastIndex(({ at }) => at - SLACK_MS <= time),
      ),
    );
    return new Map(
      jobs.map((job, index) => [
        keyOf(job.attempt),
        {
          job,
          run,
          at: timed[index]!.at,
          ms: timed[index]!.ms,
          outcome: outcomes[index]!,
          results: timed[index]!.result,
          records: recordsOf(records, index),
          sightings: sightings.filter((_, of) => windows[of] === index),
        },
      ]),
    );
  }
}
