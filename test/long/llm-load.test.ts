import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import type { SandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { eventually } from '../e2e/harness.ts';
import { CHAT, EgressLab, JSON_BODY, OPENAI } from '../e2e/support/egress-lab.ts';
import { openRequest } from '../e2e/support/pieces.ts';

/** Agents that give the gateway more LLM requests than it can hold, beside one that asks as usual. */

let lab: EgressLab;
let neighbour: SandboxNetwork;
let accomplice: SandboxNetwork;
let address: string;
beforeAll(async () => {
  lab = await EgressLab.start();
  neighbour = await lab.newSandbox(1);
  accomplice = await lab.newSandbox(2);
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  for (const n of [1, 2]) expect(await lab.claim(n, `other${n}`)).toMatchObject({ refused: '' });
  address = await lab.addressOf(OPENAI);
});
afterAll(() => lab?.[Symbol.asyncDispose]());

/** Begins so many requests of 31 MiB, and never ends them. */
const UPLOADS = `
const { connect } = require('node:tls');
const [address, count, forMs] = process.argv.slice(2);
const piece = Buffer.alloc(1 << 20, 97);
let gone = 0;
for (let n = 0; n < Number(count); n++) {
  const socket = connect({ host: address, port: 443, servername: '${OPENAI}', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
  socket.on('error', () => {}).on('close', () => gone++).resume();
  socket.write('POST /v1/chat/completions HTTP/1.1\\r\\nhost: ${OPENAI}\\r\\ncontent-type: application/json\\r\\ncontent-length: ' + 32 * (1 << 20) + '\\r\\n\\r\\n{"model":"');
  let left = 31;
  const more = () => { while (left > 0 && !socket.destroyed) { left--; if (!socket.write(piece)) return socket.once('drain', more); } };
  more();
}
setTimeout(() => { console.log(gone); process.exit(0); }, Number(forMs));
`;

const mib = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

const asked = async (): Promise<{ readonly status: number | undefined; readonly ms: number }> => {
  const begun = performance.now();
  const step = { do: 'https', address, sni: OPENAI, method: 'POST', path: '/v1/chat/completions', headers: JSON_BODY, body: CHAT, ca: lab.rootPem } as const;
  const { status } = await lab.inSandbox(step, neighbour);
  return { status, ms: performance.now() - begun };
};

test('requests that never end: the gateway lives, and others are answered', async () => {
  const pid = await lab.envoyPid();
  expect((await asked()).status).toBe(200);
  const script = join(lab.state, 'uploads.cjs');
  await writeFile(script, UPLOADS);
  const uploads = run(process.execPath, [script, address, '40', '15000'], { netns: lab.sandbox.netns, timeoutMs: 60_000 });
  await later(3_000);
  for (let n = 0; n < 8; n++) {
    const { status, ms } = await asked();
    expect([status, ms < 2_000]).toEqual([200, true]);
  }
  expect(await mib(pid)).toBeLessThan(500); // all of them would be 1,240
  expect(await lab.envoyPid()).toBe(pid);
  await uploads;
});

/** Begins so many short requests on each of so many connections, whose last byte never comes. */
const SHORT_UPLOADS = `
const { connect } = require('node:http2');
const [address, connections, streams, forMs] = process.argv.slice(2);
const body = Buffer.alloc(65535, 97);
const statuses = {};
const count = (what) => (statuses[what] = (statuses[what] ?? 0) + 1);
for (let c = 0; c < Number(connections); c++) {
  const session = connect('https://' + address, { servername: '${OPENAI}', rejectUnauthorized: false });
  session.on('error', () => {});
  session.once('remoteSettings', () => {
    for (let n = 0; n < Number(streams); n++) {
      const stream = session.request({ ':method': 'POST', ':path': '/v1/chat/completions', ':authority': '${OPENAI}', 'content-type': 'application/json', 'content-length': '65536' });
      stream.on('error', () => {}).on('response', (head) => count(head[':status'])).resume();
      stream.write(body, () => count('sent'));
    }
  });
}
setTimeout(() => { console.log(JSON.stringify(statuses)); process.exit(0); }, Number(forMs));
`;

test('short requests that never end, of two sandboxes: the engine holds a bounded part of them, and others are answered', async () => {
  const [envoy, egress] = [await lab.envoyPid(), await lab.egressPid()];
  const script = join(lab.state, 'short-uploads.cjs');
  await writeFile(script, SHORT_UPLOADS);
  const [before, envoyBefore] = [await mib(egress), await mib(envoy)];
  const uploads = [lab.sandbox, accomplice].map(({ netns }) => run(process.execPath, [script, address, '20', '100', '20000'], { netns, timeoutMs: 60_000 }));
  await later(8_000);
  const headers = { ':path': '/v1/chat/completions', ...JSON_BODY, 'content-length': String(CHAT.length) };
  for (let n = 0; n < 8; n++) {
    const { status, ms } = await asked();
    expect([status, ms < 2_000]).toEqual([200, true]);
    using pieces = openRequest(neighbour.netns, { address, host: OPENAI, http: 2, headers });
    await pieces.send({ data: CHAT.slice(0, 10) });
    void pieces.send({ data: CHAT.slice(10), end: true });
    expect((await pieces.outcome).status).toBe(200);
  }
  const grown = (await mib(egress)) - before;
  const sent = (await Promise.all(uploads)).map(({ stdout }) => JSON.parse(stdout) as Record<string, number>);
  console.log(`egress grew by ${Math.round(grown)} MiB, Envoy from ${Math.round(envoyBefore)} to ${Math.round(await mib(envoy))} MiB; ${JSON.stringify(sent)}`);
  expect(grown).toBeLessThan(256);
  expect(await mib(envoy)).toBeLessThan(500);
  expect([await lab.envoyPid(), await lab.egressPid()]).toEqual([envoy, egress]);
});
