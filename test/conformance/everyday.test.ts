import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decode } from '#admission';
import { CLRK_KINDS } from '#api';
import { startKubectl, type Kubectl } from './kubectl.ts';

/** What somebody does with kubectl all day, against the embedded server. */

let kubectl: Kubectl;
beforeAll(async () => void (kubectl = await startKubectl()));
afterAll(() => kubectl[Symbol.asyncDispose]());

const agent = (name: string, spec: object = {}, metadata: object = {}): string =>
  JSON.stringify({
    apiVersion: 'clrk.apoxy.dev/v1alpha1',
    kind: 'TaskAgent',
    metadata: { name, ...metadata },
    spec: { workerPoolRef: 'default', template: { spec: { image: 'a/b:1', env: [{ name: 'A', value: '1' }] } }, ...spec },
  });
const field = (name: string, path: string): Promise<string> => kubectl(['get', 'ta', name, '-o', `jsonpath={${path}}`]);
const uid = (kind: string, name: string): Promise<string> => kubectl(['get', kind, name, '-o', 'jsonpath={.metadata.uid}']);

describe('what there is', () => {
  test('cluster-info, api-versions, version, raw paths', async () => {
    expect(await kubectl('cluster-info')).toContain(`is running at`);
    expect((await kubectl('api-versions')).split('\n')).toEqual(expect.arrayContaining(['clrk.apoxy.dev/v1alpha1', 'coordination.k8s.io/v1', 'v1']));
    expect(JSON.parse(await kubectl('version -o json'))).toMatchObject({ serverVersion: { major: '1', minor: '32' } });
    expect(JSON.parse(await kubectl('get --raw /'))).toMatchObject({
      paths: expect.arrayContaining(['/apis/clrk.apoxy.dev/v1alpha1', '/openapi/v3']) as unknown,
    });
    expect(await kubectl('get --raw /readyz')).toBe('ok');
  });

  test('a word for every kind of clrk', async () => {
    await kubectl('create -f -', agent('one'));
    expect(await kubectl('get clrk -o name')).toBe('taskagent.clrk.apoxy.dev/one\n');
    expect((await kubectl('api-resources --categories=clrk -o name')).trim().split('\n').toSorted()).toEqual(
      CLRK_KINDS.map(({ plural }) => `${plural}.clrk.apoxy.dev`).toSorted(),
    );
  });

  test.each(CLRK_KINDS.map(({ kind, singular, schema }) => [kind, singular, Object.keys(schema.properties!['spec']!.properties ?? {})] as const))(
    'explain %s, with every field of its spec',
    async (kind, singular, fields) => {
      const text = await kubectl(`explain ${singular} --recursive`);
      expect(text).toMatch(new RegExp(`^GROUP: +clrk\\.apoxy\\.dev\nKIND: +${kind}\n`));
      for (const name of fields) expect(text).toMatch(new RegExp(`^ {4}${name}\t<`, 'm'));
    },
  );
});

describe('get', () => {
  beforeAll(async () => {
    for (const [name, tier] of [
      ['g1', 'low'],
      ['g2', 'high'],
      ['g3', 'low'],
    ] as const)
      await kubectl('apply -f -', agent(name, { maxConcurrent: Number(name[1]) }, { labels: { set: 'get', tier } }));
  });

  test.each<[string | string[], string | RegExp]>([
    ['get ta -l set=get -L tier --no-headers', /^g1 .* low\ng2 .* high\ng3 .* low\n$/],
    ['get ta -l set=get --show-labels', /LABELS\ng1 .* set=get,tier=low\n/],
    ['get ta -l set=get --sort-by=.spec.maxConcurrent -o name', /g1\n.*g2\n.*g3\n$/],
    ['get ta -l set=get,tier!=low -o name', 'taskagent.clrk.apoxy.dev/g2\n'],
    [['get', 'ta', '-l', 'set=get,tier in (low,none)', '-o', 'name'], /^\S+g1\n\S+g3\n$/],
    [['get', 'ta', '-l', 'set,tier notin (low)', '-o', 'name'], /^\S+g2\n$/],
    [['get', 'ta', '-l', 'set=get,!tier'], ''],
    ['get ta --field-selector metadata.name!=g1,metadata.namespace=default -l set=get -o name', /^\S+g2\n\S+g3\n$/],
    ['get ta -l set=get -o jsonpath={.items[*].metadata.name}', 'g1 g2 g3'],
    [['get', 'ta', 'g1', '-o', 'jsonpath={range .spec.template.spec.env[*]}{.name}={.value}{end}'], 'A=1'],
    [['get', 'ta', 'g2', '-o', 'go-template={{.metadata.name}}:{{.spec.maxConcurrent}}'], 'g2:2'],
    ['get ta -l set=get -o custom-columns=N:.metadata.name,C:.spec.maxConcurrent --no-headers', /^g1 +1\ng2 +2\ng3 +3\n$/],
    ['get ta -l set=get --server-print=false', /^NAME +AGE\ng1 /],
    ['get ta -l set=get --chunk-size=1 -o name', /^\S+g1\n\S+g2\n\S+g3\n$/],
    ['get ta.v1alpha1.clrk.apoxy.dev/g1 taskagent/g2 -o name', /g1\n.*g2\n$/],
    ['get ta nope --ignore-not-found', ''],
    ['get ta g1 --subresource=status -o jsonpath={.metadata.name}', 'g1'],
  ])('%j', async (args, expected) => {
    const output = await kubectl(args);
    if (typeof expected === 'string') expect(output).toBe(expected);
    else expect(output).toMatch(expected);
  });

  test('pages hold what was asked for, and say how much is left', async () => {
    const path = '/apis/clrk.apoxy.dev/v1alpha1/namespaces/default/taskagents?labelSelector=set%3Dget&limit=2';
    const first = JSON.parse(await kubectl(`get --raw ${path}`)) as { items: unknown[]; metadata: { continue: string } };
    expect(first.items).toHaveLength(2);
    const second = JSON.parse(await kubectl(`get --raw ${path}&continue=${first.metadata.continue}`)) as {
      items: { metadata: { name: string } }[];
      metadata: object;
    };
    expect([second.items.map(({ metadata }) => metadata.name), 'continue' in second.metadata]).toEqual([['g3'], false]);
  });

  test('a field that is no selector is refused', async () => {
    expect((await kubectl.outcome('get ta --field-selector spec.timeout=1s')).stderr).toContain('field label not supported: spec.timeout');
  });
});

describe('changing', () => {
  const editor = (name: string, script: string): NodeJS.ProcessEnv => {
    const path = join(kubectl.home, name);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return { KUBE_EDITOR: path };
  };

  test('edit: what is saved is in effect; what is not valid is refused, and a copy of it kept', async () => {
    await kubectl('create -f -', agent('edited', { timeout: '9s' }));
    expect(await kubectl('edit ta edited', '', editor('good', 'sed -i "s/timeout: 9s/timeout: 8s/" "$1"'))).toContain('taskagent.clrk.apoxy.dev/edited edited');
    expect(await field('edited', '.spec.timeout')).toBe('8s');
    const { code, stderr } = await kubectl.outcome('edit ta edited', '', editor('bad', 'sed -i "s/timeout: 8s/timeout: 0s/" "$1"'));
    expect(code).toBe(1);
    const copy = /A copy of your changes has been stored to "(.*)"/.exec(stderr)![1]!;
    expect(readFileSync(copy, 'utf8')).toMatch(/# .*spec\.timeout: Invalid value: "0s": must be greater than zero/);
    expect(await field('edited', '.spec.timeout')).toBe('8s');
    await kubectl('edit ta edited --subresource=status', '', editor('status', 'echo "status: {activeExecutions: 6}" >> "$1"'));
    expect(await field('edited', '.status.activeExecutions')).toBe('6');
  });

  test('patch: merge, json with a test, status apart from spec; strategic is refused as for any custom kind', async () => {
    await kubectl('create -f -', agent('patched'));
    await kubectl('patch ta patched --type=merge -p {"spec":{"maxConcurrent":3},"status":{"activeExecutions":9}}');
    expect(await field('patched', '.spec.maxConcurrent')).toBe('3');
    expect(await field('patched', '.status')).toBe('');
    await kubectl('patch ta patched --subresource=status --type=merge -p {"spec":{"maxConcurrent":4},"status":{"activeExecutions":9}}');
    expect([await field('patched', '.spec.maxConcurrent'), await field('patched', '.status.activeExecutions')]).toEqual(['3', '9']);
    const json = (value: number) => `[{"op":"test","path":"/spec/maxConcurrent","value":${value}},{"op":"replace","path":"/spec/maxConcurrent","value":7}]`;
    expect((await kubectl.outcome(`patch ta patched --type=json -p ${json(1)}`)).code).toBe(1);
    await kubectl(`patch ta patched --type=json -p ${json(3)}`);
    expect(await field('patched', '.spec.maxConcurrent')).toBe('7');
    expect((await kubectl.outcome('patch ta patched -p {"spec":{}}')).stderr).toContain('strategic-merge-patch+json is not supported');
  });

  test('label, annotate: set, refuse to overwrite, remove', async () => {
    await kubectl('create -f -', agent('marked'));
    await kubectl('label ta marked team=a');
    expect((await kubectl.outcome('label ta marked team=b')).stderr).toContain("'team' already has a value (a), and --overwrite is false");
    await kubectl('label ta marked team=b --overwrite');
    expect(await kubectl('label ta marked --list')).toBe('team=b\n');
    await kubectl('label ta marked team-');
    await kubectl('annotate ta marked note=x');
    expect([await field('marked', '.metadata.labels'), await field('marked', '.metadata.annotations.note')]).toEqual(['', 'x']);
    expect((await kubectl.outcome(['label', 'ta', 'marked', 'a b=1'])).code).toBe(1);
  });

  test('what is stale is refused: replace, scale, patch', async () => {
    await kubectl('create -f -', agent('raced'));
    const stale = await kubectl('get ta raced -o json');
    await kubectl('patch ta raced --type=merge -p {"spec":{"timeout":"3s"}}');
    expect((await kubectl.outcome('replace -f -', stale)).stderr).toContain('the object has been modified; please apply your changes to the latest version');
    expect((await kubectl.outcome('patch ta raced --type=merge -p {"metadata":{"resourceVersion":"1"}}')).stderr).toContain('Conflict');
    expect(await kubectl('replace --force -f -', agent('raced'))).toMatch(/deleted\n.*replaced\n$/s);
  });

  test('--validate=strict, warn and ignore', async () => {
    const odd = agent('odd', { colour: 'red' });
    expect((await kubectl.outcome('create -f -', odd)).stderr).toContain('strict decoding error: unknown field "spec.colour"');
    expect(await kubectl('create --validate=warn --dry-run=server -f -', odd)).toContain('created');
    expect(await kubectl('create --validate=ignore -f -', odd)).toContain('created');
    expect(await field('odd', '.spec.colour')).toBe('');
  });

  test('generateName, dry runs, diff', async () => {
    const made = await kubectl('create -f - -o name', JSON.stringify({ ...(JSON.parse(agent('x')) as object), metadata: { generateName: 'gen-' } }));
    expect(made).toMatch(/^taskagent\.clrk\.apoxy\.dev\/gen-[a-z0-9]{5}\n$/);
    for (const mode of ['client', 'server'])
      expect(await kubectl(`create --dry-run=${mode} -f -`, agent('never'))).toContain(`created (${mode === 'client' ? '' : 'server '}dry run)`);
    expect((await kubectl.outcome('get ta never')).code).toBe(1);
    await kubectl('apply -f -', agent('same'));
    expect((await kubectl.outcome('diff -f -', agent('same'))).code).toBe(0);
    expect((await kubectl.outcome('diff -f -', agent('same', { timeout: '1s' }))).code).toBe(1);
    expect((await kubectl.outcome('diff -f -', agent('same', { timeout: '0s' }))).stderr).toContain('must be greater than zero');
  });

  test('apply: last applied, prune, a directory', async () => {
    const dir = join(kubectl.home, 'dir', 'below');
    mkdirSync(dir, { recursive: true });
    for (const name of ['p1', 'p2']) writeFileSync(join(dir, `${name}.json`), agent(name, {}, { labels: { prune: 'yes' } }));
    expect(await kubectl('apply -R -f dir')).toBe('taskagent.clrk.apoxy.dev/p1 created\ntaskagent.clrk.apoxy.dev/p2 created\n');
    expect(JSON.parse(await kubectl('apply view-last-applied ta/p1 -o json'))).toMatchObject({ metadata: { labels: { prune: 'yes' } } });
    const pruned = await kubectl('apply -f dir/below/p1.json --prune -l prune=yes --prune-allowlist=clrk.apoxy.dev/v1alpha1/TaskAgent');
    expect(pruned).toBe('taskagent.clrk.apoxy.dev/p1 unchanged\ntaskagent.clrk.apoxy.dev/p2 pruned\n');
    expect(await kubectl('delete -f dir/below/p1.json')).toContain('deleted');
  });
});

test('YAML means to clrk what it means to kubectl', async () => {
  const plain =
    'yes Yes y n on OFF 0644 0o644 0x1F 0b11 1_000 1:30 22:30:15 2001-01-01 2001-12-14t21:59:43.10-05:00 ~ null NULL 1.5 1e3 .5 1. +1 -0 "yes" = << ' +
    '12345678901234567890 0.1e-3 08 1__0 1_0.5 True tRUE 0o8 -0x1F -0644 685_230.15 190:20:30.15 "" [] {} "\\u00e9"';
  const scalars = [...plain.split(' '), "'no'", '!!str 5', '!!binary aGVsbG8=', '!foo bar', '{a: ~}', '!!set {a, b}', '!!omap [a: 1]'];
  const text = `apiVersion: clrk.apoxy.dev/v1alpha1\nkind: TaskAgent\nmetadata: {name: x}\nbase: &b {c: 1, d: 2}\nmerged: {<<: *b, d: 3}\nfolded: >\n  a\n  b\nx:\n${scalars.map((value) => `  - ${value}\n`).join('')}`;
  const theirs = JSON.parse(await kubectl('create -f - --dry-run=client --validate=false -o json', text)) as Record<string, unknown>;
  const ours = JSON.parse(JSON.stringify(decode(Buffer.from(text), 'yaml').value)) as Record<string, unknown>;
  expect(scalars.length).toBeGreaterThan(45);
  scalars.forEach((value, index) => expect([value, (ours['x'] as unknown[])[index]]).toEqual([value, (theirs['x'] as unknown[])[index]]));
  for (const name of ['merged', 'folded']) expect(ours[name]).toEqual(theirs[name]);
});

describe('going', () => {
  test('an object with a finalizer stays, marked, until that is gone', async () => {
    await kubectl('create -f -', agent('held', {}, { finalizers: ['example.com/hold'] }));
    expect(await kubectl('delete ta held --wait=false')).toContain('deleted');
    expect(await field('held', '.metadata.deletionTimestamp')).toMatch(/^\d{4}-/);
    const waiting = kubectl('wait --for=delete ta/held --timeout=15s');
    await kubectl('patch ta held --type=merge -p {"metadata":{"finalizers":null}}');
    await waiting;
    expect((await kubectl.outcome('get ta held')).stderr).toContain('not found');
  });

  test.each([
    ['background', false],
    ['foreground', false],
    ['orphan', true],
  ] as const)('--cascade=%s', async (cascade, stays) => {
    await kubectl('create -f -', agent(cascade));
    const owner = { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'TaskAgent', name: cascade, uid: await uid('ta', cascade), blockOwnerDeletion: true };
    const owned = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: cascade, ownerReferences: [owner] } };
    await kubectl('create -f -', JSON.stringify(owned));
    await kubectl(`delete ta ${cascade} --cascade=${cascade}`);
    if (stays) expect(await kubectl(`get cm ${cascade} -o jsonpath={.metadata.ownerReferences}`)).toBe('');
    else await kubectl(`wait --for=delete cm/${cascade} --timeout=15s`);
  });
});

describe('waiting', () => {
  test('for something to be made', async () => {
    const waiting = kubectl('wait --for=create ta/late --timeout=15s');
    await kubectl('create -f -', agent('late'));
    await waiting;
  });

  test('goes on when the server restarts', async () => {
    await kubectl('create -f -', agent('patient'));
    const status = (value: number) => kubectl(`patch ta patient --subresource=status --type=merge -p {"status":{"activeExecutions":${value}}}`);
    await status(1);
    const waiting = kubectl('wait --for=jsonpath={.status.activeExecutions}=2 ta/patient --timeout=19s');
    await kubectl.server.stop();
    await kubectl.server.start();
    await status(2);
    expect(await waiting).toContain('condition met');
  });
});

describe('who', () => {
  test('--as: another user and its rights', async () => {
    expect(await kubectl('auth whoami --as=system:clrk:dispatcher -o jsonpath={.status.userInfo.username}')).toBe('system:clrk:dispatcher');
    expect(await kubectl('auth can-i list taskagents --as=system:clrk:dispatcher')).toBe('yes\n');
    for (const verb of ['create', 'get']) expect((await kubectl.outcome(`auth can-i ${verb} taskagents --as=system:clrk:dispatcher`)).code).toBe(1);
    expect(await kubectl('auth can-i patch taskagents --subresource=status --as=system:clrk:controller-manager')).toBe('yes\n');
    expect((await kubectl.outcome('get secrets --as=jane --as-group=clrk:editors')).stderr).toContain('User "jane" cannot list resource "secrets"');
    expect(await kubectl('auth can-i delete taskagents --as=jane --as-group=clrk:editors')).toBe('yes\n');
    expect(await kubectl('auth can-i --list --as=system:clrk:dispatcher')).toMatch(/workerpools\.clrk\.apoxy\.dev +\[\] +\[\] +\[list watch\]/);
  });
});
