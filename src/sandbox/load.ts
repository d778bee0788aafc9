import { cpus } from 'node:os';
import { sleep } from '#lib';

/** Share of the CPUs' time that must be unused. */
const IDLE = 0.1;
const SAMPLE_MS = 100;

/** What the runs of a worker are doing, so that work ahead of runs can stand back. */
export class Load {
  #runs = 0;
  #starting = 0;

  run(): Disposable {
    this.#runs++;
    return once(() => this.#runs--);
  }

  coldStart(): Disposable {
    this.#starting++;
    return once(() => this.#starting--);
  }

  /** Resolves when no run of this worker would be slowed down, at the latest after `ms`. */
  async low(ms: number, signal: AbortSignal): Promise<void> {
    const until = performance.now() + ms;
    while (!signal.aborted && this.#runs > 0 && performance.now() < until) {
      const before = times();
      await sleep(SAMPLE_MS, signal).catch(() => {});
      const after = times();
      if (this.#starting === 0 && after.idle - before.idle >= (after.all - before.all) * IDLE) return;
    }
  }
}

const once = (end: () => void): Disposable => {
  let over = false;
  return {
    [Symbol.dispose]() {
      if (!over) end();
      over = true;
    },
  };
};

const times = (): { readonly idle: number; readonly all: number } => {
  const all = cpus().map((cpu) => cpu.times);
  const sum = (of: (time: (typeof all)[number]) => number): number => all.reduce((total, time) => total + of(time), 0);
  return { idle: sum(({ idle }) => idle), all: sum(({ user, nice, sys, idle, irq }) => user + nice + sys + idle + irq) };
};
