import { expect } from 'vitest';
import type { InvokeResult, TestStack } from '../../e2e/harness.ts';
import type { StartedRun } from '../../e2e/support/runs.ts';
import type { Books } from './books.ts';

/** Phases in which an invocation can be whose caller got this status. */
export const PHASE_OF: Readonly<Record<number, readonly string[]>> = {
  200: ['Succeeded'],
  429: ['Rejected'],
  502: ['Failed'],
  503: ['Rejected'],
  504: ['Timeout'],
};

/** How a run ended, and what its caller was told; `answer` is undefined when the connection broke. */
export interface Told {
  readonly id: string;
  readonly answer: InvokeResult | undefined;
  /** undefined = it never was accepted. */
  readonly phase: string | undefined;
  readonly reason: string;
}

/**
 * Waits for the end of a run and holds its three accounts together: the caller's answer, the Invocation object, the journal. A
 * run that was answered is in the journal, with that end; one that is in the journal has an end.
 */
export const truthOf = async (stack: TestStack, books: Books, { id, answer: pending }: Pick<StartedRun, 'id' | 'answer'>): Promise<Told> => {
  const answer = await pending.catch(() => undefined);
  if (!answer && !books.invocation(id)) return { id, answer, phase: undefined, reason: '' };
  if (answer && !answer.invocation) {
    // Refused before there was an invocation: then there is none.
    expect(books.invocation(id), `${answer.status} ${answer.text}`).toBeUndefined();
    return { id, answer, phase: undefined, reason: '' };
  }
  const { status } = await stack.ended(id, 40_000);
  const entry = books.invocation(id)!;
  const { phase, reason = '' } = status;
  expect({ phase, reason, exitCode: status.exitCode, outputBytes: status.outputBytes }, `Invocation and journal of ${id}`).toEqual({
    phase: entry.phase,
    reason: entry.reason,
    exitCode: entry.exitCode,
    outputBytes: entry.outputBytes,
  });
  if (phase !== 'Succeeded') expect(reason, `reason of ${id}`).not.toBe('');
  if (!answer) return { id, answer, phase, reason };
  expect(PHASE_OF[answer.status], `${id} was answered ${answer.status} ${answer.text}`).toContain(phase);
  if (answer.status === 200) expect(Buffer.byteLength(answer.text)).toBe(status.outputBytes);
  else {
    const { error } = answer.json() as { error: { reason: string; exitCode?: number; invocation: string } };
    expect({ invocation: error.invocation, reason: error.reason, exitCode: error.exitCode }).toEqual({ invocation: id, reason, exitCode: status.exitCode });
  }
  return { id, answer, phase, reason };
};
