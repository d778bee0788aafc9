import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { violations, type Source } from './check.ts';
import { MODULES, PACKAGES, SIDE_DOORS } from './rules.ts';

const root = join(import.meta.dirname, '..', '..');
const src = join(root, 'src');

const sources = async (): Promise<Source[]> => {
  const files: Source[] = [];
  for await (const path of glob('**/*.ts', { cwd: src })) {
    if (!path.startsWith('wire/gen/')) files.push({ path, text: await readFile(join(src, path), 'utf8') });
  }
  return files;
};
const manifest = async () =>
  JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { imports: Record<string, string>; dependencies: Record<string, string> };

it('src keeps the rules', async () => {
  const files = await sources();
  expect(files.length).toBeGreaterThan(50);
  expect(violations(files)).toEqual([]);
});

it('the table and the front doors of package.json are the same', async () => {
  const { imports } = await manifest();
  const doors = [
    ...Object.keys(MODULES)
      .filter((name) => name !== 'cmd')
      .map((name) => `#${name}`),
    ...Object.keys(SIDE_DOORS),
  ];
  expect(Object.keys(imports).toSorted()).toEqual(doors.toSorted());
});

it('every runtime dependency has an owner', async () => {
  const { dependencies } = await manifest();
  const unused = ['node']; // the runtime itself
  expect(Object.keys(dependencies).filter((name) => !PACKAGES[name] && !unused.includes(name))).toEqual([]);
});

const door = (name: string): Source => ({ path: `${name}/index.ts`, text: `// ${name}: consumes a; produces b.\n// Owns: c.\n` });
const judged = (path: string, text: string): string[] => violations([door(path.split('/')[0]!), { path, text }]);

/** The check itself: each rule is broken once, and the reason is in the message. */
it.each([
  [
    'a stage imports a stage',
    'trigger/a.ts',
    `import { x } from '#scheduler';`,
    /^src\/trigger\/a\.ts:1 imports #scheduler: trigger may import .*never another stage/,
  ],
  ['a stage imports kube', 'egress/a.ts', `import type { x } from '#kube';`, /never another stage or Kubernetes/],
  ['a re-export', 'kube/a.ts', `\nexport * from '#apiserver';`, /^src\/kube\/a\.ts:2 imports #apiserver: .*test each other/],
  ['a dynamic import', 'apiserver/a.ts', `const k = await import('#kube');`, /imports #kube/],
  ['an import in a type', 'policy/a.ts', `export type X = import('#wire').Y;`, /pure functions/],
  ['a computed import', 'lib/a.ts', 'const m = await import(process.argv[2]!);', /imports an expression: .*literal/],
  ['a path into another module', 'trigger/a.ts', `import { x } from '../scheduler/queue.ts';`, /front door/],
  ['a program', 'cli/a.ts', `import { x } from '../cmd/worker.ts';`, /front door/],
  ['a path into a test', 'supervisor/a.ts', `import { x } from '../../test/fixtures/x.ts';`, /front door/],
  ['a deep front door', 'cli/a.ts', `import { x } from '#kube/client';`, /no such front door/],
  ['the own front door', 'lib/a.ts', `import { x } from '#lib';`, /relative/],
  ['ClickHouse outside of its store', 'telemetry/a.ts', `import { Session } from 'chdb';`, /only telemetry\/store may/],
  ['the store beside its door', 'telemetry/a.ts', `import { openStore } from './store/store.ts';`, /#telemetry\/store/],
  ['the store in another module', 'runtime/a.ts', `import { openStore } from '#telemetry/store';`, /only cmd may: ClickHouse/],
  ['protobuf outside of wire', 'egress/a.ts', `import { create } from '@bufbuild/protobuf';`, /only wire may/],
  ['a part of protobuf outside of wire', 'telemetry/a.ts', `import { x } from '@bufbuild/protobuf/wkt';`, /only wire may/],
  ['certificates outside of lib/x509', 'lib/a.ts', `import * as x509 from '@peculiar/x509';`, /only lib\/x509\.ts may/],
  ['children without the helper', 'sandbox/a.ts', `import { spawn, type ChildProcess } from 'node:child_process';`, /one helper/],
  ['a package nobody owns', 'lib/a.ts', `import lodash from 'lodash/fp';`, /say there who owns it/],
  ['a clock in policy', 'policy/a.ts', `import { setTimeout } from 'node:timers/promises';`, /no clock/],
  ['an unknown module', 'misc/a.ts', '', /not in the table/],
  ['a long file', 'lib/a.ts', '// line\n'.repeat(451), /451 lines, at most 450/],
  ['a long program', 'cmd/a.ts', '// line\n'.repeat(151), /at most 150/],
])('refuses %s', (_, path, text, message) => {
  const found = judged(path, text);
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(message);
});

it.each([
  ['types of a child process', 'sandbox/a.ts', `import type { ChildProcess } from 'node:child_process';`],
  ['the image module in sandbox', 'sandbox/a.ts', `import { x } from '#image';`],
  ['anything in a program', 'cmd/a.ts', `import { x } from '#egress/front';\nimport { y } from '#cli';`],
  ['relative paths inside a module', 'egress/dns/a.ts', `import { x } from '../names.ts';\nexport { y } from './z.ts';`],
])('takes %s', (_, path, text) => {
  expect(judged(path, text)).toEqual([]);
});

it('refuses a front door that does not say what it is for', () => {
  expect(violations([{ path: 'lib/a.ts', text: '' }])).toEqual(['src/lib has no front door index.ts']);
  expect(violations([{ path: 'lib/index.ts', text: "// lib: produces things.\nexport * from './a.ts';\n// consumes, owns\n" }])).toEqual([]);
  expect(violations([{ path: 'lib/index.ts', text: "// produces and consumes.\nexport * from './a.ts';\n" }])[0]).toMatch(/"\/\/ lib: ", owns/);
});
