/**
 * Hands keys on at most once in `ms`, each once: what changes with every run must not load the API with status writes.
 */
export const coalesce = (enqueue: (key: string) => void, ms = 1_000): { add(key: string): void; stop(): void } => {
  const keys = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    timer = undefined;
    const due = [...keys];
    keys.clear();
    due.forEach(enqueue);
  };
  return {
    add(key) {
      keys.add(key);
      timer ??= setTimeout(flush, ms);
    },
    stop: () => clearTimeout(timer),
  };
};
