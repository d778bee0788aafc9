import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CommandResult } from './command.ts';

/**
 * Guides that are executed as they stand. The info string of a fence says what its block is:
 *   ```yaml file=NAME   written to NAME
 *   ```sh run           run by bash; `exit=N`: it ends with N; `retry`: what it shows comes a moment later
 *   ```text expect      what the block before prints on stdout
 *   ```sh skip          not executed (how to start a stack)
 * In an expectation `…` is any text of a line, and a line of `…` alone any lines; runs of spaces count as one.
 */

interface FileBlock {
  readonly do: 'write';
  readonly name: string;
  readonly text: string;
}
export interface RunBlock {
  readonly do: 'run';
  readonly script: string;
  readonly exit: number;
  readonly retry: boolean;
  /** undefined: whatever it prints. */
  expected?: string;
}
export type Block = (FileBlock | RunBlock) & { readonly line: number };

const FENCE = /^```(\w+)(?: +(.*))?$/;

/** Blocks of a guide in their order. Throws for a block that nobody would execute or compare. */
export const blocksOf = (markdown: string): readonly Block[] => {
  const blocks: Block[] = [];
  const lines = markdown.split('\n');
  for (let at = 0; at < lines.length; at++) {
    const [, language, info = ''] = FENCE.exec(lines[at]!) ?? [];
    if (!lines[at]!.startsWith('```')) continue;
    const line = at + 1;
    const end = lines.indexOf('```', at + 1);
    if (language === undefined || end < 0) throw new Error(`line ${line}: a fence without a language, or without its end`);
    const text = lines
      .slice(at + 1, end)
      .map((each) => `${each}\n`)
      .join('');
    at = end;
    const words = info.split(/\s+/).filter(Boolean);
    const value = (name: string): string | undefined => words.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
    const name = value('file');
    if (words.includes('skip')) continue;
    else if (name !== undefined) blocks.push({ do: 'write', name, text, line });
    else if (words.includes('run')) blocks.push({ do: 'run', script: text, exit: Number(value('exit') ?? 0), retry: words.includes('retry'), line });
    else if (words.includes('expect')) {
      const last = blocks.at(-1);
      if (last?.do !== 'run' || last.expected !== undefined) throw new Error(`line ${line}: an expectation without a command before it`);
      last.expected = text;
    } else throw new Error(`line ${line}: say what this block is for: file=NAME, run, expect or skip`);
  }
  return blocks;
};

const squeezed = (text: string): string => text.replace(/ {2,}/g, ' ').trimEnd();
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** Whether a text is what an expectation says. */
export const isExpected = (actual: string, expected: string): boolean => {
  const lines = expected.trimEnd().split('\n').map(squeezed);
  const pattern = lines.map((line) => (line.trim() === '…' ? '(?:.*\\n)*' : `${line.split('…').map(escaped).join('.*')}\\n`)).join('');
  const text = actual.trimEnd().split('\n').map(squeezed).join('\n');
  return new RegExp(`^${pattern}$`).test(`${text}\n`);
};

export interface GuideRunner {
  /** Where commands run and files are written. */
  readonly cwd: string;
  /** Runs a script to its end, whatever that is. */
  readonly run: (script: string) => Promise<CommandResult>;
  /** What a file of the guide needs besides, to work in the lab. */
  readonly adapt: (text: string) => string;
  /** How long `retry` tries. */
  readonly retryMs: number;
}

const problemOf = ({ code, stdout, stderr }: CommandResult, { exit, expected }: RunBlock): string | undefined => {
  const said = `stdout:\n${stdout}\nstderr:\n${stderr}`;
  if (code !== exit) return `ended with ${code} instead of ${exit}\n${said}`;
  return expected === undefined || isExpected(stdout, expected) ? undefined : `printed something else than\n${expected}\n${said}`;
};

/** Executes a guide from its beginning to its end; fails at the first block that does not do what the guide says. */
export const executeGuide = async (file: string, { cwd, run, adapt, retryMs }: GuideRunner): Promise<void> => {
  for (const block of blocksOf(await readFile(file, 'utf8'))) {
    if (block.do === 'write') {
      const path = join(cwd, block.name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, adapt(block.text));
      continue;
    }
    const until = performance.now() + (block.retry ? retryMs : 0);
    for (;;) {
      const problem = problemOf(await run(block.script), block);
      if (problem === undefined) break;
      if (performance.now() >= until) throw new Error(`${file}, line ${block.line}:\n${block.script}\n${problem}`);
    }
  }
};
