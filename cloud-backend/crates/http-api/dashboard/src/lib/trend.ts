/** From stored samples and the live tail to columns a chart can draw. Times are milliseconds since 1970. */
import type { DataType, SampleSeries, TagValue } from "../api/types";

export interface Column {
  tag: string;
  unit: string;
  dataType: DataType;
  times: number[];
  /** null breaks the line. */
  values: (number | null)[];
  /** Least and greatest value of each bucket, when the backend has thinned the samples. */
  envelope: { min: (number | null)[]; max: (number | null)[] } | null;
}

export interface LivePoint {
  at: number;
  value: TagValue;
}

/** Even a fast tag may pause this long (a commit, a reconnect) without being called a gap. */
const LEAST_GAP_MS = 10_000;
const RAW_GAP_FACTOR = 4;
/** Buckets are evenly spaced, so two missing ones are a gap. */
const BUCKET_GAP_FACTOR = 2.5;

/** Draws as a number: a bool as 0 or 1, a text not at all. */
export function plottable(value: TagValue): number | null {
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** The distance of two samples above which the line between them would be an invention. */
export function gapThresholdMs(times: readonly number[], downsampled: boolean): number {
  const steps = times.slice(1).map((at, index) => at - (times[index] ?? at));
  if (steps.length === 0) return LEAST_GAP_MS;
  steps.sort((a, b) => a - b);
  const median = steps[Math.floor(steps.length / 2)] ?? 0;
  return Math.max(LEAST_GAP_MS, median * (downsampled ? BUCKET_GAP_FACTOR : RAW_GAP_FACTOR));
}

/** A column with a null halfway into every gap, so that a chart breaks its line there. */
export function withGaps(column: Column, thresholdMs: number): Column {
  const out: Column = { ...column, times: [], values: [], envelope: column.envelope && { min: [], max: [] } };
  const push = (at: number, index: number | null) => {
    out.times.push(at);
    out.values.push(index === null ? null : (column.values[index] ?? null));
    out.envelope?.min.push(index === null ? null : (column.envelope?.min[index] ?? null));
    out.envelope?.max.push(index === null ? null : (column.envelope?.max[index] ?? null));
  };
  column.times.forEach((at, index) => {
    const before = column.times[index - 1];
    if (before !== undefined && at - before > thresholdMs) push(before + Math.floor((at - before) / 2), null);
    push(at, index);
  });
  return out;
}

/**
 * For a machine that reports changes only (OPC UA Part 4, monitored items): a value stands until the next one comes, so
 * silence of a tag is not a gap while the machine itself is heard.
 */
export interface Hold {
  /** The newest instant at which the machine was heard. */
  untilMs: number;
  /** The tag's newest good value, which may be older than the window. */
  latest: LivePoint | null;
}

/** Analog values of such a machine move all the time; one that pauses this long has lost its machine. */
const LEAST_HELD_GAP_MS = 60_000;

/** Joins what is stored with what has come live since; the stored sample wins where both know. */
export function trendColumn(
  series: SampleSeries,
  live: readonly LivePoint[],
  startMs: number,
  hold: Hold | null = null,
): Column {
  const storedThrough = series.times.at(-1) ?? Number.NEGATIVE_INFINITY;
  const tail = live.filter((point) => point.at > storedThrough);
  const tailValues = tail.map((point) => plottable(point.value));
  const stored = series.values.map(plottable);
  const bounds = (of: (number | null)[] | undefined) => [...(of ?? stored), ...tailValues];
  const column: Column = {
    tag: series.tag,
    unit: series.unit,
    dataType: series.data_type,
    times: [...series.times, ...tail.map((point) => point.at)],
    values: [...stored, ...tailValues],
    envelope: series.downsampled ? { min: bounds(series.min), max: bounds(series.max) } : null,
  };
  const threshold = gapThresholdMs(series.times, series.downsampled);
  if (hold === null) return withGaps(since(column, startMs), threshold);
  const heldThreshold = series.data_type === "float" ? Math.max(threshold, LEAST_HELD_GAP_MS) : Number.POSITIVE_INFINITY;
  return withGaps(since(held(column, startMs, hold), startMs), heldThreshold);
}

/** Begins with the value that stood at the start where nothing was reported since, and carries the last one on. */
function held(column: Column, startMs: number, { untilMs, latest }: Hold): Column {
  const times = [...column.times];
  const values = [...column.values];
  if (times.length === 0 && latest !== null && latest.at <= startMs) {
    times.push(startMs);
    values.push(plottable(latest.value));
  }
  const last = times.at(-1);
  if (last === undefined || untilMs <= last) return { ...column, times, values };
  const value = values.at(-1) ?? null;
  const carried = (bounds: (number | null)[]) => [...bounds, ...Array<number | null>(times.length + 1 - bounds.length).fill(value)];
  const { envelope } = column;
  return {
    ...column,
    times: [...times, untilMs],
    values: [...values, value],
    envelope: envelope && { min: carried(envelope.min), max: carried(envelope.max) },
  };
}

/** Without what has left the window, but with one sample before it so that the line reaches the edge. */
function since(column: Column, startMs: number): Column {
  const inside = column.times.findIndex((at) => at >= startMs);
  const from = inside < 0 ? column.times.length : Math.max(0, inside - 1);
  if (from === 0) return column;
  const { envelope } = column;
  return {
    ...column,
    times: column.times.slice(from),
    values: column.values.slice(from),
    envelope: envelope && { min: envelope.min.slice(from), max: envelope.max.slice(from) },
  };
}

export interface Panel {
  /** The unit all its tags share; bools have a panel of their own. */
  key: string;
  unit: string;
  columns: Column[];
}

/** Tags of one unit share one panel and one scale: different units on one scale would lie. */
export function panelsByUnit(columns: readonly Column[]): Panel[] {
  const panels = new Map<string, Panel>();
  for (const column of columns) {
    // Without a unit nothing says that two numbers are comparable.
    const key = column.dataType === "bool" ? "bool" : column.unit || `tag ${column.tag}`;
    const panel = panels.get(key) ?? { key, unit: column.unit, columns: [] };
    panel.columns.push(column);
    panels.set(key, panel);
  }
  return [...panels.values()];
}

/** The newest instant that carries a value. */
export function newestAt(columns: readonly Column[]): number | null {
  let newest: number | null = null;
  for (const { times, values } of columns) {
    const index = values.findLastIndex((value) => value !== null);
    const at = times[index];
    if (at !== undefined && (newest === null || at > newest)) newest = at;
  }
  return newest;
}
