import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { spawnChild } from '#lib';
import type { Opening, Outcome, Piece } from './pieces-client.ts';

/** A request that is sent piece by piece; see pieces-client.ts, which it runs. */
export interface PiecesClient extends Disposable {
  /** Resolves when it is on its way. */
  send(piece: Piece): Promise<void>;
  readonly outcome: Promise<Outcome>;
}

export const openRequest = (netns: string, opening: Opening): PiecesClient => {
  const script = join(import.meta.dirname, 'pieces-client.ts');
  const child = spawnChild(process.execPath, [script, JSON.stringify(opening)], { netns, stdio: ['pipe', 'pipe', 'inherit'] });
  const { promise: outcome, resolve } = Promise.withResolvers<Outcome>();
  const waiting: (() => void)[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => {
    const said = JSON.parse(line) as { sent: number } | Outcome;
    if ('sent' in said) waiting.shift()!();
    else resolve(said);
  });
  child.stdin!.on('error', () => {}); // of a client that is over
  return {
    outcome,
    send: (piece) =>
      new Promise((sent) => {
        waiting.push(sent);
        child.stdin!.write(`${JSON.stringify(piece)}\n`);
      }),
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  };
};
