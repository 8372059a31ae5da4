import { expect, test } from "vitest";
import { sparklinePath } from "./sparkline";

const draw = (...points: [number, number | null][]) =>
  sparklinePath(points.map(([at, value]) => ({ at, value })), 10_000, 10_000, 100, 20);

test("the least value lies at the bottom, the newest at the right edge", () => {
  expect(draw([0, 1], [5_000, 3], [10_000, 2])).toBe("M0.0 20.0L50.0 0.0L100.0 10.0");
});

test("a bad value lifts the pen", () => {
  expect(draw([0, 1], [4_000, null], [5_000, 3], [10_000, 3])).toBe("M0.0 20.0M50.0 0.0L100.0 0.0");
});

test("a constant value is a line in the middle, a single one is nothing", () => {
  expect(draw([0, 7], [10_000, 7])).toBe("M0.0 10.0L100.0 10.0");
  expect(draw([0, 7])).toBe("");
});
