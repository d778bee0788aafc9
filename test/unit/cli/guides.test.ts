import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { blocksOf, isExpected } from '../../e2e/support/guide.ts';
import { COMMANDS } from '../../../src/cli/commands/index.ts';
import { parseManifests } from '../../../src/cli/manifests/documents.ts';
import { offlineProblems } from '../../../src/cli/manifests/problems.ts';

/** What can be seen of the guides without a stack; test/e2e/guides.test.ts executes them. */

const DOCS = join(import.meta.dirname, '..', '..', '..', 'docs');
const guides = readdirSync(join(DOCS, 'guides'));

test.each(guides)('%s: every block is executed or compared, every manifest is valid, every command exists, every link leads somewhere', (name) => {
  const text = readFileSync(join(DOCS, 'guides', name), 'utf8');
  const blocks = blocksOf(text);
  for (const block of blocks) {
    if (block.do === 'run') {
      for (const [, words = ''] of block.script.matchAll(/^clrk ((?:[a-z-]+ ?)+)/gm)) {
        const known = COMMANDS.some(
          ({ path, aliases = [] }) => words.startsWith(path.join(' ')) || aliases.some((alias) => words.startsWith([...path.slice(0, -1), alias].join(' '))),
        );
        expect(known, `line ${block.line}: clrk ${words}`).toBe(true);
      }
      continue;
    }
    const { manifests, problems } = parseManifests(block.name, block.text);
    expect([...problems, ...manifests.flatMap((manifest) => offlineProblems(manifest, 'default'))], `line ${block.line}`).toEqual([]);
  }
  for (const [, link = ''] of text.matchAll(/\]\(([^)#]+)/g)) if (!link.startsWith('http')) expect(existsSync(join(DOCS, 'guides', link)), link).toBe(true);
});

test('an expectation: any text of a line, any lines, spaces that do not matter', () => {
  expect(isExpected('NAME      AGE\na.b       3s\n', 'NAME   AGE\na.b   …\n')).toBe(true);
  expect(isExpected('axb 3s\n', 'a.b 3s\n')).toBe(false);
  expect(isExpected('one\ntwo\nthree\n', 'one\n…\nthree\n')).toBe(true);
  expect(isExpected('one\nthree\n', 'one\n…\nthree\n')).toBe(true);
  expect(isExpected('one\n', 'one\n…\n')).toBe(true);
  expect(isExpected('one\ntwo\n', 'one\n')).toBe(false);
  expect(isExpected('zero\none\n', 'one\n')).toBe(false);
});

test('a block that nobody would execute is an error, with its line', () => {
  expect(() => blocksOf('# A\n\n```sh\nrm -rf /\n```\n')).toThrow('line 3: say what this block is for');
  expect(() => blocksOf('```text expect\nx\n```\n')).toThrow('line 1: an expectation without a command');
  expect(() => blocksOf('```\nx\n```\n')).toThrow('without a language');
  expect(blocksOf('```sh run exit=1 retry\nfalse\n```\n\n```text expect\nx\n```\n')).toEqual([
    { do: 'run', script: 'false\n', exit: 1, retry: true, line: 1, expected: 'x\n' },
  ]);
});
