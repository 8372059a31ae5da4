/** An instant in the chosen zone, and how long ago one was. */
import { useZone } from "../app/preferences";
import { NONE, formatDuration, formatInstant, parseInstant } from "../lib/format";
import { useNow } from "../lib/useNow";

export function Moment({ at }: { at: string | number | null }) {
  const zone = useZone();
  const now = useNow();
  const ms = typeof at === "number" ? at : parseInstant(at);
  if (ms === null) return <>{NONE}</>;
  const iso = new Date(ms).toISOString();
  return (
    <time dateTime={iso} title={iso} style={{ whiteSpace: "nowrap" }}>
      {formatInstant(ms, zone, now)}
    </time>
  );
}

/** The time since `at`, counting. */
export function Age({ at }: { at: string | number | null }) {
  const now = useNow();
  const ms = typeof at === "number" ? at : parseInstant(at);
  return <span style={{ whiteSpace: "nowrap" }}>{ms === null ? NONE : formatDuration(now - ms)}</span>;
}
