import type { Group } from './cgroup/index.ts';
import type { ControlSocket } from './control.ts';
import { TASKS } from './limits.ts';

const EVERY_MS = 500;
/** Seen with almost all it may have: one that forks on has already been refused. */
const FULL = TASKS - 4;

/**
 * Sees whether a sandbox is at its limit of processes and threads. The kernel does not count that, as the limit is one inside
 * gVisor; a process inside is at least one outside, so the sandbox is asked only when its group is large.
 */
export class LimitWatch implements Disposable {
  readonly #group: Group;
  readonly #control: ControlSocket;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #full = false;

  constructor(group: Group, control: ControlSocket) {
    this.#group = group;
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
    if (!this.#over && !this.#full) this.#timer = setTimeout(() => void this.#sample(), EVERY_MS);
  }

  async #sample(): Promise<void> {
    if ((await this.#group.pids().catch(() => 0)) >= FULL) await this.look();
    this.#next();
  }

  [Symbol.dispose](): void {
    this.#over = true;
    clearTimeout(this.#timer);
  }
}
