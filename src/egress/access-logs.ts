import { request } from 'node:http';
import { messageOf, putAside, ROTATE_BYTES, sizeOf, type Clock, type Logger } from '#lib';
import type { WorkerLayout } from '#model';

const EVERY_MS = 10_000;

/** Tells an Envoy to open its log files anew, over its admin socket. */
const reopen = (socketPath: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const call = request({ socketPath, path: '/reopen_logs', method: 'POST', timeout: 2_000 }, (answer) => {
      answer.resume();
      answer.once('end', () => (answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`))));
    });
    call.once('timeout', () => call.destroy(new Error('no answer')));
    call.once('error', reject);
    call.end();
  });

/** Puts access logs aside when they have grown: renamed first, so that no line is lost while Envoy changes over. */
export const rotateAccessLogs = (options: {
  readonly at: WorkerLayout;
  readonly indexes: () => readonly number[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly rotateBytes?: number;
  readonly everyMs?: number;
}): AsyncDisposable => {
  const { at, clock, log } = options;
  let running: Promise<void> = Promise.resolve();
  const round = async (): Promise<void> => {
    for (const index of options.indexes()) {
      try {
        const path = at.accessLog(index);
        if ((await sizeOf(path)) < (options.rotateBytes ?? ROTATE_BYTES)) continue;
        await putAside(path, clock.now());
        await reopen(at.envoyAdmin(index));
      } catch (error) {
        log.warn('cannot rotate an access log', { index, cause: messageOf(error) });
      }
    }
  };
  const timer = setInterval(() => (running = running.then(round)), options.everyMs ?? EVERY_MS);
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await running;
    },
  };
};
