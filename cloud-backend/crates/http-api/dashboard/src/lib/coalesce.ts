/** Collects keys for a short while and then hands each over once: a flood of events is not a flood of work. */
export interface Coalescer {
  add(...keys: string[]): void;
  /** Forgets what is pending. */
  cancel(): void;
}

export function coalesce(delayMs: number, flush: (keys: string[]) => void): Coalescer {
  const pending = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    add(...keys) {
      keys.forEach((key) => pending.add(key));
      timer ??= setTimeout(() => {
        const ready = [...pending];
        pending.clear();
        timer = undefined;
        flush(ready);
      }, delayMs);
    },
    cancel() {
      clearTimeout(timer);
      timer = undefined;
      pending.clear();
    },
  };
}
