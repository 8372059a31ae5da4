/**
 * The backend's clock, as far as the `Date` header tells (one second). A panel PC on a factory floor may be minutes wrong;
 * ages and trend windows are counted against the clock that stamps the stored data, not against the panel's.
 */

/** Below this the header's own resolution and the network explain the difference. */
const IGNORED_MS = 2_500;

let offsetMs = 0;

/** Takes note of a response's `Date` header. */
export function observeServerDate(header: string | null, localNow: number = Date.now()): void {
  const server = header === null ? Number.NaN : Date.parse(header);
  if (Number.isNaN(server)) return;
  // The header is cut to whole seconds: on average half a second is missing.
  const difference = server + 500 - localNow;
  offsetMs = Math.abs(difference) < IGNORED_MS ? 0 : difference;
}

/** Milliseconds since 1970 by the backend's clock. */
export function serverNow(localNow: number = Date.now()): number {
  return localNow + offsetMs;
}
