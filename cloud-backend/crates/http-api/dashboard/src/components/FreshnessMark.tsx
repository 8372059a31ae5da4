/** Whether what stands beside it is live, and if not, since when. */
import { useZone } from "../app/preferences";
import { formatDuration, formatInstant } from "../lib/format";
import type { Freshness } from "../lib/freshness";
import { useNow } from "../lib/useNow";
import { t } from "../text";
import css from "./FreshnessMark.module.css";

export function FreshnessMark({ of }: { of: Freshness }) {
  const zone = useZone();
  const now = useNow();
  if (of.kind === "live") return <span className={css["live"]}>{t.freshness.live}</span>;
  if (of.kind === "never") return <span className={css["stale"]}>{t.freshness.never}</span>;
  return (
    <span className={css["stale"]}>
      {t.freshness.stale(formatDuration(of.ageMs))},{" "}
      <span className={css["last"]}>{t.freshness.last(formatInstant(of.lastAt, zone, now))}</span>
    </span>
  );
}
