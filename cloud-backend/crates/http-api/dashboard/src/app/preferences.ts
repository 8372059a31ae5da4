/** What a user has chosen for this browser. */
import { useSyncExternalStore } from "react";
import type { Zone } from "../lib/format";

const KEY = "dashboard.zone";
const listeners = new Set<() => void>();
let zone: Zone = read();

function read(): Zone {
  try {
    return localStorage.getItem(KEY) === "utc" ? "utc" : "local";
  } catch {
    return "local";
  }
}

export function setZone(next: Zone): void {
  zone = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Forbidden storage: the choice lasts as long as the page.
  }
  listeners.forEach((listener) => listener());
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useZone = (): Zone => useSyncExternalStore(subscribe, () => zone);
