import { defineConfig } from 'vitest/config';

/** `./clrk test bypass`: the public egress-bypass suite against this checkout (docs/bypass.md). */
export default defineConfig({
  test: {
    include: ['test/bypass/**/*.test.ts'],
    globalSetup: 'test/e2e/support/images.ts',
    testTimeout: 180_000,
    hookTimeout: 300_000,
    pool: 'forks',
    fileParallelism: false,
  },
});
