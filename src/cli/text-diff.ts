import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '#lib';
import { paint, printable, type Io } from './output.ts';

export interface Side {
  /** What the head of the difference calls it. */
  readonly label: string;
  readonly text: string;
}

/** The difference of two texts in the unified form of diff(1); empty when there is none. */
export const unifiedDiff = async (before: Side, after: Side): Promise<string> => {
  if (before.text === after.text) return '';
  const dir = await mkdtemp(join(tmpdir(), 'clrk-diff-')); // mode 0700
  try {
    const [from, to] = [join(dir, 'from'), join(dir, 'to')];
    await Promise.all([writeFile(from, before.text), writeFile(to, after.text)]);
    return (await run('diff', ['-u', '--text', '--label', before.label, '--label', after.label, from, to], { accept: [1] })).stdout;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

const styleOf = (line: string): 'bold' | 'dim' | 'green' | 'red' | undefined =>
  /^(---|\+\+\+) /.test(line) ? 'bold' : line.startsWith('@@') ? 'dim' : line.startsWith('+') ? 'green' : line.startsWith('-') ? 'red' : undefined;

/** A unified difference in colours, where there are any. */
export const paintDiff = (io: Io, difference: string): string =>
  difference
    .trimEnd()
    .split('\n')
    .map((line) => {
      const style = styleOf(line);
      return `${style ? paint(io, style, printable(line)) : printable(line)}\n`;
    })
    .join('');
