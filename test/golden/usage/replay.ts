/**
 * Plays every shape through Envoy, in a network namespace of its own: `unshare --net -- node replay.ts DIR`, where DIR has `envoy.json`
 * for Envoy. Prints one JSON line: for each shape what came through, whole and in pieces of seven bytes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { PORTS } from './envoy.ts';
import { SHAPES } from './shapes.ts';

const dir = process.argv[2]!;
const envoyBinary = process.argv[3]!;

const link = spawn('ip', ['link', 'set', 'lo', 'up'], { stdio: 'inherit' });
await once(link, 'exit');

const upstream = createServer((call, answer) => {
  const [, index, step] = /^\/(\d+)\/(\d+)$/.exec(call.url!)!;
  const shape = SHAPES[Number(index)]!;
  const body = Buffer.from(shape.body);
  // Millions of pieces would take minutes.
  const size = Number(step) * (body.length > 100_000 ? 1_000 : 1);
  void (async () => {
    answer.writeHead(200, { ...shape.headers });
    for (let at = 0; at < body.length; at += size) {
      if (!answer.write(body.subarray(at, at + size))) await once(answer, 'drain');
      await turn();
    }
    if (!shape.cut) answer.end();
    // What was written is on its way by then.
    else setTimeout(() => answer.destroy(), 50);
  })();
});
upstream.listen(PORTS.upstream, '127.0.0.1');
await once(upstream, 'listening');

const log = openSync(join(dir, 'envoy.log'), 'w');
const envoy = spawn(envoyBinary, ['-c', join(dir, 'envoy.json'), '--concurrency', '1', '--disable-hot-restart', '-l', 'error'], { stdio: ['ignore', log, log] });

export interface Replayed {
  readonly type: string;
  /** As it was sent. */
  readonly same: boolean;
  readonly ms: number;
}

const get = (path: string, headers: Readonly<Record<string, string>>): Promise<{ readonly type: string; readonly body: Buffer }> =>
  new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port: PORTS.envoy, path, headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      const done = (): void => resolve({ type: answer.headers['content-type'] ?? '', body: Buffer.concat(chunks) });
      answer.once('end', done);
      answer.once('error', done); // cut
    });
    call.once('error', reject);
    call.end();
  });

for (let tries = 0; ; tries++) {
  try {
    await get(`/0/1000000`, {});
    break;
  } catch (error) {
    if (tries > 500) throw error;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const results: Replayed[][] = [];
for (const [index, shape] of SHAPES.entries()) {
  const both: Replayed[] = [];
  for (const step of [10_000_000, 7]) {
    const begun = performance.now();
    const { type, body } = await get(`/${index}/${step}`, { 'x-provider': shape.provider, 'x-stream': String(shape.stream === true) });
    both.push({ type, same: body.equals(Buffer.from(shape.body)), ms: performance.now() - begun });
  }
  results.push(both);
}
envoy.kill('SIGTERM');
await once(envoy, 'exit');
process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(0));
