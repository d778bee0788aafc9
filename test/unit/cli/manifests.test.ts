import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runCli } from '#cli';
import { ROOT, startServer, type TestClient, type TestServer } from '../apiserver/harness.ts';
import { capture } from './capture.ts';

/** The commands that read manifests, against a real API server; `validate` needs none. */

let server: TestServer;
let admin: TestClient;
let kubeconfig: string;
let dir: string;
beforeAll(async () => {
  server = await startServer();
  admin = await server.client();
  kubeconfig = await server.kubeconfig();
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'clrk-manifests-'))));
afterEach(() => rm(dir, { recursive: true }));

const clrk = async (...argv: string[]) => {
  const { io, seen } = capture();
  const code = await runCli([...argv, '--kubeconfig', kubeconfig], io);
  return { code, ...seen };
};
const offline = async (...argv: string[]) => {
  const { io, seen } = capture();
  return { code: await runCli(argv, io), ...seen };
};
const write = async (name: string, text: string): Promise<string> => {
  const path = join(dir, name);
  await writeFile(path, text);
  return path;
};

const agent = (name: string, spec = 'workerPoolRef: default', more = ''): string =>
  `apiVersion: clrk.apoxy.dev/v1alpha1\nkind: TaskAgent\nmetadata:\n  name: ${name}\nspec:\n  ${spec}\n${more}  template:\n    spec:\n      image: a/b:1\n`;
const secret = (name: string, value: string): string => `apiVersion: v1\nkind: Secret\nmetadata:\n  name: ${name}\nstringData:\n  token: ${value}\n`;

describe('validate', () => {
  test('tells every problem with file, line, column and field, and what was meant', async () => {
    const path = await write(
      'bad.yaml',
      `${agent('one', 'workerPoolRef: default', '  timeOut: 5s\n  maxConcurrent: -1\n')}---\n${agent('two', 'workerPoolRef: ""', '  timeout: 0s\n')}---\napiVersion: clrk.apoxy.dev/v1alpha1\nkind: TaskAgnet\nmetadata: {name: x}\n---\na: 1\na: 2\n`,
    );
    const { code, out, err } = await offline('validate', '-f', path);
    expect(code).toBe(1);
    const at = (line: number, column: number, rest: string): string => `${path}:${line}:${column}: ${rest}`;
    expect(out.trim().split('\n').toSorted()).toEqual(
      [
        at(7, 3, 'TaskAgent one: spec.timeOut: unknown field; did you mean timeout?'),
        at(8, 18, 'TaskAgent one: spec.maxConcurrent: Invalid value: -1: spec.maxConcurrent in body should be greater than or equal to 0'),
        at(18, 18, 'TaskAgent two: spec.workerPoolRef: Invalid value: "": spec.workerPoolRef in body should be at least 1 chars long'),
        at(19, 12, 'TaskAgent two: spec.timeout: Invalid value: "0s": must be greater than zero'),
        at(25, 7, 'TaskAgnet x: kind: unknown kind clrk.apoxy.dev/v1alpha1 TaskAgnet; did you mean clrk.apoxy.dev/v1alpha1 TaskAgent?'),
        at(28, 1, 'apiVersion: is missing or not text'),
        at(28, 1, 'kind: is missing or not text'),
        at(29, 1, 'a: is there twice'),
      ].toSorted(),
    );
    expect(err).toBe('Error: 8 problems in 3 objects in 1 file.\n');
  });

  test('-o json', async () => {
    const path = await write('one.yaml', agent('one', 'workerPoolRef: 5', '  delivery: {mode: Metadata}\n'));
    const { code, out } = await offline('validate', path, '-o', 'json');
    expect(code).toBe(1);
    expect(JSON.parse(out)).toEqual({
      valid: false,
      files: 1,
      objects: 1,
      problems: [
        {
          file: path,
          line: 6,
          column: 18,
          object: 'TaskAgent one',
          field: 'spec.workerPoolRef',
          message: 'Invalid value: "integer": spec.workerPoolRef in body must be of type string: "integer"; in YAML, text like this needs quotes: "5"',
        },
      ],
      warnings: [expect.objectContaining({ line: 7, field: 'spec.delivery.mode' })],
    });
  });

  test('several files and directories, with and without those below; what is fine exits 0', async () => {
    await mkdir(join(dir, 'below'));
    await write('a.yaml', `${agent('a')}---\n${secret('s', 'x')}`);
    await write('b.json', JSON.stringify(parse(agent('b'))));
    await write('notes.txt', 'not a manifest');
    await write('below/c.yml', agent('c', 'nothing: 1'));
    await symlink(join(dir, 'a.yaml'), join(dir, 'link.yaml'));
    const flat = await offline('validate', dir);
    expect([flat.code, flat.out]).toEqual([0, '']);
    expect(flat.err).toMatch(/^Warning: .*link\.yaml:1:1: TaskAgent a: is in .*a\.yaml:1 too[^]*5 objects in 3 files: valid\n$/);
    const deep = await offline('validate', '-R', dir);
    expect(deep.code).toBe(1);
    expect(deep.out).toMatch(/c\.yml:6:3: TaskAgent c: spec\.nothing: unknown field/);
  });

  test('text that YAML takes for something else: quotes are suggested', async () => {
    const { out } = await offline(
      'validate',
      await write('a.yaml', `${agent('a', 'workerPoolRef: yes')}---\n${secret('b', '0644')}---\n${secret('c', '{a: b}')}`),
    );
    expect(out).toMatch(/a\.yaml:6:18: TaskAgent a: spec\.workerPoolRef: .*; in YAML, text like this needs quotes: "yes"\n/);
    expect(out).toMatch(/a\.yaml:16:10: Secret b: stringData\.token: .*needs quotes\n.*Secret c: .*"object"\n$/);
    expect(out).not.toContain('0644'); // which may be a secret
  });

  test('what cannot be read is told with the reason', async () => {
    await writeFile(join(dir, 'bin.yaml'), Buffer.from([0xff, 0xfe, 0x20]));
    expect((await offline('validate', join(dir, 'bin.yaml'))).err).toMatch(/Cannot read .*bin\.yaml: it is not text in UTF-8/);
    expect((await offline('validate', join(dir, 'absent.yaml'))).err).toMatch(/Cannot read .*absent\.yaml: there is no such file or directory/);
    expect((await offline('validate', dir + '/')).err).toMatch(/not text in UTF-8/);
    await rm(join(dir, 'bin.yaml'));
    expect((await offline('validate', dir)).err).toMatch(/No manifests in /);
  });

  test('the quickstart is valid', async () => {
    expect(await offline('validate', 'examples/quickstart/manifests')).toMatchObject({ code: 0, out: '' });
  });
});

describe('apply', () => {
  test('created, unchanged, configured; a dry run keeps nothing; -o prints what came of it', async () => {
    const path = await write('a.yaml', `${agent('applied')}---\n${secret('applied', 'x')}`);
    expect(await clrk('apply', '-f', path, '--dry-run')).toEqual({
      code: 0,
      out: 'taskagent/applied created (dry run)\nsecret/applied created (dry run)\n',
      err: '',
    });
    expect((await clrk('apply', path)).out).toBe('taskagent/applied created\nsecret/applied created\n');
    expect((await clrk('apply', path)).out).toBe('taskagent/applied unchanged\nsecret/applied unchanged\n');
    await write('a.yaml', agent('applied', 'workerPoolRef: other'));
    expect((await clrk('apply', path, '--dry-run')).out).toBe('taskagent/applied configured (dry run)\n');
    const { out } = await clrk('apply', path, '-o', 'yaml');
    expect(parse(out)).toMatchObject({ kind: 'List', items: [{ kind: 'TaskAgent', spec: { workerPoolRef: 'other', timeout: '100s' } }] });
    expect(out).not.toContain('managedFields');
    expect((await clrk('apply', path, '-o', 'name')).out).toBe('taskagent.clrk.apoxy.dev/applied\n');
  });

  test('a Namespace comes before what is in it, and goes after it; a dry run tells changes of every kind', async () => {
    const inTeam = secret('inside', 'x').replace('name: inside', 'name: inside\n  namespace: team-x');
    await write('a.yaml', inTeam);
    await write('b.yaml', 'apiVersion: v1\nkind: Namespace\nmetadata: {name: team-x}\n');
    expect((await clrk('apply', dir)).out).toBe('namespace/team-x created\nsecret/inside created\n');
    expect((await clrk('apply', dir, '--dry-run')).out).toBe('namespace/team-x unchanged (dry run)\nsecret/inside unchanged (dry run)\n');
    await write('a.yaml', inTeam.replace('token: x', 'token: z'));
    expect((await clrk('apply', dir, '--dry-run')).out).toContain('secret/inside configured (dry run)\n');
    expect(await clrk('delete', '-f', dir)).toEqual({ code: 0, out: 'secret/inside deleted\nnamespace/team-x deleted\n', err: '' });
  });

  test('a typing error or an unknown kind anywhere: nothing is applied, and all of them are told', async () => {
    await write('a.yaml', agent('never'));
    await write('b.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n');
    await write('c.yaml', 'a: [\n');
    const { code, out, err } = await clrk('apply', '-f', dir);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(/c\.yaml:2:1: .*\n.*b\.yaml:2:7: Pod x: kind: unknown kind v1 Pod/);
    expect((await admin.call('GET', `${ROOT}/taskagents/never`)).status).toBe(404);
  });

  test('what the server refuses has file, line and field; the rest is applied', async () => {
    await write('a.yaml', agent('rest'));
    await write('b.yaml', agent('refused', 'workerPoolRef: default', '  timeout: 0s\n  maxConcurrent: -1\n'));
    await write('c.yaml', agent('unknown', 'workerPoolRef: default', '  timeOut: 5s\n  maxConcurrent: -1\n'));
    const { code, out, err } = await clrk('apply', '-f', dir);
    expect([code, out]).toEqual([1, 'taskagent/rest created\n']);
    expect(err).toMatch(/b\.yaml:8:18: TaskAgent refused: spec\.maxConcurrent: Invalid value: -1/);
    // The server stops at the unknown field; the rest is told all the same.
    expect(err).toMatch(/c\.yaml:7:3: TaskAgent unknown: spec\.timeOut: unknown field; did you mean timeout\?\n.*c\.yaml:8:18: .*Invalid value: -1/);
  });

  test('a conflict names the field and its line, and how to take it over', async () => {
    const path = await write('a.yaml', agent('owned', 'workerPoolRef: default', '  maxConcurrent: 1\n'));
    await clrk('apply', path);
    const theirs = { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'TaskAgent', metadata: { name: 'owned' }, spec: { maxConcurrent: 2 } };
    await admin.call('PATCH', `${ROOT}/taskagents/owned?fieldManager=other&force=true`, theirs, { type: 'application/apply-patch+yaml' });
    const refused = await clrk('apply', path);
    expect(refused.code).toBe(1);
    expect(refused.err).toMatch(/a\.yaml:7:18: TaskAgent owned: spec\.maxConcurrent: conflict with "other"; .*--force-conflicts/);
    expect((await clrk('apply', path, '--force-conflicts')).out).toBe('taskagent/owned configured\n');
  });

  test('a namespace that is not there', async () => {
    const path = await write('a.yaml', agent('lost'));
    const { code, err } = await clrk('apply', path, '-n', 'nowhere');
    expect(code).toBe(1);
    expect(err).toContain('a.yaml:1:1: TaskAgent lost: namespaces "nowhere" not found');
  });
});

describe('diff', () => {
  test('exits 0 without, 1 with differences and 2 on trouble, and changes nothing', async () => {
    const path = await write('a.yaml', `${agent('compared')}---\n${secret('compared', 'x')}`);
    const absent = await clrk('diff', '-f', path);
    expect(absent.code).toBe(1);
    expect(absent.out).toMatch(/^\+kind: TaskAgent$/m);
    expect((await admin.call('GET', `${ROOT}/taskagents/compared`)).status).toBe(404);
    await clrk('apply', path);
    expect(await clrk('diff', path)).toEqual({ code: 0, out: '', err: '' });
    await write('a.yaml', `${agent('compared', 'workerPoolRef: other')}---\n${secret('compared', 'z')}`);
    const different = await clrk('diff', path);
    expect([different.code, different.err]).toEqual([1, '']);
    expect(different.out).toContain('--- live/default/taskagent/compared\n+++ applied/default/taskagent/compared\n');
    expect(different.out).toMatch(/^-  workerPoolRef: default\n\+  workerPoolRef: other$/m);
    expect(different.out).toMatch(/^-  token: "?\*\*\* \(before\)"?\n\+  token: "?\*\*\* \(after\)"?$/m);
    for (const value of ['x', 'z']) expect(different.out).not.toContain(Buffer.from(value).toString('base64'));
    const kept = { metadata: { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': 'x is in here' } } };
    await admin.call('PATCH', '/api/v1/namespaces/default/secrets/compared', kept, { type: 'application/merge-patch+json' });
    await write('a.yaml', secret('compared', 'z').replace('name: compared', 'name: compared\n  labels: {a: b}'));
    const annotated = await clrk('diff', path);
    expect(annotated.out).toMatch(/last-applied-configuration: "?\*\*\*"?\n/);
    expect(annotated.out).not.toContain('is in here');
    await write('a.yaml', agent('compared', 'workerPoolRef: ""'));
    const trouble = await clrk('diff', path);
    expect([trouble.code, trouble.out]).toEqual([2, '']);
    expect(trouble.err).toMatch(/a\.yaml:6:18: TaskAgent compared: spec\.workerPoolRef/);
    expect((await clrk('diff', join(dir, 'absent.yaml'))).code).toBe(2);
    expect((await clrk('diff')).code).toBe(2);
  });

  test('has colours on a terminal only', async () => {
    const path = await write('a.yaml', agent('painted'));
    const { io, seen } = capture();
    await runCli(['diff', path, '--kubeconfig', kubeconfig], { ...io, terminal: true });
    expect(seen.out).toContain('\u001b[32m+kind: TaskAgent\u001b[39m\n');
    expect((await clrk('diff', path)).out).not.toContain('\u001b');
  });
});

describe('delete', () => {
  const there = async (path: string): Promise<boolean> => (await admin.call('GET', `${ROOT}/${path}`)).status === 200;

  test('by file, by kind and name, by KIND/NAME, by label, all', async () => {
    const path = await write('a.yaml', ['a', 'b', 'c', 'd'].map((name) => agent(name)).join('---\n'));
    await clrk('apply', path);
    expect(await clrk('delete', 'ta', 'a', '--dry-run')).toEqual({ code: 0, out: 'taskagent/a deleted (dry run)\n', err: '' });
    expect(await there('taskagents/a')).toBe(true);
    expect((await clrk('delete', 'taskagent', 'a', 'b')).out).toBe('taskagent/a deleted\ntaskagent/b deleted\n');
    expect((await clrk('delete', 'TaskAgent/c')).out).toBe('taskagent/c deleted\n');
    expect(await there('taskagents/c')).toBe(false);
    const again = await clrk('delete', '-f', path);
    expect([again.code, again.out]).toEqual([1, 'taskagent/d deleted\n']);
    expect(again.err).toContain('taskagent/a: there is none in namespace default');
    expect(await clrk('delete', '-f', path, '--ignore-not-found')).toEqual({ code: 0, out: '', err: '' });
    await write('a.yaml', ['a', 'b'].map((name) => agent(name).replace('spec:', `  labels: {team: ${name}}\nspec:`)).join('---\n'));
    await clrk('apply', path);
    expect((await clrk('delete', 'ta', '-l', 'team=b')).out).toBe('taskagent/b deleted\n');
    expect((await clrk('delete', 'ta')).err).toMatch(/Which taskagents/);
    expect((await clrk('delete', 'ta', '--all')).code).toBe(0);
    expect(await there('taskagents/a')).toBe(false);
  });

  test('waits until the object is gone, or says what holds it', async () => {
    const path = await write('a.yaml', agent('held').replace('spec:', '  finalizers: [example.com/hold]\nspec:'));
    await clrk('apply', path);
    const held = await clrk('delete', 'ta/held', '--timeout', '300ms');
    expect(held.code).toBe(1);
    expect(held.err).toContain('taskagent/held is marked as deleted but is still there (its finalizers: example.com/hold)');
    expect((await clrk('delete', 'ta/held', '--wait=false')).code).toBe(0);
    const { io } = capture();
    const deleted = Promise.withResolvers<void>();
    const waiting = runCli(['delete', 'ta/held', '--kubeconfig', kubeconfig], { ...io, out: () => deleted.resolve() });
    await deleted.promise;
    await admin.call('PATCH', `${ROOT}/taskagents/held`, { metadata: { finalizers: null } }, { type: 'application/merge-patch+json' });
    expect(await waiting).toBe(0);
  });

  test('--cascade', async () => {
    const owner = async (): Promise<{ uid: string }> => {
      await clrk('apply', await write('a.yaml', agent('owner')));
      return (await admin.call('GET', `${ROOT}/taskagents/owner`)).body.metadata;
    };
    const owned = async (): Promise<void> => {
      const ref = { apiVersion: 'clrk.apoxy.dev/v1alpha1', kind: 'TaskAgent', name: 'owner', uid: (await owner()).uid, blockOwnerDeletion: true };
      const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'owned', namespace: 'default', ownerReferences: [ref] } };
      expect((await admin.call('POST', '/api/v1/namespaces/default/configmaps', map)).status).toBe(201);
    };
    const mapThere = async (): Promise<boolean> => (await admin.call('GET', '/api/v1/namespaces/default/configmaps/owned')).status === 200;
    await owned();
    await clrk('delete', 'ta/owner', '--cascade', 'foreground');
    expect(await mapThere()).toBe(false);
    await owned();
    await clrk('delete', 'ta/owner', '--cascade', 'orphan');
    expect(await mapThere()).toBe(true);
    await clrk('delete', 'cm/owned');
    expect((await clrk('delete', 'ta/owner', '--cascade', 'sideways')).err).toMatch(/none of background, foreground, orphan/);
  });

  test('what it needs', async () => {
    expect((await clrk('delete')).err).toMatch(/either -f PATH or a kind with names/);
    expect((await clrk('delete', 'agnets', 'x')).err).toMatch(/There is no kind agnets/);
    expect((await clrk('delete', 'taskagent', 'x', '-n', 'default')).err).toMatch(/taskagent\/x: there is none in namespace default/);
  });
});

test('what get -o yaml prints can be applied again', async () => {
  await clrk('apply', await write('a.yaml', agent('round')));
  const { out } = await clrk('get', 'ta', '-o', 'yaml');
  const path = await write('again.yaml', out);
  expect((await offline('validate', path)).code).toBe(0);
  expect(await readFile(path, 'utf8')).toContain('kind: List');
});
