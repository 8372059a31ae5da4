/** The shape of the last two minutes of one value. */
import { sparklinePath } from "../lib/sparkline";
import type { LivePoint } from "../lib/trend";

/** Short, so that a page just opened soon has a shape to show. */
const SPAN_MS = 2 * 60_000;
const WIDTH = 120;
const HEIGHT = 26;

interface SparklineProps {
  points: readonly LivePoint[];
  now: number;
  label: string;
}

export function Sparkline({ points, now, label }: SparklineProps) {
  const path = sparklinePath(points, now, SPAN_MS, WIDTH, HEIGHT - 4);
  return (
    <svg role="img" aria-label={label} viewBox={`0 -2 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" width="100%" height={HEIGHT}>
      <path d={path} fill="none" stroke="var(--series-1)" strokeWidth="1.5" vectorEffect="non-scaling-stroke" strokeLinejoin="round" />
    </svg>
  );
}
