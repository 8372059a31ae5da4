import { expect, test } from "vitest";
import { currentLink, freshness, latest, machineFreshness } from "./freshness";

test("a value is live up to and including five seconds of age", () => {
  expect(freshness(10_000, 15_000).kind).toBe("live");
  expect(freshness(10_000, 15_001)).toEqual({ kind: "stale", ageMs: 5_001, lastAt: 10_000 });
});

test("a gateway whose clock runs ahead is not stale", () => {
  expect(freshness(20_000, 15_000).kind).toBe("live");
});

test("a machine that never reported is told apart from a silent one", () => {
  expect(freshness(null, 15_000)).toEqual({ kind: "never" });
});

test("the latest of two instants ignores the unknown one", () => {
  expect([latest(null, null), latest(null, 3), latest(4, null), latest(4, 9)]).toEqual([null, 3, 4, 9]);
});

test("before the first live value a freshly stored sample counts as live", () => {
  expect(machineFreshness(null, 10_000, 22_000).kind).toBe("live");
  expect(machineFreshness(null, 10_000, 26_000)).toEqual({ kind: "stale", ageMs: 16_000, lastAt: 10_000 });
});

test("a machine that stops sending live values is stale after five seconds, whatever the store holds", () => {
  expect(machineFreshness(10_000, 9_000, 16_000)).toEqual({ kind: "stale", ageMs: 6_000, lastAt: 10_000 });
});

test("a link is what the live stream says while it speaks, then what the API says", () => {
  const live = { link: "up" as const };
  expect(currentLink({ kind: "live" }, live, "down")).toBe("up");
  expect(currentLink({ kind: "stale", ageMs: 9_000, lastAt: 0 }, live, "down")).toBe("down");
  expect(currentLink({ kind: "live" }, undefined, "down")).toBe("down");
});
