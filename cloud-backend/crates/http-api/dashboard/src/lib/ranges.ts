/** The spans a trend can show, with the resolution and refresh that suit each. */

export interface TrendRange {
  id: string;
  ms: number;
  /** Buckets asked of the backend; a wide screen has about this many pixels. */
  points: number;
  /** How often stored samples are read again; between two reads the live values fill in. */
  refetchMs: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

export const RANGES: readonly TrendRange[] = [
  { id: "5m", ms: 5 * MINUTE, points: 1500, refetchMs: 20_000 },
  { id: "15m", ms: 15 * MINUTE, points: 1500, refetchMs: 30_000 },
  { id: "1h", ms: HOUR, points: 1200, refetchMs: MINUTE },
  { id: "6h", ms: 6 * HOUR, points: 1200, refetchMs: 2 * MINUTE },
  { id: "24h", ms: 24 * HOUR, points: 1200, refetchMs: 2 * MINUTE },
];

const DEFAULT = RANGES[0] as TrendRange;

/** The range with this id, or the shortest one for an address somebody mistyped. */
export function rangeById(id: string | undefined): TrendRange {
  return RANGES.find((range) => range.id === id) ?? DEFAULT;
}
