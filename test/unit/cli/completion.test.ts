import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '#cli';
import { COMMANDS, GROUPS } from '../../../src/cli/commands/index.ts';
import { SHELLS } from '../../../src/cli/shells.ts';
import { agent, configMap, ROOT, startServer, type TestServer } from '../apiserver/harness.ts';
import { capture } from './capture.ts';

let server: TestServer;
let kubeconfig: string;
beforeAll(async () => {
  server = await startServer();
  kubeconfig = await server.kubeconfig();
  const admin = await server.client();
  for (const name of ['alpha', 'alps', 'beta']) await admin.call('POST', `${ROOT}/taskagents`, agent(name));
  for (const [of, name] of [
    ['alpha', 'alpha-00001'],
    ['alpha', 'alpha-00002'],
    ['beta', 'beta-00001'],
  ]) {
    const metadata = { name, labels: { 'clrk.apoxy.dev/agent': of } };
    await admin.call('POST', `${ROOT}/agentsandboxrevisions`, {
      apiVersion: 'clrk.apoxy.dev/v1alpha1',
      kind: 'AgentSandboxRevision',
      metadata,
      spec: { image: 'a' },
    });
  }
  await admin.call('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } });
  await admin.call('POST', '/api/v1/namespaces/team/configmaps', configMap('theirs'));
});
afterAll(() => server[Symbol.asyncDispose]());

/** What is offered for the last word, and whether paths are. */
const offered = async (...words: string[]): Promise<string[]> => {
  const { io, seen } = capture({ KUBECONFIG: kubeconfig });
  expect(await runCli(['__complete', 'zsh', ...words], io)).toBe(0);
  return seen.out
    .trimEnd()
    .split('\n')
    .map((line) => line.split('\t')[0]!)
    .filter((word) => word !== ':none');
};

describe('commands', () => {
  test('every one that is not hidden can be reached word by word', async () => {
    for (const { path, hidden } of COMMANDS) {
      for (const [depth, word] of path.entries()) {
        const words = await offered(...path.slice(0, depth), word.slice(0, 2));
        if (hidden) expect(words).not.toContain(word);
        else expect(words).toContain(word);
      }
    }
  });

  test('also below an alias', async () => {
    expect(GROUPS['agents']!.aliases).toContain('agent');
    expect(await offered('agent', 'run-')).toEqual(['run-task']);
    expect(await offered('dev', 'wait')).toEqual(['wait-ready']);
  });
});

test('flags: those of the command and of every command, once; repeatable ones again', async () => {
  expect(await offered('get', 'ta', '--all')).toEqual(['--all-namespaces']);
  expect(await offered('get', 'ta', '--out')).toEqual(['--output']);
  expect(await offered('get', 'ta', '-o', 'json', '--out')).toEqual([]);
  expect(await offered('apply', '-f', 'a.yaml', '--file')).toEqual(['--filename']);
  expect(await offered('--kube')).toEqual(['--kubeconfig']);
  expect(await offered('delete', '--', '--wa')).toEqual([]);
});

test('values of flags', async () => {
  expect(await offered('get', 'ta', '-o', '')).toEqual(['json', 'yaml', 'name', 'wide']);
  expect(await offered('get', 'ta', '--output=w')).toEqual(['--output=wide']);
  expect(await offered('delete', '--cascade', 'f')).toEqual(['foreground']);
  expect(await offered('--log-level', 'w')).toEqual(['warn']);
  expect(await offered('apply', '-f', '')).toEqual([':file']);
  expect(await offered('--clrk-dir', '')).toEqual([':directory']);
  expect(await offered('get', 'ta', '-n', '')).toEqual(['clrk', 'default', 'team']);
  expect(await offered('agents', 'logs', '--tail', '')).toEqual([]);
});

test('kinds, and names that the API has', async () => {
  expect(await offered('get', 'egress')).toEqual(['egressgateways', 'egressl4routes', 'egressdenypolicies']);
  expect(await offered('get', 'ta', 'al')).toEqual(['alpha', 'alps']);
  expect(await offered('get', 'ta', 'alpha', 'al')).toEqual(['alps']);
  expect(await offered('delete', 'taskagent/b')).toEqual(['taskagent/beta']);
  expect(await offered('agents', 'run-task', '')).toEqual(['alpha', 'alps', 'beta']);
  expect(await offered('explain', '')).toEqual(['alpha', 'alps', 'beta']);
  expect(await offered('explain', 'd')).toEqual(['default/']);
  expect(await offered('explain', 'default/al')).toEqual(['default/alpha', 'default/alps']);
  expect(await offered('explain', 'team/')).toEqual([]);
  expect(await offered('explain', 'alpha', 't')).toEqual(['tcp']);
  expect(await offered('agents', 'rollback', 'alpha', '--to', '')).toEqual(['alpha-00001', 'alpha-00002']);
  expect(await offered('agents', 'diff', 'taskagent/beta', '')).toEqual(['beta-00001']);
  expect(await offered('get', '-n', 'team', 'cm', '')).toEqual(['theirs']);
  expect(await offered('get', '--namespace=team', 'ta', '')).toEqual([]);
  expect(await offered('validate', '')).toEqual([':file']);
});

test('nothing is offered, and nothing said, when there is no API or no such kind', async () => {
  expect(await offered('get', 'nonsense', '')).toEqual([]);
  expect(await offered('agents', 'get', '--kubeconfig', '/no/such/file', '')).toEqual([]);
  expect(await offered('no', 'such', 'command', '')).toEqual([]);
  const { io, seen } = capture();
  expect(await runCli(['__complete', 'bash'], io)).toBe(0);
  expect(seen.err).toBe('');
});

test('an API that does not answer holds a shell up for a second at most', async () => {
  const held = createServer(() => {});
  await new Promise<void>((resolve) => held.listen(0, '127.0.0.1', resolve));
  const { port } = held.address() as { port: number };
  const file = `${server.dir}/silent.kubeconfig`;
  const config = {
    clusters: [{ name: 'c', cluster: { server: `https://127.0.0.1:${port}` } }],
    users: [{ name: 'u', user: { token: 't' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  await writeFile(file, JSON.stringify(config));
  expect(await offered('agents', 'get', '--kubeconfig', file, '')).toEqual([]);
  held.close();
}, 5_000);

test('a script for each shell, and a word about others', async () => {
  for (const shell of SHELLS) {
    const { io, seen } = capture();
    expect(await runCli(['completion', shell], io)).toBe(0);
    expect(seen.out).toContain(`__complete ${shell}`);
  }
  const { io, seen } = capture();
  expect(await runCli(['completion', 'csh'], io)).toBe(1);
  expect(seen.err).toMatch(/There is no completion for csh[^]*bash, zsh, fish/);
});
