import { defineConfig } from 'vitest/config';

/** `./clrk bench`: numbers beside a baseline of the same run. Asserts nothing about time; never in CI. */
export default defineConfig({
  test: {
    include: ['test/perf/**/*.test.ts'],
    globalSetup: 'test/e2e/support/images.ts',
    testTimeout: 600_000,
    hookTimeout: 180_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
