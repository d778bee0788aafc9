import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/{unit,architecture,golden,conformance}/**/*.test.ts'],
    globalSetup: 'test/unit/temporary.ts',
    testTimeout: 20_000,
    pool: 'forks',
  },
});
