import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from 'undici';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { exited, READY_STDIO, readyReport, spawnChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';
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

let dir: string;
let tls: { ca: string; cert: string; key: string };
let child: ChildProcess | undefined;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'clrk-kill-'));
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

const start = async (): Promise<{ readonly client: TestClient; readonly agent: Agent }> => {
  child = spawnChild(process.execPath, [join(import.meta.dirname, '..', 'unit', 'apiserver', 'crash-server.ts'), dir], { stdio: READY_STDIO });
  const report = await Promise.race([readyReport(child), exited(child).then((exit) => ({ exit }))]);
  expect(report).toHaveProperty('port');
  const agent = new Agent({ connect: tls });
  return { agent, client: makeClient(`https://127.0.0.1:${(report as { port: number }).port}`, agent) };
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
          if (written === goal && !last) child!.kill('SIGKILL');
        }
      }),
    );
    if (last) {
      await audit(client, books);
      expect((await client.call('POST', MAPS, configMap('end'))).status).toBe(201);
    } else await exited(child!);
    await follower;
    await agent.destroy();
  }
  expect(written).toBeGreaterThanOrEqual(WRITES);

  // Every change once, in order; all that was acknowledged with a version is among them.
  const versions = seen.map(({ version }) => version);
  expect(versions).toEqual([...new Set(versions)].toSorted((a, b) => a - b));
  const byVersion = new Map(seen.map((change) => [change.version, change]));
  for (const change of books.acknowledged) expect(byVersion.get(change.version)).toEqual(change);

  child!.kill('SIGTERM');
  await exited(child!);
  const database = new DatabaseSync(join(dir, 'killed.db'), { readOnly: true });
  expect(database.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
  database.close();
});
