import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { coalesce } from "./coalesce";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("a burst of the same key is handed over once", () => {
  const flush = vi.fn();
  const burst = coalesce(300, flush);
  for (let n = 0; n < 50; n += 1) burst.add("alarms", "machines");
  vi.advanceTimersByTime(300);
  expect(flush.mock.calls).toEqual([[["alarms", "machines"]]]);
});

test("a steady flood is handed over at every interval, not only at its end", () => {
  const flush = vi.fn();
  const flood = coalesce(300, flush);
  for (let n = 0; n < 10; n += 1) {
    flood.add("alarms");
    vi.advanceTimersByTime(100);
  }
  expect(flush.mock.calls.length).toBeGreaterThanOrEqual(2);
});

test("nothing is handed over after the end", () => {
  const flush = vi.fn();
  const burst = coalesce(300, flush);
  burst.add("alarms");
  burst.cancel();
  vi.advanceTimersByTime(1_000);
  expect(flush).not.toHaveBeenCalled();
});
