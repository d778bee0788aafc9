import fc from 'fast-check';
import { stringify } from 'yaml';
import { expect, test } from 'vitest';
import { parseManifests } from '../../../src/cli/manifests/documents.ts';

const good = 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: a\nstringData:\n  key: value\n';
const at = (text: string, field: string, key = false): string => {
  const { line, column } = parseManifests('a.yaml', text).manifests.at(-1)!.problem(field, '', key);
  return `${line}:${column}`;
};

test('reads several documents, and Lists, and finds where a field is written', () => {
  const { manifests, problems } = parseManifests('a.yaml', `${good}---\n${good.replace('name: a', 'name: b')}---\n`);
  expect(problems).toEqual([]);
  expect(manifests.map(({ subject }) => subject)).toEqual(['Secret a', 'Secret b']);
  const second = manifests[1]!;
  expect(second.problem('metadata.name', 'm')).toEqual({ file: 'a.yaml', line: 11, column: 9, object: 'Secret b', field: 'metadata.name', message: 'm' });
  expect(second.problem('metadata.name', 'm', true)).toMatchObject({ line: 11, column: 3 });
  expect(second.problem('metadata', 'm')).toMatchObject({ line: 10, column: 1 });
  expect(second.problem('stringData.key.deeper[3]', 'm')).toMatchObject({ line: 13, column: 3 });
  const list = `apiVersion: v1\nkind: List\nitems:\n  - apiVersion: v1\n    kind: Secret\n    metadata: {name: one}\n  - {apiVersion: v1, kind: Secret, metadata: {name: two}}\n`;
  expect(parseManifests('l.yaml', list).manifests.map((item) => item.problem('metadata.name', ''))).toMatchObject([
    { object: 'Secret one', line: 6, column: 22 },
    { object: 'Secret two', line: 7, column: 53 },
  ]);
});

test.each([
  ['a name with dots', 'data: {tls.crt: x, tls: {crt: y}}', 'data.tls.crt', '4:17'],
  ['a name in brackets', 'data: {tls.crt: x}', 'data[tls.crt]', '4:17'],
  ['an item of a list', 'spec:\n  rules:\n    - matches: [a, b]', 'spec.rules[0].matches[1]', '6:20'],
  ['an item by its keys', 'spec:\n  env:\n    - {name: A, value: x}\n    - {name: B, value: y}', '.spec.env[name="B"].value', '7:24'],
  ['an item of a set', 'spec: {names: [a, b]}', '.spec.names[="b"]', '4:19'],
  ['what an alias stands for', 'base: &b {x: 1}\nspec: *b', 'spec.x', '4:14'],
  ['what is merged in', 'base: &b {x: 1}\nspec: {<<: *b, y: 2}', 'spec.x', '4:14'],
  ['a field that is not there', 'spec:\n  rules: []', 'spec.rules[3].matches', '5:3'],
  ['a map', 'spec:\n  template: {image: x}', 'spec.template', '5:3'],
  ['the document', 'spec: {}', '', '1:1'],
])('finds %s', (_, text, field, position) => {
  expect(at(`apiVersion: v1\nkind: X\nmetadata: {name: a}\n${text}\n`, field)).toBe(position);
});

test.each([
  ['a tab instead of spaces', 'apiVersion: v1\nkind: Secret\nmetadata:\n\tname: a\n', '4:1'],
  ['an unclosed bracket', 'apiVersion: v1\nkind: [Secret\n', '3:1'],
  ['a duplicate key', 'apiVersion: v1\nkind: Secret\nkind: Secret\nmetadata: {name: a}\n', '3:1'],
  ['a duplicate key inside', `${good}  other: x\n  key: y\n`, '8:3'],
  ['no kind', 'apiVersion: v1\nmetadata: {name: a}\n', '1:1'],
  ['a list', '- apiVersion: v1\n', '1:1'],
  ['text', 'hello\n', '1:1'],
  ['a dangerous name', `${good}__proto__: {}\n`, '1:1'],
  ['an infinite number', `${good}x: .inf\n`, '1:1'],
  ['an alias of nothing', `${good}x: *nothing\n`, '7:4'],
])('tells %s with file, line and column', (_, text, position) => {
  const [problem] = parseManifests('bad.yaml', text).problems;
  expect(`${problem?.file}:${problem?.line}:${problem?.column}`).toBe(`bad.yaml:${position}`);
});

test('everything that is wrong is told, in order, and the good documents are still read', () => {
  const { manifests, problems } = parseManifests('a.yaml', `${good}---\nkind: X\n---\na: 1\na: 2\n---\nx: [\n`);
  expect(manifests.map(({ subject }) => subject)).toEqual(['Secret a']);
  expect(problems.map(({ line, field }) => `${line} ${field}`)).toEqual(['8 apiVersion', '10 apiVersion', '10 kind', '11 a', '14 ']);
});

test('a bomb of aliases is refused, not expanded', () => {
  const ten = (of: string): string => Array(10).fill(of).join(', ');
  const levels = Array.from({ length: 12 }, (_, i) => `l${i}: &l${i} [${i === 0 ? 'x' : ten(`*l${i - 1}`)}]`);
  const { problems } = parseManifests('bomb.yaml', `${good}spec:\n${levels.map((l) => `  ${l}`).join('\n')}\n`);
  expect(problems).toEqual([expect.objectContaining({ message: expect.stringMatching(/alias/i) as string })]);
});

test('what is nested too deeply is told, not tried', () => {
  const { problems } = parseManifests('deep.yaml', `${good}x: ${'['.repeat(20_000)}${']'.repeat(20_000)}\n`);
  expect(problems).toEqual([expect.objectContaining({ message: expect.stringMatching(/nested/) as string })]);
});

const letters = [...'abcdefghijklmnop'];
test.each<[string, string]>([
  ['lists in lists', '- '.repeat(50_000)],
  ['flows in flows', '['.repeat(50_000)],
  ['keys in keys', '? '.repeat(50_000)],
  [
    'merges of merges',
    `a: &a {x: 1}\n${letters
      .slice(1)
      .map((key, i) => `${key}: &${key} {<<: [${`*${letters[i]},`.repeat(9)}]}`)
      .join('\n')}`,
  ],
  ['an anchor in itself', 'a: &a [*a]'],
  ['a number with too many digits', `${good}data: {a: 9007199254740993}\n`],
])('%s are a problem of the file, no more', (_, text) => {
  const { manifests, problems } = parseManifests('hostile.yaml', text);
  expect(manifests).toEqual([]);
  expect(problems.length).toBeGreaterThan(0);
  for (const { line, message } of problems) expect([line > 0, message.length < 1000]).toEqual([true, true]);
});

test('an empty file has no documents', () => {
  for (const text of ['', '---\n# nothing\n', '---\n---\n']) expect(parseManifests('empty.yaml', text)).toEqual({ manifests: [], problems: [] });
});
test('every field that is written is found where it is written', () => {
  const name = fc.stringMatching(/^[a-z][a-zA-Z]{0,6}$/);
  const { tree } = fc.letrec<{ tree: unknown; map: object; list: unknown[] }>((tie) => ({
    tree: fc.oneof({ maxDepth: 4 }, name, fc.integer(), fc.boolean(), tie('map'), tie('list')),
    map: fc.dictionary(name, tie('tree'), { minKeys: 1, maxKeys: 4 }),
    list: fc.array(tie('tree'), { minLength: 1, maxLength: 4 }),
  }));
  const leaves = (value: unknown, path: string): [string, unknown][] =>
    Array.isArray(value)
      ? value.flatMap((item, index) => leaves(item, `${path}[${index}]`))
      : value !== null && typeof value === 'object'
        ? Object.entries(value).flatMap(([key, child]) => leaves(child, `${path}.${key}`))
        : [[path, value]];
  fc.assert(
    fc.property(tree, fc.boolean(), (spec, flow) => {
      const text = stringify({ apiVersion: 'v1', kind: 'X', spec }, { version: '1.1', lineWidth: 0, collectionStyle: flow ? 'flow' : 'block' });
      const lines = text.split('\n');
      const [manifest] = parseManifests('x.yaml', text).manifests;
      for (const [path, value] of leaves(spec, 'spec')) {
        const { line, column } = manifest!.problem(path, '');
        expect(lines[line - 1]!.slice(column - 1).replace(/^"/, '')).toMatch(new RegExp(`^${String(value)}\\b`));
      }
    }),
    { numRuns: 200 },
  );
});
