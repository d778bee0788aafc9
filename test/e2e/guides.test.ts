import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { showLogOnFailure } from './harness.ts';
import { GUIDES, LONG_GUIDES, prepareGuides, type GuideStack } from './support/guide-stack.ts';

/** The guides of docs/guides, executed block by block as a new user would. */

let guides: GuideStack;
beforeAll(async () => {
  guides = await prepareGuides();
});
afterAll(() => guides?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => guides?.stack));

const names = (await readdir(GUIDES)).filter((name) => name.endsWith('.md'));
const short = names.filter((name) => !LONG_GUIDES.includes(name));

it('there are guides, and those that are left to test/long', () => {
  expect(short.length).toBeGreaterThanOrEqual(3);
  expect(names).toEqual(expect.arrayContaining([...LONG_GUIDES]));
});

it.each(short)('%s does what it says', (name) => guides.execute(name), 300_000);
