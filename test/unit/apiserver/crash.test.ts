import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Agent, request } from 'undici';
import { exited, READY_STDIO, readyReport, spawnChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
import { configMap } from './harness.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';
const WRITERS = 4;

let dir: string;
let tls: { ca: string; cert: string; key: string };
let child: ChildProcess | undefined;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'clrk-crash-'));
  const validity = { notBefore: new Date(Date.now() - 1e6), notAfter: new Date(Date.now() + 1e7) };
  const authority = await createAuthority({ subject: 'CN=test', ca: { pathLength: 0 }, ...validity });
  const signer = await loadSigner(authority);
  const server = await signer.issue({ subject: 'CN=apiserver', usage: 'server', ips: ['127.0.0.1'], ...validity });
  const client = await signer.issue({ subject: 'CN=admin, O=system:masters', usage: 'client', ...validity });
  for (const [name, text] of Object.entries({ ca: authority.certPem, cert: server.certPem, key: server.keyPem })) writeFileSync(join(dir, `${name}.pem`), text);
  tls = { ca: authority.certPem, cert: client.certPem, key: client.keyPem };
});
afterEach(async () => {
  child?.kill('SIGKILL');
  if (child) await exited(child);
  rmSync(dir, { recursive: true, force: true });
});

const start = async (): Promise<string> => {
  child = spawnChild(process.execPath, [join(import.meta.dirname, 'crash-server.ts'), dir], { stdio: READY_STDIO });
  const report = await Promise.race([readyReport(child), exited(child).then((exit) => ({ exit }))]);
  expect(report).toHaveProperty('port');
  return `https://127.0.0.1:${(report as { port: number }).port}`;
};

const call = async (agent: Agent, url: string, method: 'GET' | 'POST', body?: object) => {
  const answer = await request(url, {
    method,
    dispatcher: agent,
    ...(body && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  return {
    status: answer.statusCode,
    body: (await answer.body.json()) as {
      metadata: { resourceVersion: string; name: string };
      items: { metadata: { name: string; resourceVersion: string } }[];
    },
  };
};

test('killed in the middle of writes, the server has lost none it acknowledged', async () => {
  const url = await start();
  const agent = new Agent({ connect: tls });
  const acknowledged = new Map<string, string>();
  const writer = async (id: number): Promise<void> => {
    for (let index = 0; ; index++) {
      const name = `w${id}-${index}`;
      try {
        const { status, body } = await call(agent, url + MAPS, 'POST', configMap(name, { filler: 'x'.repeat(2000) }));
        if (status !== 201) throw new Error(`status ${status}`);
        acknowledged.set(name, body.metadata.resourceVersion);
      } catch {
        return;
      }
      // Killed while the other writers have requests under way.
      if (acknowledged.size === 100) child!.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, (_, id) => writer(id)));
  await exited(child!);
  await agent.destroy();
  expect(acknowledged.size).toBeGreaterThanOrEqual(100);

  const again = await start();
  const fresh = new Agent({ connect: tls });
  const { body } = await call(fresh, again + MAPS, 'GET');
  const found = new Map(body.items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
  for (const [name, version] of acknowledged) expect(found.get(name), name).toBe(version);
  const next = await call(fresh, again + MAPS, 'POST', configMap('next'));
  expect(Number(next.body.metadata.resourceVersion)).toBeGreaterThan(Math.max(...[...found.values()].map(Number)));
  await fresh.destroy();
});

test('nobody else may read the database', async () => {
  await start();
  for (const file of ['killed.db', 'killed.db-wal', 'killed.db-shm']) expect(statSync(join(dir, file)).mode & 0o777, file).toBe(0o600);
});
