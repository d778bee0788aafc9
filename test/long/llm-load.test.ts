import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as later } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '#lib';
import type { SandboxNetwork } from '../../src/sandbox/sandbox-network.ts';
import { eventually } from '../e2e/harness.ts';
import { CHAT, EgressLab, JSON_BODY, OPENAI } from '../e2e/support/egress-lab.ts';

/** An agent that gives the gateway more LLM requests than it can hold, beside one that asks as usual. */

let lab: EgressLab;
let neighbour: SandboxNetwork;
let address: string;
beforeAll(async () => {
  lab = await EgressLab.start();
  neighbour = await lab.newSandbox(1);
  await eventually('claims are granted', async () => ((await lab.claim(0, 'agent')).refused === '' ? true : undefined));
  expect(await lab.claim(1, 'other')).toMatchObject({ refused: '' });
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

const envoyMib = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

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
  expect(await envoyMib(pid)).toBeLessThan(500); // all of them would be 1,240
  expect(await lab.envoyPid()).toBe(pid);
  await uploads;
});
