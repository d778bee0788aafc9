import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { eventually, type InvokeResult, type TestStack } from '../harness.ts';
import { processesOf } from './leftovers.ts';

/** Runs of agent `probe` that use the provider, for tests that end processes under them. */

const LONG =
  'The keeper lights the lamp at dusk and the ships that pass along the rocky coast see it from twenty miles away in clear weather and from two in fog. '.repeat(
    3,
  );

/** A step: a streamed chat completion of at most `limit` tokens, with its usage. `gpt-4.1-slow` takes 200 ms a token. */
export const ask = (model: string, limit: number, more: object = {}) => ({
  fetch: {
    url: 'https://api.openai.com/v1/chat/completions',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      stream: true,
      stream_options: { include_usage: true },
      max_completion_tokens: limit,
      messages: [{ role: 'user', content: LONG }],
      ...more,
    }),
  },
});

export interface StartedRun {
  readonly id: string;
  readonly traceId: string;
  readonly answer: Promise<InvokeResult>;
}

/** Starts a run whose id and trace are known before anything of it happened. */
export const startRun = (stack: TestStack, steps: readonly object[], agent = 'probe'): StartedRun => {
  const traceId = randomBytes(16).toString('hex');
  const id = crypto.randomUUID();
  const headers = { traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01`, 'x-clrk-invocation-id': id };
  const answer = stack.invoke(agent, { steps }, headers);
  answer.catch(() => {});
  return { id, traceId, answer };
};

/** A run that uses the way out, as soon as one succeeds; a refused one must say so and leave nothing unsaid. */
export const nextRunWorks = (stack: TestStack, ms = 20_000): Promise<InvokeResult> =>
  eventually(
    'the next run works',
    async () => {
      const answer = await stack.invoke('probe', { steps: [ask('gpt-4.1-mini', 20)] });
      if (answer.status !== 200) {
        expect([429, 502, 503, 504]).toContain(answer.status);
        throw new Error(`${answer.status} ${answer.text}`);
      }
      const { results } = answer.json() as { results: { status?: number; body?: string }[] };
      if (results[0]!.status !== 200) throw new Error(JSON.stringify(results));
      expect(results[0]!.body).toContain('[DONE]');
      return answer;
    },
    ms,
    250,
  );

/** No sandbox outlives its run. */
export const noSandboxLeft = (stack: TestStack): Promise<boolean> =>
  eventually('no sandbox is left', async () => {
    const sandboxes = (await processesOf(stack.run)).filter(({ argv }) => /runsc/.test(argv[0]!));
    if (sandboxes.length > 0) throw new Error(sandboxes.map(({ argv }) => argv.join(' ')).join('\n'));
    return true;
  });
