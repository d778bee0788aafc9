import { appendFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { showLogOnFailure } from '../e2e/harness.ts';
import type { Case } from './case.ts';
import { CASES } from './cases/index.ts';
import { createClrkTarget } from './clrk/target.ts';
import type { CaseResult } from './judge.ts';
import { scoreboard } from './scoreboard.ts';
import { Suite } from './suite.ts';

/** Makes a Vitest test of each case. `CLRK_BYPASS_JSON` names a file for the results, `CLRK_BYPASS_ONLY` is a pattern of the ids wanted. */

const JSON_FILE = process.env['CLRK_BYPASS_JSON'];
const ONLY = process.env['CLRK_BYPASS_ONLY'];

export const defineSuite = (wanted: (of: Case) => boolean): void => {
  let target: Awaited<ReturnType<typeof createClrkTarget>>;
  let suite: Suite;
  const results: CaseResult[] = [];
  const cases = CASES.filter((each) => wanted(each) && (!ONLY || new RegExp(ONLY).test(each.id)));

  beforeAll(async () => {
    if (JSON_FILE) await writeFile(JSON_FILE, '');
    target = await createClrkTarget();
    await target.prepare([...new Set(cases.flatMap(({ attempt, twin }) => [attempt.given, twin.attempt.given]))]);
    suite = new Suite(target, cases);
  }, 300_000);
  afterAll(async () => {
    await target?.[Symbol.asyncDispose]();
    process.stdout.write(`\n${scoreboard(results)}\n`);
  });
  beforeEach(() => showLogOnFailure(() => target?.stack));

  for (const [name, some] of Map.groupBy(cases, (each) => each.class)) {
    describe(name, () => {
      test.for(some.map((each) => [each.id, each] as const))('%s', { timeout: 180_000 }, async ([, each]) => {
        const result = await suite.result(each);
        results.push(result);
        if (JSON_FILE) await appendFile(JSON_FILE, `${JSON.stringify(result)}\n`);
        expect(result.problems, each.what).toEqual([]);
      });
    });
  }
};
