import { expect, test } from "vitest";
import {
  NONE,
  formatBytes,
  formatDuration,
  formatInstant,
  formatLatency,
  formatLimit,
  formatNamed,
  formatNumber,
  formatTime,
  formatValue,
  parseInstant,
  isGood,
  unitLabel,
  zoneName,
} from "./format";

test("floats keep about four significant digits", () => {
  expect([12345.6, 234.56, 23.456, 0, 0.1234].map((v) => formatNumber(v))).toEqual([
    "12,346",
    "234.6",
    "23.46",
    "0.00",
    "0.123",
  ]);
});

test("a tiny float is not rounded to zero", () => {
  expect(formatNumber(0.00001234)).toBe("1.23e-5");
});

test("counters have no decimals, bools are words, texts stay as they are", () => {
  expect(formatValue(1234567, "int")).toBe("1,234,567");
  expect([formatValue(true), formatValue(false), formatValue("PROG-7")]).toEqual(["on", "off", "PROG-7"]);
});

test("a number with a name is shown by it, any other as the number", () => {
  const names = [
    { number: 0, name: "stopped" },
    { number: 1, name: "running" },
  ];
  expect([1, 0, 7, true, false].map((v) => formatNamed(v, names, "int"))).toEqual(["running", "stopped", "7", "running", "stopped"]);
  expect([formatNamed(null, names), formatNamed(1, [], "int")]).toEqual([NONE, "1"]);
});

test("a missing value is a dash, never a zero", () => {
  expect([formatValue(null), formatValue(undefined), formatValue(Number.NaN, "float")]).toEqual([NONE, NONE, NONE]);
});

test("limits are printed as configured", () => {
  expect([formatLimit(85), formatLimit(0.125), formatLimit(1250.5)]).toEqual(["85", "0.125", "1,250.5"]);
});

test("durations use the two largest units", () => {
  const text = [-5, 12_900, 61_000, 7_500_000, 273_600_000].map(formatDuration);
  expect(text).toEqual(["0 s", "12 s", "1 min", "2 h 05 min", "3 d 4 h"]);
});

test("latencies are milliseconds up to ten seconds", () => {
  expect([formatLatency(12.4), formatLatency(9_999), formatLatency(61_000)]).toEqual(["12 ms", "9999 ms", "1 min"]);
});

test("bytes use decimal units", () => {
  expect([formatBytes(999), formatBytes(1_500), formatBytes(2_340_000)]).toEqual(["999 B", "1.5 kB", "2.3 MB"]);
});

test("midnight is 00, not 24, and another day shows its date", () => {
  const midnight = Date.parse("2026-11-22T00:00:05Z");
  expect(formatTime(midnight, "utc")).toBe("00:00:05");
  expect(formatInstant(midnight, "utc", midnight + 1000)).toBe("00:00:05");
  expect(formatInstant(midnight, "utc", midnight + 86_400_000)).toBe("2026-11-22 00:00:05");
});

test("the zone has a name", () => {
  expect(zoneName("utc")).toBe("UTC");
  expect(zoneName("local").length).toBeGreaterThan(0);
});

test("an unreadable instant is null", () => {
  expect([parseInstant(null), parseInstant("soon"), parseInstant("1970-01-01T00:00:01.500Z")]).toEqual([null, null, 1500]);
});

test("a unit is written for people", () => {
  expect(["1", "Cel", "{parts}", "bar", ""].map(unitLabel)).toEqual(["", "°C", "parts", "bar", ""]);
});

test("only the good qualities are trusted", () => {
  expect(["Good", "GoodClamped", "BadTimeout", "UncertainLastUsableValue"].map(isGood)).toEqual([true, true, false, false]);
});
