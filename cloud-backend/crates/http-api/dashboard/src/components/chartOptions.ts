/** What uPlot needs to know to draw a panel. Its x axis counts seconds; everything of ours counts milliseconds. */
import uPlot from "uplot";
import { formatNumber, formatTime, type Zone } from "../lib/format";
import type { Column } from "../lib/trend";
import { t } from "../text";
import type { LineStyle } from "./TrendPanel";

export interface ChartLimit {
  at: number;
  label: string;
  /** Name of the token that holds the colour. */
  color: string;
  active: boolean;
}

/** What changes while the chart lives; uPlot's callbacks read it at each draw. */
export interface View {
  limits: ChartLimit[];
  rangeMs: number;
  endMs: number;
}

/** Distances of time marks in seconds; two minutes are what a phone needs for its five. */
const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400];

interface ChartInput {
  columns: Column[];
  styles: LineStyle[];
  width: number;
  height: number;
  zone: Zone;
  color: (token: string) => string;
  view: View;
  onHover: (at: number | null) => void;
}

/** All columns on one time axis; a column without a sample at an instant is joined past it, a null breaks it. */
export function chartData(columns: readonly Column[]): uPlot.AlignedData {
  const tables = columns.map(({ times, values, envelope }): uPlot.AlignedData => {
    const seconds = times.map((at) => at / 1000);
    return envelope === null ? [seconds, values] : [seconds, values, envelope.max, envelope.min];
  });
  return tables.length === 0 ? [[]] : uPlot.join(tables);
}

/** Room above and below, the limits included: a value is only understood against them. */
export function valueRange(least: number | null, greatest: number | null, limits: readonly ChartLimit[]): [number, number] {
  const all = [least, greatest, ...limits.map((limit) => limit.at)].filter((each) => each !== null);
  if (all.length === 0) return [0, 1];
  const low = Math.min(...all);
  const high = Math.max(...all);
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
  return [low - margin, high + margin];
}

export function chartOptions(input: ChartInput): uPlot.Options {
  const { columns, width, height, zone, color, view, onHover } = input;
  const isBool = columns[0]?.dataType === "bool";
  const { series, bands } = lines(input);
  const dim = color("--dim");
  const grid = { stroke: color("--line"), width: 1 };
  const axis = { stroke: dim, grid, ticks: grid, font: "12px system-ui, sans-serif" };
  return {
    width,
    height,
    ms: 1e-3,
    padding: [10, 22, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false, setScale: false }, sync: { key: "trend" }, points: { size: 6 } },
    tzDate: (seconds) => (zone === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    scales: {
      x: { time: true, range: () => [(view.endMs - view.rangeMs) / 1000, view.endMs / 1000] },
      y: { range: (_, least, greatest) => (isBool ? [-0.15, 1.15] : valueRange(least, greatest, view.limits)) },
    },
    axes: [
      { ...axis, size: 32, space: 64, incrs: TIME_STEPS_S, values: (_, splits) => timeLabels(splits, zone) },
      isBool
        ? { ...axis, size: 58, splits: () => [0, 1], values: () => [t.value.off, t.value.on] }
        : { ...axis, size: 58, values: (_, splits) => axisLabels(splits) },
    ],
    series,
    bands,
    hooks: {
      draw: [(chart) => drawLimits(chart, view.limits, color)],
      setCursor: [(chart) => onHover(hoverAt(chart))],
    },
  };
}

function lines({ columns, styles, color }: ChartInput): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  columns.forEach((column, index) => {
    const style = styles[index];
    const stroke = color(style?.color ?? "--series-1");
    // A counter or a bool holds its value until the next one; a slope between them would be an invention.
    const steps = column.dataType !== "float" && stepped ? { paths: stepped } : {};
    const shared = { points: { show: false }, ...steps };
    series.push({ label: column.tag, stroke, width: 1.6, dash: style?.dash ?? [], ...shared });
    if (column.envelope === null) return;
    series.push({ ...shared, stroke: "transparent", width: 0 }, { ...shared, stroke: "transparent", width: 0 });
    bands.push({ series: [series.length - 2, series.length - 1], fill: `${stroke}33` });
  });
  return { series, bands };
}

function drawLimits(chart: uPlot, limits: readonly ChartLimit[], color: (token: string) => string): void {
  const { ctx, bbox } = chart;
  const ratio = uPlot.pxRatio;
  let previous = { y: Number.NEGATIVE_INFINITY, end: 0 };
  const visible = limits
    .map((limit) => ({ limit, y: Math.round(chart.valToPos(limit.at, "y", true)) }))
    .filter(({ y }) => y >= bbox.top && y <= bbox.top + bbox.height)
    .sort((a, b) => a.y - b.y);
  ctx.save();
  for (const { limit, y } of visible) {
    ctx.strokeStyle = ctx.fillStyle = color(limit.color);
    line(ctx, bbox, y, (limit.active ? 2 : 1) * ratio);
    // Limits that lie close together put their names beside each other.
    const crowded = y - previous.y < 30 * ratio;
    const x = (crowded ? previous.end : bbox.left) + 6 * ratio;
    const below = y - bbox.top < 16 * ratio;
    ctx.font = `${limit.active ? "600 " : ""}${11 * ratio}px system-ui, sans-serif`;
    ctx.textBaseline = below ? "top" : "bottom";
    label(ctx, limit.label, x, y + (below ? 3 : -3) * ratio, color("--panel"));
    previous = { y, end: x + ctx.measureText(limit.label).width + 8 * ratio };
  }
  ctx.restore();
}

function line(ctx: CanvasRenderingContext2D, { left, width }: uPlot.BBox, y: number, thickness: number): void {
  ctx.lineWidth = thickness;
  ctx.setLineDash([6 * uPlot.pxRatio, 4 * uPlot.pxRatio]);
  ctx.beginPath();
  ctx.moveTo(left, y);
  ctx.lineTo(left + width, y);
  ctx.stroke();
}

/** Text with a rim in the colour of the ground, so that a line behind it does not make it unreadable. */
function label(ctx: CanvasRenderingContext2D, text: string, x: number, y: number, ground: string): void {
  ctx.textAlign = "left";
  ctx.setLineDash([]);
  ctx.lineWidth = 4 * uPlot.pxRatio;
  ctx.strokeStyle = ground;
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}

function hoverAt(chart: uPlot): number | null {
  const { left } = chart.cursor;
  return left === undefined || left === null || left < 0 ? null : chart.posToVal(left, "x") * 1000;
}

/** Seconds only where the marks stand closer than a minute. */
function timeLabels(splits: number[], zone: Zone): string[] {
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  return splits.map((at) => formatTime(at * 1000, zone).slice(0, step < 60 ? 8 : 5));
}

const isWhole = (value: number): boolean => Math.abs(value - Math.round(value)) < 1e-6;

/** As many decimals as the distance of the marks needs. */
export function axisLabels(splits: number[]): string[] {
  const step = Math.abs((splits[1] ?? 0) - (splits[0] ?? 0));
  const digits = [0, 1, 2, 3, 4, 5].find((each) => isWhole(step * 10 ** each)) ?? 6;
  return splits.map((at) => (digits === 0 ? formatNumber(at, "int") : at.toFixed(digits)));
}
