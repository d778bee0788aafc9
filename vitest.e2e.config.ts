import { defineConfig } from 'vitest/config';

/** Tests with real parts: need root, Envoy, runsc, nftables. One file at a time, each in namespaces of its own. */
export default defineConfig({
  test: {
    include: ['test/e2e/**/*.test.ts'],
    globalSetup: 'test/e2e/support/images.ts',
    testTimeout: 120_000,
    hookTimeout: 180_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
