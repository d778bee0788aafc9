import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bundleSpec, parseImageReference, processArgs, type BundleOptions, type ImageConfig } from '#image';

const image: ImageConfig = { env: ['PATH=/image', 'A=image', 'B=image=2', 'C='], entrypoint: ['entry'], cmd: ['cmd'], workingDir: '/work', user: '' };

test.each<[readonly string[], readonly string[], readonly string[]]>([
  [[], [], ['entry', 'cmd']],
  [[], ['arg'], ['entry', 'arg']],
  [['command'], [], ['command']],
  [['command'], ['arg'], ['command', 'arg']],
])('command %j and args %j run %j', (command, args, expected) => {
  expect(processArgs(image, command, args)).toEqual(expected);
});

let rootfs: string;
let options: BundleOptions;
beforeEach(async () => {
  rootfs = await mkdtemp(join(tmpdir(), 'clrk-bundle-'));
  await mkdir(join(rootfs, 'etc'));
  await writeFile(join(rootfs, 'etc', 'passwd'), 'root:x:0:0::/root:/bin/sh\nagent:x:1000:1001::/home/agent:/bin/sh\n');
  await writeFile(join(rootfs, 'etc', 'group'), 'staff:x:50:\n');
  options = {
    rootfs,
    image,
    hostname: 'h',
    netns: '/n',
    command: [],
    args: [],
    defaultEnv: { PATH: '/default', SSL_CERT_FILE: '/default', A: 'default' },
    env: [{ name: 'A', value: 'template' }],
    mounts: [],
    tmpBytes: 1 << 20,
    tasks: 100,
  };
});
afterEach(() => rm(rootfs, { recursive: true, force: true }));

interface Spec {
  readonly process: { user: object; env: string[]; cwd: string; capabilities: Record<string, string[]>; noNewPrivileges: boolean };
  readonly mounts: { destination: string; options: string[] }[];
}
const spec = async (change: Partial<BundleOptions> = {}): Promise<Spec> => (await bundleSpec({ ...options, ...change })) as Spec;

test('the environment: defaults, then the image, then the template', async () => {
  const { env } = (await spec()).process;
  expect(env.toSorted()).toEqual(['A=template', 'B=image=2', 'C=', 'HOME=/root', 'PATH=/image', 'SSL_CERT_FILE=/default']);
});

test.each<[string, object, string]>([
  ['', { uid: 0, gid: 0 }, '/root'],
  ['agent', { uid: 1000, gid: 1001 }, '/home/agent'],
  ['1000', { uid: 1000, gid: 1001 }, '/home/agent'],
  ['agent:staff', { uid: 1000, gid: 50 }, '/home/agent'],
  ['4242:7', { uid: 4242, gid: 7 }, '/'],
  ['4242', { uid: 4242, gid: 0 }, '/'],
])('user %j of the image', async (user, expected, home) => {
  const { process } = await spec({ image: { ...image, user } });
  expect(process.user).toEqual(expected);
  expect(process.env).toContain(`HOME=${home}`);
});

test('a user or group the image does not have is refused', async () => {
  await expect(spec({ image: { ...image, user: 'nobody-here' } })).rejects.toThrow('user nobody-here');
  await expect(spec({ image: { ...image, user: 'agent:none' } })).rejects.toThrow('group none');
});

test('nothing is granted, and mounts are read-only', async () => {
  const { process, mounts } = await spec({ mounts: [{ source: '/s', destination: '/etc/hosts' }] });
  for (const set of Object.values(process.capabilities)) expect(set).toEqual([]);
  expect(process.noNewPrivileges).toBe(true);
  expect(mounts.find(({ destination }) => destination === '/etc/hosts')!.options).toContain('ro');
});

test.each<[string, object | undefined]>([
  ['agent', { name: 'agent:latest' }],
  ['team/agent:1', { name: 'team/agent:1' }],
  ['host.example:5000/a/b', { name: 'host.example:5000/a/b:latest' }],
  ['host.example:5000/a/b:v2', { name: 'host.example:5000/a/b:v2' }],
  [`a@sha256:${'0'.repeat(64)}`, { name: 'a:latest', digest: `sha256:${'0'.repeat(64)}` }],
  ['../x', undefined],
  ['a b', undefined],
  ['https://a/b', undefined],
])('reference %j', (text, expected) => {
  expect(parseImageReference(text)).toEqual(expected);
});
