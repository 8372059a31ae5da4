/** One machine on the fleet page. Without fresh data it shows dashes and the age of the last word, never old numbers. */
import { Link } from "@tanstack/react-router";
import { memo } from "react";
import type { Alarm, Headline, Machine } from "../api/types";
import { isGateway } from "../lib/fleet";
import { NONE, formatDuration, formatNamed, isGood, parseInstant, unitLabel } from "../lib/format";
import { currentLink, machineFreshness } from "../lib/freshness";
import { useNow } from "../lib/useNow";
import type { MachineLive } from "../live/reducer";
import { useMachineLive } from "../live/LiveProvider";
import { t } from "../text";
import { FreshnessMark } from "./FreshnessMark";
import css from "./FleetTile.module.css";
import { PriorityMark } from "./PriorityMark";
import { Sparkline } from "./Sparkline";
import { StateMark } from "./StateMark";

interface FleetTileProps {
  tenant: string;
  machine: Machine;
  alarm: Alarm | undefined;
}

export const FleetTile = memo(function FleetTile({ tenant, machine, alarm }: FleetTileProps) {
  const live = useMachineLive(machine.gateway, machine.id);
  const now = useNow();
  const fresh = machineFreshness(live?.at ?? null, parseInstant(machine.last_sample_at), now);
  const link = currentLink(fresh, live, machine.link);
  const heard = fresh.kind === "live" && link !== "down";
  const first = machine.headline[0];
  return (
    <Link
      to="/$tenant/machines/$gateway/$machine"
      params={{ tenant, gateway: machine.gateway, machine: machine.id }}
      className={css["tile"]}
      data-heard={heard}
      data-machine={machine.id}
    >
      <h3>{machine.name}</h3>
      {!isGateway(machine) && <StateLine machine={machine} heard={heard} now={now} />}
      <AlarmLine machine={machine} alarm={alarm} />
      <dl className={css["values"]}>
        {machine.headline.slice(0, 4).map((headline) => (
          <Value key={headline.tag} headline={headline} live={live} heard={heard} />
        ))}
      </dl>
      {first && heard && (
        <Sparkline points={live?.history[first.tag] ?? []} now={now} label={t.fleet.trendOf(first.name)} />
      )}
      <div className={css["fresh"]}>
        {link === "down" && <strong>{t.fleet.linkDown}</strong>}
        {(link !== "down" || fresh.kind !== "live") && <FreshnessMark of={fresh} />}
        {heard && <span className={css["protocol"]}>{t.protocol(machine.protocol)}</span>}
      </div>
    </Link>
  );
});

function StateLine({ machine, heard, now }: { machine: Machine; heard: boolean; now: number }) {
  const since = parseInstant(machine.state_since);
  if (!heard) {
    return (
      <div className={css["state"]}>
        <StateMark state={null} />
        {machine.state && <span className="dim">{t.stateWas(t.state[machine.state])}</span>}
      </div>
    );
  }
  return (
    <div className={css["state"]}>
      <StateMark state={machine.state} />
      {machine.state && since !== null && <span className="dim">{t.stateFor(formatDuration(now - since))}</span>}
    </div>
  );
}

function AlarmLine({ machine, alarm }: { machine: Machine; alarm: Alarm | undefined }) {
  const priority = alarm?.priority ?? machine.worst_priority;
  if (priority === null) {
    return (
      <div className={css["alarm"]}>
        <span className="visually-hidden">{t.fleet.noAlarm}</span>
      </div>
    );
  }
  const more = machine.active_alarms - 1;
  return (
    <div className={css["alarm"]}>
      <PriorityMark priority={priority} word={alarm === undefined ? "shown" : "absent"} />
      {alarm && (
        <span className={css["message"]} title={alarm.message}>
          {t.priority[priority]}: {alarm.message}
        </span>
      )}
      {more > 0 && (
        <span className={css["more"]}>
          <span aria-hidden>+{more}</span>
          <span className="visually-hidden">{t.fleet.moreAlarms(more)}</span>
        </span>
      )}
    </div>
  );
}

function Value({ headline, live, heard }: { headline: Headline; live: MachineLive | undefined; heard: boolean }) {
  const reading = live?.readings[headline.tag];
  const value = reading ? reading.value : headline.value;
  const bad = reading ? reading.bad : isGood(headline.quality) ? null : headline.quality;
  const shown = heard && bad === null ? formatNamed(value, headline.enumeration) : NONE;
  const unit = unitLabel(headline.unit);
  return (
    <div>
      <dt title={headline.name}>{headline.name}</dt>
      <dd>
        <span className={css["number"]} data-value>
          {shown}
        </span>
        {shown !== NONE && unit && <span className={css["unit"]}>{unit}</span>}
        {heard && bad && <span className={css["bad"]}>{bad}</span>}
      </dd>
    </div>
  );
}
