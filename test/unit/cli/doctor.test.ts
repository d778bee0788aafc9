import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runCli } from '#cli';
import { which, type Part } from '#supervisor';

let dir: string;
const { PATH, CLRK_TOOLS } = process.env;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'doctor-'));
  delete process.env['CLRK_TOOLS']; // `clrk test` shares its own
});
afterEach(async () => {
  process.env['PATH'] = PATH;
  if (CLRK_TOOLS !== undefined) process.env['CLRK_TOOLS'] = CLRK_TOOLS;
  await rm(dir, { recursive: true });
});

const look = async (): Promise<{ code: number; part: (name: string) => Part | undefined }> => {
  let out = '';
  const io = { out: (text: string) => void (out += text), err: () => {}, terminal: false, env: {} };
  const code = await runCli(['doctor', '-o', 'json', '--clrk-dir', dir], io);
  const parts = JSON.parse(out) as Part[];
  return { code, part: (name) => parts.find((part) => part.name === name) };
};

test('a machine without the programs is told each one, where it would come from, and what setup would need', async () => {
  const bare = join(dir, 'bin');
  await mkdir(bare);
  for (const name of ['tar', 'ip', 'unshare']) await symlink((await which(name))!, join(bare, name));
  process.env['PATH'] = bare;
  const { code, part } = await look();
  expect(code).toBe(1);
  expect(part('tar')).toMatchObject({ state: 'ok', path: join(bare, 'tar'), found: expect.stringMatching(/\d/) });
  expect(part('nft')).toMatchObject({ state: 'missing', fix: 'Run ./clrk setup, or apt-get install nftables.' });
  expect(part('umoci')).toMatchObject({ state: 'missing' });
  expect(part('Envoy')).toMatchObject({ state: 'missing', fix: expect.stringContaining('./clrk setup') });
  expect(part('python3 (for setup)')).toMatchObject({ state: 'missing', fix: expect.stringContaining('python3-pip') });
  expect(part('go (for setup)')).toMatchObject({ state: 'missing', fix: expect.stringContaining('Go 1.26') });
});

test('kernel, cgroups, space, loopback and the stack are said as they are', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await writeFile(join(dir, 'api.port'), `${port}\n`);
  const { part } = await look();
  server.close();
  expect(part('kernel')?.found).toMatch(/^\d+\.\d+/);
  expect(part('cgroups')?.found).toMatch(/^v[12], (systemd|cgroupfs)$/);
  expect(part('disk')).toMatchObject({ found: expect.stringMatching(/^\d+\.\d GB free$/), path: dir });
  expect(part('memory')?.found).toMatch(/GB available$/);
  expect(part('loopback')).toMatchObject({ state: 'warning', found: `port ${port} is taken` });
  expect(part('stack')).toMatchObject({ state: 'ok', found: 'not running' });
  // What setup needs is asked for only while there is something to install.
  expect(part('Node.js')).toMatchObject({ state: 'ok', found: process.version });
});
