import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { installAgent, PYTHON_AGENT, QUICKSTART } from '../fixtures/quickstart.ts';
import { showLogOnFailure, startStack, type TestStack } from '../e2e/harness.ts';
import { quickstart } from '../e2e/support/manifests.ts';

/** The quickstart in Python, with the real `openai` package, built by the command line and run in a real sandbox. */

let stack: TestStack;
beforeAll(async () => {
  [stack] = await Promise.all([startStack(), installAgent('python')]);
});
afterAll(() => stack?.[Symbol.asyncDispose]());
beforeEach(() => showLogOnFailure(() => stack));

interface Summary {
  readonly summary: string;
  readonly streamed: { readonly text: string; readonly chunks: number };
  readonly exfiltration: { readonly status: number; readonly code: string; readonly message: string };
}

it('answers plain and streamed, is denied what no route admits, and never has the key', async () => {
  const built = await stack.clrk(['image', 'build', '-t', 'quickstart/python:1', PYTHON_AGENT]);
  expect(built.stderr).toContain('Python');
  expect(built.stdout).toMatch(/^quickstart\/python:1@sha256:[0-9a-f]{64}\n$/);
  const agent = (await quickstart()).find(({ kind }) => kind === 'TaskAgent')!;
  await stack.apply({
    ...agent,
    metadata: { ...agent.metadata, name: 'python' },
    spec: { ...agent.spec, template: { spec: { image: 'quickstart/python:1' } } },
  });
  await stack.condition('taskagents', 'python', 'Ready', 'True', 60_000);

  const document = await readFile(join(QUICKSTART, 'document.txt'), 'utf8');
  const answer = await stack.invoke('python', document);
  expect(answer.status, answer.text).toBe(200);
  const { summary, streamed, exfiltration } = answer.json() as Summary;
  expect(summary.length).toBeGreaterThan(100);
  expect(streamed.text).toBe(summary);
  expect(streamed.chunks).toBeGreaterThan(20);
  expect(exfiltration).toMatchObject({ status: 403, code: 'NoRoute' });

  const { status } = await stack.invocation(answer.invocation);
  const seen = await stack.seenOf(status.traceId!, 2);
  expect(seen.map(({ headers }) => headers['authorization'])).toEqual(Array(2).fill(`Bearer ${stack.key}`));
  expect(seen.map(({ headers }) => String(headers['user-agent']).startsWith('OpenAI/Python'))).toEqual([true, true]);
  const records = await stack.egressLog(
    answer.invocation,
    (all) =>
      all.filter(({ inputTokens }) => inputTokens !== null).length === 2 && all.some(({ verdict, protocol }) => verdict === 'Denied' && protocol === 'https'),
  );
  expect(records.filter(({ protocol }) => protocol === 'https').map(({ verdict, status: code, path }) => [verdict, code, path])).toEqual([
    ['Allowed', 200, '/v1/chat/completions'],
    ['Allowed', 200, '/v1/chat/completions'],
    ['Denied', 403, '/upload'],
  ]);
});
