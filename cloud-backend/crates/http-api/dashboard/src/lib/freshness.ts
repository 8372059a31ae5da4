/** Whether a number may still be shown as live. */
import type { Link } from "../api/types";

/** Live values come about once a second; after five missed ones they are not live any more. */
export const STALE_AFTER_MS = 5_000;

export type Freshness =
  | { kind: "live" }
  | { kind: "stale"; ageMs: number; lastAt: number }
  | { kind: "never" };

/** Judges the newest reading; a reading from the near future (clock skew) is live. */
export function freshness(lastAt: number | null, now: number, staleAfterMs: number = STALE_AFTER_MS): Freshness {
  if (lastAt === null) return { kind: "never" };
  const ageMs = now - lastAt;
  return ageMs > staleAfterMs ? { kind: "stale", ageMs, lastAt } : { kind: "live" };
}

/** The later of two instants, either of which may be unknown. */
export function latest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.max(a, b);
}

/** A stored sample is seen after the gateway's commit (5 s), and the page asks every 5 s: up to this age it may be current. */
const STORED_STALE_AFTER_MS = 15_000;

/** Judges a machine by its live values, or by what is stored while the live stream has not brought any. */
export function machineFreshness(liveAt: number | null, storedAt: number | null, now: number): Freshness {
  const live = freshness(liveAt, now);
  if (live.kind === "live") return live;
  const stored = freshness(storedAt, now, STORED_STALE_AFTER_MS);
  // Once values came live, their absence says more than the age of the store.
  if (stored.kind === "live" && liveAt === null) return stored;
  return freshness(latest(liveAt, storedAt), now);
}

/** The link by the newer of two sources: the live stream while it speaks, otherwise the last answer of the API. */
export function currentLink(fresh: Freshness, live: { link: Link } | undefined, stored: Link): Link {
  return fresh.kind === "live" && live !== undefined ? live.link : stored;
}
