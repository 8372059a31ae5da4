/** Says since when the page has not heard from the backend; announced to screen readers. */
import { useZone } from "../app/preferences";
import { formatTime } from "../lib/format";
import { useConnection } from "../live/LiveProvider";
import { t } from "../text";
import css from "./LiveBanner.module.css";

export function LiveBanner() {
  const connection = useConnection();
  const zone = useZone();
  return (
    <div role="status">
      {connection.kind === "lost" && (
        <p className={css["banner"]}>{t.live.lost(formatTime(connection.since, zone))}</p>
      )}
    </div>
  );
}
