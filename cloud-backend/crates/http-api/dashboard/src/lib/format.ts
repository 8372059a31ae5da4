/** Values, durations and instants as people read them: 24-hour clock, named zone, digits that do not jump. */
import type { DataType, EnumerationName, TagValue } from "../api/types";
import { t } from "../text";

export type Zone = "local" | "utc";

/** Stands for "there is no value"; never a zero, never an old number. */
export const NONE = "–";

const grouped = (digits: number) =>
  new Intl.NumberFormat(t.locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
const byDigits = [0, 1, 2, 3].map(grouped);

/** Decimals for a float of this size: about four significant digits. */
function decimalsFor(value: number): number {
  const size = Math.abs(value);
  if (size >= 1000) return 0;
  if (size >= 100) return 1;
  return size >= 1 || size === 0 ? 2 : 3;
}

export function formatNumber(value: number, dataType: DataType = "float"): string {
  if (!Number.isFinite(value)) return NONE;
  if (value !== 0 && Math.abs(value) < 0.0005) return value.toExponential(2);
  const digits = dataType === "int" ? 0 : decimalsFor(value);
  return (byDigits[digits] ?? grouped(digits)).format(value);
}

export function formatValue(value: TagValue | undefined, dataType?: DataType): string {
  if (value === null || value === undefined) return NONE;
  if (typeof value === "boolean") return value ? t.value.on : t.value.off;
  if (typeof value === "string") return value;
  return formatNumber(value, dataType ?? (Number.isInteger(value) ? "int" : "float"));
}

/** The name of a number that has one, else the value. A truth value counts as 0 or 1. */
export function formatNamed(value: TagValue | undefined, names: readonly EnumerationName[], dataType?: DataType): string {
  const number = typeof value === "boolean" ? Number(value) : value;
  return names.find((each) => each.number === number)?.name ?? formatValue(value, dataType);
}

/** A limit is printed as configured, not rounded like a reading. */
export function formatLimit(value: number | null): string {
  if (value === null) return NONE;
  return new Intl.NumberFormat(t.locale, { maximumFractionDigits: 6 }).format(value);
}

/** `12 s`, `4 min`, `2 h 05 min`, `3 d 4 h`: the two largest units that matter. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A latency: milliseconds while they matter, seconds above ten. */
export function formatLatency(ms: number): string {
  return Math.abs(ms) < 10_000 ? `${Math.round(ms)} ms` : formatDuration(ms);
}

export function formatCount(value: number): string {
  return (byDigits[0] ?? grouped(0)).format(value);
}

export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

function clockFormat(zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const timeZone = zone === "utc" ? { timeZone: "UTC" } : {};
  return new Intl.DateTimeFormat(t.locale, { hourCycle: "h23", ...timeZone, ...options });
}

const time = { hour: "2-digit", minute: "2-digit", second: "2-digit" } as const;
const date = { year: "numeric", month: "2-digit", day: "2-digit" } as const;
const clocks = {
  local: { time: clockFormat("local", time), date: clockFormat("local", date) },
  utc: { time: clockFormat("utc", time), date: clockFormat("utc", date) },
};

/** `14:03:12`. */
export function formatTime(at: number, zone: Zone): string {
  return clocks[zone].time.format(at);
}

/** `14:03:12` today, otherwise `2026-11-22 14:03:12`. */
export function formatInstant(at: number, zone: Zone, now: number): string {
  const day = isoDate(at, zone);
  return day === isoDate(now, zone) ? formatTime(at, zone) : `${day} ${formatTime(at, zone)}`;
}

function isoDate(at: number, zone: Zone): string {
  const parts = clocks[zone].date.formatToParts(at);
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? "";
  return `${part("year")}-${part("month")}-${part("day")}`;
}

/** What the clock on the page means: `UTC`, or the name of the browser's zone. */
export function zoneName(zone: Zone): string {
  return zone === "utc" ? "UTC" : clocks.local.time.resolvedOptions().timeZone;
}

/** Milliseconds since 1970 of an API instant; null when absent or unreadable. */
export function parseInstant(text: string | null | undefined): number | null {
  if (!text) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

/** A unit as people write it: UCUM's "1" is no unit, "Cel" is a degree, a braced annotation is its text. */
export function unitLabel(unit: string): string {
  if (unit === "1") return "";
  if (unit === "Cel") return "°C";
  return /^\{(.*)\}$/.exec(unit)?.[1] ?? unit;
}

/** Whether an OPC UA status name lets a value be trusted. */
export function isGood(quality: string): boolean {
  return quality.startsWith("Good");
}
