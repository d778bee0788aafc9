import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Agent, request } from 'undici';
import { CrashServer } from './crash-kit.ts';
import { configMap } from './harness.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';
const WRITERS = 4;

let server: CrashServer;
beforeEach(async () => {
  server = await CrashServer.make();
});
afterEach(() => server[Symbol.asyncDispose]());

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
  const url = await server.start();
  const agent = new Agent({ connect: server.tls });
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
      if (acknowledged.size === 100) server.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, (_, id) => writer(id)));
  await server.gone();
  await agent.destroy();
  expect(acknowledged.size).toBeGreaterThanOrEqual(100);

  const again = await server.start();
  const fresh = new Agent({ connect: server.tls });
  const { body } = await call(fresh, again + MAPS, 'GET');
  const found = new Map(body.items.map(({ metadata }) => [metadata.name, metadata.resourceVersion]));
  for (const [name, version] of acknowledged) expect(found.get(name), name).toBe(version);
  const next = await call(fresh, again + MAPS, 'POST', configMap('next'));
  expect(Number(next.body.metadata.resourceVersion)).toBeGreaterThan(Math.max(...[...found.values()].map(Number)));
  await fresh.destroy();
});

test('nobody else may read the database', async () => {
  await server.start();
  for (const file of ['killed.db', 'killed.db-wal', 'killed.db-shm']) expect(statSync(join(server.dir, file)).mode & 0o777, file).toBe(0o600);
});
