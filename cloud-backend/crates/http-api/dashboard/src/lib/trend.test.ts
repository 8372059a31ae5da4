import { expect, test } from "vitest";
import type { SampleSeries } from "../api/types";
import { gapThresholdMs, newestAt, panelsByUnit, trendColumn, withGaps, type Column } from "./trend";

function series(times: number[], values: SampleSeries["values"], more: Partial<SampleSeries> = {}): SampleSeries {
  return { tag: "t", unit: "°C", data_type: "float", downsampled: false, times, values, ...more };
}

const column = (times: number[], more: Partial<Column> = {}): Column => ({
  tag: "t",
  unit: "°C",
  dataType: "float",
  times,
  values: times.map((_, index) => index),
  envelope: null,
  ...more,
});

test("a missing minute breaks the line with one null", () => {
  const drawn = withGaps(column([0, 1_000, 61_000, 62_000]), 10_000);
  expect(drawn.times).toEqual([0, 1_000, 31_000, 61_000, 62_000]);
  expect(drawn.values).toEqual([0, 1, null, 2, 3]);
});

test("evenly spaced samples have no gap, however far apart", () => {
  const times = [0, 60_000, 120_000, 180_000];
  expect(withGaps(column(times), gapThresholdMs(times, false)).times).toEqual(times);
});

test("a fast tag may pause ten seconds before it is a gap", () => {
  expect(gapThresholdMs([0, 100, 200, 300], false)).toBe(10_000);
  expect(gapThresholdMs([], false)).toBe(10_000);
});

test("two missing buckets are a gap", () => {
  const times = [0, 60_000, 120_000, 300_000, 360_000];
  expect(withGaps(column(times), gapThresholdMs(times, true)).values).toEqual([0, 1, 2, null, 3, 4]);
});

test("a gap breaks the envelope too", () => {
  const drawn = withGaps(column([0, 90_000], { envelope: { min: [1, 2], max: [3, 4] } }), 10_000);
  expect(drawn.envelope).toEqual({ min: [1, null, 2], max: [3, null, 4] });
});

test("a bad sample stays a hole in the line", () => {
  expect(trendColumn(series([0, 1, 2], [5, null, 7]), [], 0).values).toEqual([5, null, 7]);
});

test("live points continue after the last stored sample and never double it", () => {
  const live = [
    { at: 1_000, value: 9 },
    { at: 2_000, value: 9 },
    { at: 3_000, value: 30 },
  ];
  const drawn = trendColumn(series([1_000, 2_000], [10, 20]), live, 0);
  expect(drawn.times).toEqual([1_000, 2_000, 3_000]);
  expect(drawn.values).toEqual([10, 20, 30]);
});

test("live points widen the envelope of thinned samples", () => {
  const stored = series([1_000], [10], { downsampled: true, min: [8], max: [12] });
  expect(trendColumn(stored, [{ at: 2_000, value: 11 }], 0).envelope).toEqual({ min: [8, 11], max: [12, 11] });
});

test("what left the window is dropped, but for one sample that carries the line to the edge", () => {
  expect(trendColumn(series([1, 2, 3, 4], [1, 2, 3, 4]), [], 3).times).toEqual([2, 3, 4]);
});

const hold = (untilMs: number, latest: { at: number; value: number | boolean } | null = null) => ({ untilMs, latest });

test("a state that is reported by change stands until the next change and on to the present", () => {
  const states = series([0, 600_000], [1, 2], { data_type: "int" });
  const drawn = trendColumn(states, [], 0, hold(900_000));
  expect(drawn.times).toEqual([0, 600_000, 900_000]);
  expect(drawn.values).toEqual([1, 2, 2]);
});

test("a value reported before the window stands at its start", () => {
  const empty = series([], [], { data_type: "bool" });
  const drawn = trendColumn(empty, [], 100_000, hold(200_000, { at: 5_000, value: true }));
  expect([drawn.times, drawn.values]).toEqual([[100_000, 200_000], [1, 1]]);
});

test("a bad value is not carried on", () => {
  const drawn = trendColumn(series([0, 1_000], [1, null], { data_type: "int" }), [], 0, hold(60_000));
  expect(drawn.values).toEqual([1, null, null]);
});

test("an analog value that is silent for minutes is a gap even where changes are reported", () => {
  const drawn = trendColumn(series([0, 1_000, 2_000, 180_000, 181_000], [1, 2, 3, 4, 5]), [], 0, hold(181_000));
  expect(drawn.values).toEqual([1, 2, 3, null, 4, 5]);
});

test("carrying a value on keeps the envelope as long as the times", () => {
  const thinned = series([1_000], [10], { downsampled: true, min: [8], max: [12] });
  expect(trendColumn(thinned, [], 0, hold(5_000)).envelope).toEqual({ min: [8, 10], max: [12, 10] });
});

test("bools draw as 0 and 1, texts not at all", () => {
  expect(trendColumn(series([1, 2, 3], [true, false, "x"], { data_type: "bool" }), [], 0).values).toEqual([1, 0, null]);
});

test("tags share a panel only if they share a unit", () => {
  const panels = panelsByUnit([
    column([0], { tag: "a" }),
    column([0], { tag: "b", unit: "bar" }),
    column([0], { tag: "c" }),
    column([0], { tag: "d", unit: "" }),
    column([0], { tag: "e", unit: "" }),
  ]);
  expect(panels.map((panel) => panel.columns.map((each) => each.tag))).toEqual([["a", "c"], ["b"], ["d"], ["e"]]);
});

test("the newest point is the newest with a value", () => {
  expect(newestAt([column([1, 2, 3], { values: [1, 2, null] }), column([])])).toBe(2);
  expect(newestAt([])).toBeNull();
});
