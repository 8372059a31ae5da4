/** The path of a sparkline: a picture of the shape, without scale. */
import { plottable, type LivePoint } from "./trend";

const GAP_MS = 10_000;

/** SVG path data in a box of the given size; the right edge is `now`, `spanMs` before it the left one. */
export function sparklinePath(
  points: readonly LivePoint[],
  now: number,
  spanMs: number,
  width: number,
  height: number,
): string {
  const inside = points.filter((point) => point.at >= now - spanMs);
  const values = inside.map((point) => plottable(point.value));
  const numbers = values.filter((value) => value !== null);
  if (numbers.length < 2) return "";
  const least = Math.min(...numbers);
  const span = Math.max(...numbers) - least;
  let path = "";
  let previousAt: number | null = null;
  inside.forEach(({ at }, index) => {
    const value = values[index] ?? null;
    if (value === null) {
      previousAt = null;
      return;
    }
    const x = width * (1 - (now - at) / spanMs);
    // A constant value is a line in the middle.
    const y = span === 0 ? height / 2 : height * (1 - (value - least) / span);
    const joined = previousAt !== null && at - previousAt <= GAP_MS;
    path += `${joined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    previousAt = at;
  });
  return path;
}
