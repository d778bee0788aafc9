import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadKubeconfig } from '#kube';
import { stringify } from 'yaml';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

const config = {
  apiVersion: 'v1',
  kind: 'Config',
  'current-context': 'one',
  clusters: [
    { name: 'c1', cluster: { server: 'https://127.0.0.1:1/', 'certificate-authority-data': base64('CA') } },
    { name: 'c2', cluster: { server: 'https://127.0.0.1:2', 'certificate-authority': 'ca.pem' } },
  ],
  users: [
    { name: 'u1', user: { 'client-certificate-data': base64('CERT'), 'client-key-data': base64('KEY') } },
    { name: 'u2', user: { 'client-certificate': 'cert.pem', 'client-key': 'key.pem' } },
    { name: 'u3', user: { exec: { command: 'aws' } } },
  ],
  contexts: [
    { name: 'one', context: { cluster: 'c1', user: 'u1', namespace: 'team' } },
    { name: 'two', context: { cluster: 'c2', user: 'u2' } },
    { name: 'plugin', context: { cluster: 'c2', user: 'u3' } },
    { name: 'dangling', context: { cluster: 'nope' } },
  ],
};

const write = async (content: string): Promise<string> => {
  const dir = await mkdtemp(join(tmpdir(), 'clrk-'));
  for (const [name, text] of [
    ['ca.pem', 'CA2'],
    ['cert.pem', 'CERT2'],
    ['key.pem', 'KEY2'],
  ] as const)
    await writeFile(join(dir, name), text);
  const file = join(dir, 'config');
  await writeFile(file, content);
  return file;
};

test('the current context with inline data', async () => {
  expect(await loadKubeconfig(await write(stringify(config)))).toMatchObject({
    server: 'https://127.0.0.1:1',
    ca: 'CA',
    cert: 'CERT',
    key: 'KEY',
    namespace: 'team',
  });
});

test('a named context with paths relative to the file', async () => {
  expect(await loadKubeconfig(await write(stringify(config)), 'two')).toMatchObject({ server: 'https://127.0.0.1:2', ca: 'CA2', cert: 'CERT2', key: 'KEY2' });
});

test.each([
  ['missing context', 'absent', /no context is named absent/],
  ['dangling cluster', 'dangling', /no cluster is named nope/],
  ['credential plug-in', 'plugin', /plug-ins/],
])('%s is refused with the file named', async (_, context, message) => {
  const file = await write(stringify(config));
  await expect(loadKubeconfig(file, context)).rejects.toThrow(message);
  await expect(loadKubeconfig(file, context)).rejects.toThrow(file);
});

test('a file that is not there or not YAML is refused', async () => {
  await expect(loadKubeconfig('/nonexistent/config')).rejects.toMatchObject({ code: 'FileUnreadable' });
  await expect(loadKubeconfig(await write('a: [b'))).rejects.toMatchObject({ code: 'BadArgument' });
  await expect(loadKubeconfig(await write('just text'))).rejects.toMatchObject({ code: 'BadArgument' });
});
