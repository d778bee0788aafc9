import { expect, test } from 'vitest';
import { parseManifests } from '../../../src/cli/documents.ts';

const good = 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  key: value\n';

test('reads several documents and finds the line of a field', () => {
  const [first, second] = parseManifests('a.yaml', `${good}---\n${good.replace('name: a', 'name: b')}---\n`);
  expect(first!.object.metadata.name).toBe('a');
  expect(second!.lineOf('metadata.name')).toBe(11);
  expect(second!.lineOf('metadata')).toBe(10);
  expect(second!.lineOf('stringData.key.deeper[3]')).toBe(13);
});

test.each([
  ['a tab instead of spaces', 'apiVersion: v1\nkind: Secret\nmetadata:\n\tname: a\n', 4],
  ['an unclosed bracket', 'apiVersion: v1\nkind: [Secret\n', 3],
  ['a duplicate key', 'apiVersion: v1\nkind: Secret\nkind: Secret\nmetadata: {name: a}\n', 3],
  ['no kind', 'apiVersion: v1\nmetadata: {name: a}\n', 1],
  ['no name', 'apiVersion: v1\nkind: Secret\nmetadata: {}\n', 1],
  ['a list', '- apiVersion: v1\n', 1],
  ['text', 'hello\n', 1],
])('refuses %s with file and line', (_, text, line) => {
  expect(() => parseManifests('bad.yaml', text)).toThrow(
    expect.objectContaining({ code: 'BadYaml', message: expect.stringContaining(`bad.yaml:${line}:`) as string }) as Error,
  );
});

test('a bomb of aliases is refused, not expanded', () => {
  const levels = Array.from(
    { length: 12 },
    (_, i) =>
      `l${i}: &l${i} [${
        i === 0
          ? 'x'
          : Array(10)
              .fill(`*l${i - 1}`)
              .join(', ')
      }]`,
  );
  expect(() => parseManifests('bomb.yaml', `${good}spec:\n${levels.map((l) => `  ${l}`).join('\n')}\n`)).toThrow(/alias/i);
});

test('an empty file has no documents', () => {
  expect(parseManifests('empty.yaml', '')).toEqual([]);
  expect(parseManifests('empty.yaml', '---\n# nothing\n')).toEqual([]);
});
