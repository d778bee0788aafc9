import { afterAll, beforeAll, beforeEach, it } from 'vitest';
import { showLogOnFailure } from '../e2e/harness.ts';
import { LONG_GUIDES, prepareGuides, type GuideStack } from '../e2e/support/guide-stack.ts';

/** The guides that ask every provider, executed block by block as a new user would. */

let guides: GuideStack;
beforeAll(async () => {
  guides = await prepareGuides();
});
afterAll(() => guides?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => guides?.stack));

it.each(LONG_GUIDES)('%s does what it says', (name) => guides.execute(name));
