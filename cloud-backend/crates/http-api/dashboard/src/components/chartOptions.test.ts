import { expect, test, vi } from "vitest";
import type { Column } from "../lib/trend";

// uPlot asks for it when it is loaded, and the test's window does not have it.
vi.hoisted(() => Object.assign(globalThis, { matchMedia: () => ({ addEventListener() {}, removeEventListener() {} }) }));
import { axisLabels, chartData, valueRange, type ChartLimit } from "./chartOptions";

const column = (tag: string, times: number[], values: (number | null)[]): Column => ({
  tag,
  unit: "",
  dataType: "float",
  times,
  values,
  envelope: null,
});
const limit = (at: number): ChartLimit => ({ at, label: "", color: "--dim", active: false });

test("tags with different instants share one axis; only a null breaks a line", () => {
  expect(chartData([column("a", [1000, 3000], [1, null]), column("b", [2000], [5])])).toEqual([
    [1, 2, 3],
    [1, undefined, null],
    [undefined, 5, undefined],
  ]);
});

test("a panel without tags has an empty axis", () => {
  expect(chartData([])).toEqual([[]]);
});

test("the scale reaches beyond the limits", () => {
  const [low, high] = valueRange(60, 62, [limit(85), limit(10)]);
  expect(low).toBeLessThan(10);
  expect(high).toBeGreaterThan(85);
});

test("a constant value and an empty panel have a scale", () => {
  expect(valueRange(50, 50, [])).toEqual([47.5, 52.5]);
  expect(valueRange(0, 0, [])).toEqual([-1, 1]);
  expect(valueRange(null, null, [])).toEqual([0, 1]);
});

test("axis marks have the decimals their distance needs", () => {
  expect(axisLabels([49.98, 50, 50.02])).toEqual(["49.98", "50.00", "50.02"]);
  expect(axisLabels([65, 67.5, 70])).toEqual(["65.0", "67.5", "70.0"]);
  expect(axisLabels([0.1, 0.2, 0.30000000000000004])).toEqual(["0.1", "0.2", "0.3"]);
  expect(axisLabels([0, 2000])).toEqual(["0", "2,000"]);
});
