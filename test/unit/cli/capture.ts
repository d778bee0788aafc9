import type { Io } from '../../../src/cli/output.ts';

/** Output of a command, kept. */
export const capture = (env: NodeJS.ProcessEnv = {}): { io: Io; seen: { out: string; err: string } } => {
  const seen = { out: '', err: '' };
  const io: Io = { out: (text) => void (seen.out += text), err: (text) => void (seen.err += text), terminal: false, env: { HOME: '/nonexistent', ...env } };
  return { io, seen };
};
