import type { ControlSocket } from './control.ts';
import { TASKS } from './limits.ts';

const EVERY_MS = 1_000;
/** Almost all it may have: a process that starts at the limit gets none of its threads and ends, so the count falls back a little. */
const FULL = TASKS - 16;

/**
 * Sees whether a sandbox is at its limit of processes and threads. The kernel does not count that, as the limit is one inside
 * gVisor, and threads inside are not the host's: only the sandbox can say.
 */
export class LimitWatch implements Disposable {
  readonly #control: ControlSocket;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #full = false;

  constructor(control: ControlSocket) {
    this.#control = control;
    this.#next();
  }

  get tasksFull(): boolean {
    return this.#full;
  }

  /** Looks now. Never throws: a sandbox that has ended, or is too busy to say, tells nothing. */
  async look(): Promise<void> {
    try {
      const tasks = (await this.#control.processes()).reduce((sum, { threads }) => sum + threads.length, 0);
      this.#full ||= tasks >= FULL;
    } catch {
      // see above
    }
  }

  #next(): void {
    if (!this.#over && !this.#full) this.#timer = setTimeout(() => void this.look().finally(() => this.#next()), EVERY_MS);
  }

  [Symbol.dispose](): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}
