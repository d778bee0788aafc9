import { defineConfig } from 'vitest/config';

/** The long tests of `./clrk test all`: real parts, many rounds. */
export default defineConfig({
  test: {
    include: ['test/long/**/*.test.ts'],
    globalSetup: 'test/e2e/support/images.ts',
    testTimeout: 900_000,
    hookTimeout: 180_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
