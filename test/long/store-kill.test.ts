import { randomInt } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { Agent } from 'undici';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CrashServer } from '../unit/apiserver/crash-kit.ts';
import { configMap, makeClient, type TestClient, type WatchEvent } from '../unit/apiserver/harness.ts';

/**
 * The API server is killed with SIGKILL, again and again, in the middle of ten thousand writes. Whatever it acknowledged is
 * there afterwards with its content and version; versions only grow; and a watch that goes on where it was sees every change once.
 */

const WRITES = 10_000;
const KILLS = 8;
const WRITERS = 6;
const NAMES = 40;
const MAPS = '/api/v1/namespaces/default/configmaps';
const MERGE = 'application/merge-patch+json';

let server: CrashServer;
beforeEach(async () => {
  server = await CrashServer.make();
});
afterEach(() => server[Symbol.asyncDispose]());

const start = async (): Promise<{ readonly client: TestClient; readonly agent: Agent }> => {
  const url = await server.start();
  const agent = new Agent({ connect: server.tls });
  return { agent, client: makeClient(url, agent) };
};

/** What an object is known to be: its value and version, or that it is not there. */
interface Known {
  readonly value: string | undefined;
  readonly version: number;
}
const ABSENT: Known = { value: undefined, version: 0 };

/** One name, written by one writer. `asked` is what was on its way when the server died: done or not, nobody knows. */
interface Slot {
  readonly name: string;
  known: Known;
  asked: { readonly value: string | undefined } | undefined;
}

interface Change {
  readonly type: string;
  readonly name: string;
  readonly version: number;
}

class Books {
  readonly slots: readonly (readonly Slot[])[] = Array.from({ length: WRITERS }, (_, writer) =>
    Array.from({ length: NAMES }, (_unused, index) => ({ name: `w${writer}-${index}`, known: ABSENT, asked: undefined })),
  );
  readonly acknowledged: Change[] = [];
  /** The highest version anybody was told. */
  top = 0;

  acknowledge(slot: Slot, type: string, value: string | undefined, version: number): void {
    slot.known = { value, version };
    slot.asked = undefined;
    if (version > 0) this.acknowledged.push({ type, name: slot.name, version });
    this.top = Math.max(this.top, version);
  }
}

/** Makes, changes or removes an object; false when the server is gone. */
const write = async (client: TestClient, books: Books, slot: Slot, value: string): Promise<boolean> => {
  const there = slot.known.value !== undefined;
  const removes = there && randomInt(4) === 0;
  const floor = books.top;
  slot.asked = { value: removes ? undefined : value };
  const at = `${MAPS}/${slot.name}`;
  const answer = await (
    removes
      ? client.call('DELETE', at)
      : there
        ? client.call('PATCH', at, { data: { value } }, { type: MERGE })
        : client.call('POST', MAPS, configMap(slot.name, { value, filler: 'x'.repeat(randomInt(3000)) }))
  ).catch(() => undefined);
  if (!answer) return false;
  expect(answer.status, JSON.stringify(answer.body)).toBe(removes || there ? 200 : 201);
  if (removes) {
    books.acknowledge(slot, 'DELETED', undefined, 0);
    return true;
  }
  const version = Number(answer.body.metadata.resourceVersion);
  // What was acknowledged before this was sent is older than it.
  expect(version).toBeGreaterThan(floor);
  books.acknowledge(slot, there ? 'MODIFIED' : 'ADDED', value, version);
  return true;
};

/** Everything the books say is so; what was on its way is settled by what is there. */
const audit = async (client: TestClient, books: Books): Promise<void> => {
  const { body } = await client.call('GET', MAPS);
  expect(Number(body.metadata.resourceVersion)).toBeGreaterThanOrEqual(books.top);
  const items = body.items as readonly { metadata: { name: string; resourceVersion: string }; data: { value: string } }[];
  const found = new Map(items.map(({ metadata, data }) => [metadata.name, { value: data.value, version: Number(metadata.resourceVersion) }]));
  for (const slot of books.slots.flat()) {
    const now = found.get(slot.name) ?? ABSENT;
    const done = slot.asked !== undefined && now.value === slot.asked.value && now.version !== slot.known.version;
    if (!done) expect([slot.name, now.value], 'acknowledged').toEqual([slot.name, slot.known.value]);
    if (!done && now.value !== undefined) expect([slot.name, now.version]).toEqual([slot.name, slot.known.version]);
    if (done && now.version > 0) expect(now.version).toBeGreaterThan(slot.known.version);
    slot.known = now;
    slot.asked = undefined;
    books.top = Math.max(books.top, now.version);
    found.delete(slot.name);
  }
  expect([...found.keys()]).toEqual([]);
};

/** Follows changes from where it was until the server is gone or `until` has been seen. */
const follow = async (client: TestClient, seen: Change[], until: () => boolean): Promise<void> => {
  const abort = new AbortController();
  try {
    for await (const { type, object } of client.watch(`${MAPS}?watch=true&resourceVersion=${seen.at(-1)?.version ?? 1}`, abort.signal)) {
      expect(type, JSON.stringify(object).slice(0, 300)).not.toBe('ERROR');
      const { metadata } = object as WatchEvent['object'];
      seen.push({ type, name: metadata.name, version: Number(metadata.resourceVersion) });
      if (until()) return abort.abort();
    }
  } catch (error) {
    if (error instanceof Error && error.name === 'AssertionError') throw error;
  }
};

test('killed in the middle of ten thousand writes, eight times', async () => {
  const books = new Books();
  const seen: Change[] = [];
  let written = 0;
  for (let kill = 1; kill <= KILLS + 1; kill++) {
    const { client, agent } = await start();
    await audit(client, books);
    const goal = Math.floor((WRITES * kill) / (KILLS + 1));
    const last = kill === KILLS + 1;
    const follower = follow(client, seen, () => seen.at(-1)?.name === 'end');
    await Promise.all(
      books.slots.map(async (slots) => {
        while (last ? written < WRITES : true) {
          if (!(await write(client, books, slots[randomInt(NAMES)]!, `${kill}-${written}-${randomInt(1e9)}`))) return;
          written++;
          // The others have requests under way.
          if (written === goal && !last) server.kill('SIGKILL');
        }
      }),
    );
    if (last) {
      await audit(client, books);
      expect((await client.call('POST', MAPS, configMap('end'))).status).toBe(201);
    } else await server.gone();
    await follower;
    await agent.destroy();
  }
  expect(written).toBeGreaterThanOrEqual(WRITES);

  // Every change once, in order; all that was acknowledged with a version is among them.
  const versions = seen.map(({ version }) => version);
  expect(versions).toEqual([...new Set(versions)].toSorted((a, b) => a - b));
  const byVersion = new Map(seen.map((change) => [change.version, change]));
  for (const change of books.acknowledged) expect(byVersion.get(change.version)).toEqual(change);

  server.kill('SIGTERM');
  await server.gone();
  const database = new DatabaseSync(join(server.dir, 'killed.db'), { readOnly: true });
  expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
  database.close();
});
