import { stripVTControlCharacters, styleText } from 'node:util';
import { ClrkError, messageOf } from '#lib';

/** What a command writes to: results on stdout, everything else on stderr. */
export interface Io {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly terminal: boolean;
  /** Width of the terminal that `out` writes to; absent where there is none. */
  readonly columns?: number | undefined;
  readonly env: NodeJS.ProcessEnv;
}

export const processIo: Io = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  terminal: process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined,
  columns: process.stdout.columns,
  env: process.env,
};

type Style = 'green' | 'red' | 'yellow' | 'bold' | 'dim';
/** Text in a style on a terminal, plain elsewhere. */
export const paint = (io: Io, style: Style, text: string): string => (io.terminal ? styleText(style, text, { validateStream: false }) : text);

/** Control characters of foreign text made visible, so that a record cannot rewrite the terminal. */
export const printable = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  stripVTControlCharacters(text).replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

/** A table as kubectl prints one: upper-case heads, three spaces between columns. Cells may carry styles. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[], gap = 3): string => {
  const width = head.map((cell, i) => Math.max(cell.length, ...rows.map((row) => stripVTControlCharacters(row[i] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell + ' '.repeat(width[i]! - stripVTControlCharacters(cell).length + gap)))
      .join('')
      .trimEnd();
  return `${[head, ...rows].map(line).join('\n')}\n`;
};

/** Each line of a text, two spaces in. */
export const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ');

/** `1 file`, `3 files` */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Prints an error the way people can act on it: what happened, then how to fix it. */
export const printError = (io: Io, error: unknown): void => {
  const lines = messageOf(error).split('\n').map(printable);
  io.err(`${paint(io, 'red', 'Error:')} ${lines.join('\n')}\n`);
  if (error instanceof ClrkError && error.fix) io.err(`${error.fix}\n`);
  if (!(error instanceof ClrkError) && error instanceof Error && process.env['CLRK_LOG_LEVEL'] === 'debug') io.err(`${error.stack}\n`);
};

/** Steps of a long operation: a line when one starts and one when it is done, with its time. */
export const progress = (io: Io) => {
  const since = new Map<string, number>();
  return (step: string, state: 'start' | 'done', detail: string): void => {
    if (state === 'start') {
      since.set(step, performance.now());
      io.err(`${paint(io, 'dim', '...')} ${step}: ${detail}\n`);
      return;
    }
    const begun = since.get(step);
    const time = begun === undefined ? '' : ` (${((performance.now() - begun) / 1000).toFixed(1)} s)`;
    io.err(`${paint(io, 'green', 'ok ')} ${step}: ${detail}${time}\n`);
  };
};
