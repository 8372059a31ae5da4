/** The plant in one line: how many machines in which state, how many silent, how many alarms. */
import { useContext } from "react";
import type { Alarm, Machine, MachineState } from "../api/types";
import { machineKey } from "../lib/alarms";
import { countFleet } from "../lib/fleet";
import { parseInstant } from "../lib/format";
import { currentLink, machineFreshness } from "../lib/freshness";
import { useNow } from "../lib/useNow";
import { LiveContext } from "../live/LiveProvider";
import { t } from "../text";
import css from "./FleetSummary.module.css";

const ORDER: MachineState[] = ["running", "idle", "setup", "down"];

export function FleetSummary({ machines, alarms }: { machines: Machine[]; alarms: Alarm[] }) {
  const store = useContext(LiveContext);
  // Read once a second with the clock, not on each of the many live events.
  const now = useNow();
  const counts = countFleet(machines, (machine) => {
    const live = store.get().machines.get(machineKey(machine.gateway, machine.id));
    const fresh = machineFreshness(live?.at ?? null, parseInstant(machine.last_sample_at), now);
    return fresh.kind === "live" && currentLink(fresh, live, machine.link) !== "down";
  });
  const facts: [string, number, boolean][] = [
    ...ORDER.map((state): [string, number, boolean] => [t.state[state], counts.byState[state], state === "down"]),
    [t.stateUnknown, counts.unknown, false],
    [t.fleet.noData, counts.noData, true],
  ];
  return (
    <ul className={css["facts"]}>
      <li>{t.fleet.machines(counts.total)}</li>
      {facts
        .filter(([, count]) => count > 0)
        .map(([word, count, abnormal]) => (
          <li key={word} data-abnormal={abnormal}>
            {count} {word.toLowerCase()}
          </li>
        ))}
      {alarms.length > 0 && <li data-abnormal="true">{t.fleet.activeAlarms(alarms.length)}</li>}
    </ul>
  );
}
