import { messageOf, type Logger } from '#lib';
import type { RunUpdate } from '#model';
import { ImageError } from './images.ts';

/** Ends a run early, with the phase and reason it then has. */
export class Ending extends Error {
  readonly phase: 'Failed' | 'Timeout';
  readonly reason: string;
  constructor(phase: 'Failed' | 'Timeout', reason: string, message: string) {
    super(message);
    this.phase = phase;
    this.reason = reason;
  }
}

/** The end of a run that threw. What nobody foresaw is logged. */
export const endingOf = (error: unknown, log: Logger): Pick<RunUpdate, 'phase' | 'reason' | 'message'> => {
  if (error instanceof Ending) return error;
  if (error instanceof ImageError) return { phase: 'Failed', reason: error.reason, message: error.message };
  log.error('a run could not be started', { err: error });
  return { phase: 'Failed', reason: 'SandboxFailed', message: `The sandbox could not be made: ${messageOf(error)}` };
};
