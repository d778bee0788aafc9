/** Runs that were announced and have not begun, by invocation. */
export class Announced {
  readonly #waiting = new Map<string, () => void>();

  /** Resolves when the run may begin. */
  add(invocation: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(invocation, resolve));
  }

  begin(invocation: string): void {
    this.#waiting.get(invocation)?.();
    this.#waiting.delete(invocation);
  }

  /** The run has ended, begun or not. */
  end(invocation: string): void {
    this.#waiting.delete(invocation);
  }

  /** Whoever announced them went away: `cancel` is called for each. */
  forget(cancel: (invocation: string) => void): void {
    for (const invocation of this.#waiting.keys()) cancel(invocation);
    this.#waiting.clear();
  }
}
