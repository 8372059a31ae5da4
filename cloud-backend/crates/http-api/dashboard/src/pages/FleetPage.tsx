import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { activeAlarmsQuery, gatewaysQuery, machinesQuery } from "../api/queries";
import type { Alarm, Gateway, Machine } from "../api/types";
import { FleetSummary } from "../components/FleetSummary";
import { FleetTile } from "../components/FleetTile";
import { Loadable } from "../components/Loadable";
import { PageHeading } from "../components/PageHeading";
import { machineKey, worstByMachine } from "../lib/alarms";
import { byGateway } from "../lib/fleet";
import { formatDuration, parseInstant } from "../lib/format";
import { useNow } from "../lib/useNow";
import { useGatewayLive } from "../live/LiveProvider";
import { t } from "../text";
import css from "./FleetPage.module.css";

const route = getRouteApi("/$tenant");

export function FleetPage() {
  const { tenant } = route.useParams();
  const machines = useQuery(machinesQuery(tenant));
  const gateways = useQuery(gatewaysQuery(tenant)).data?.items ?? [];
  const alarms = useQuery(activeAlarmsQuery(tenant)).data?.items ?? [];
  const worst = worstByMachine(alarms);
  return (
    <>
      <PageHeading title={t.fleet.heading}>
        {machines.data && <FleetSummary machines={machines.data.items} alarms={alarms} />}
      </PageHeading>
      <Loadable query={machines}>
        {({ items }) =>
          items.length === 0 ? (
            <p className="dim">{t.fleet.empty}</p>
          ) : (
            byGateway(items).map(([id, of]) => (
              <Plant key={id} tenant={tenant} id={id} gateway={gateways.find((each) => each.id === id)} machines={of} worst={worst} />
            ))
          )
        }
      </Loadable>
    </>
  );
}

interface PlantProps {
  tenant: string;
  id: string;
  gateway: Gateway | undefined;
  machines: Machine[];
  worst: Map<string, Alarm>;
}

function Plant({ tenant, id, gateway, machines, worst }: PlantProps) {
  return (
    <section className={css["plant"]} aria-labelledby={`plant-${id}`}>
      <div className={css["head"]}>
        <h2 id={`plant-${id}`}>{t.fleet.gateway(id)}</h2>
        {gateway && <Presence gateway={gateway} />}
      </div>
      <ul className={css["tiles"]}>
        {machines.map((machine) => (
          <li key={machine.id}>
            <FleetTile tenant={tenant} machine={machine} alarm={worst.get(machineKey(id, machine.id))} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Presence({ gateway }: { gateway: Gateway }) {
  const online = useGatewayLive(gateway.id) ?? gateway.online;
  const now = useNow();
  if (online) return <span className="dim">{t.fleet.gatewayOnline}</span>;
  const seen = parseInstant(gateway.last_seen_at);
  return <strong>{t.fleet.gatewayOffline(seen === null ? null : formatDuration(now - seen))}</strong>;
}
