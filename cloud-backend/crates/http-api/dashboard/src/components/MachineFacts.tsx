import type { MachineDetail } from "../api/types";
import { isGateway } from "../lib/fleet";
import { formatDuration, parseInstant } from "../lib/format";
import { currentLink, machineFreshness } from "../lib/freshness";
import { useNow } from "../lib/useNow";
import { useMachineLive } from "../live/LiveProvider";
import { t } from "../text";
import { FreshnessMark } from "./FreshnessMark";
import css from "./MachineFacts.module.css";
import { StateMark } from "./StateMark";

export function MachineFacts({ machine }: { machine: MachineDetail }) {
  const live = useMachineLive(machine.gateway, machine.id);
  const now = useNow();
  const fresh = machineFreshness(live?.at ?? null, parseInstant(machine.last_sample_at), now);
  const since = parseInstant(machine.state_since);
  const link = currentLink(fresh, live, machine.link);
  const isLive = fresh.kind === "live" && link !== "down";
  return (
    <ul className={css["facts"]}>
      {!isGateway(machine) && (
        <li>
          <StateMark state={isLive ? machine.state : null} />
          {isLive && machine.state && since !== null && <span className="dim">{t.stateFor(formatDuration(now - since))}</span>}
          {!isLive && machine.state && <span className="dim">{t.stateWas(t.state[machine.state])}</span>}
        </li>
      )}
      <li>
        <FreshnessMark of={fresh} />
      </li>
      <li className="dim">
        {t.machine.facts.link}: {link === "down" ? <strong>{t.machine.link.down}</strong> : t.machine.link[link]}
      </li>
      <li className="dim">{t.protocol(machine.protocol)}</li>
      <li className="dim">{t.machineKind(machine.kind)}</li>
      <li className="dim">{t.fleet.gateway(machine.gateway)}</li>
    </ul>
  );
}
