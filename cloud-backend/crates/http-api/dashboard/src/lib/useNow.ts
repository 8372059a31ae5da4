/** One clock for the whole page: every age on it changes in the same instant. */
import { useSyncExternalStore } from "react";
import { serverNow } from "./clock";

const TICK_MS = 1_000;
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let now = serverNow();

function tick() {
  now = serverNow();
  listeners.forEach((listener) => listener());
}

function subscribe(listener: () => void) {
  if (listeners.size === 0) {
    now = serverNow();
    timer = setInterval(tick, TICK_MS);
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) clearInterval(timer);
  };
}

/** Milliseconds since 1970 by the backend's clock, renewed every second. */
export const useNow = (): number => useSyncExternalStore(subscribe, () => now);
