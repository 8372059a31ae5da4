import { useQuery } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { activeAlarmsQuery, hiddenAlarmsQuery, machineQuery } from "../api/queries";
import type { Alarm, MachineDetail } from "../api/types";
import { AlarmCommands } from "../components/AlarmCommands";
import { Loadable } from "../components/Loadable";
import { MachineAlarms } from "../components/MachineAlarms";
import { MachineFacts } from "../components/MachineFacts";
import { PageHeading } from "../components/PageHeading";
import { TagTable } from "../components/TagTable";
import { TrendSection } from "../components/TrendSection";
import { machineKey } from "../lib/alarms";
import { rangeById } from "../lib/ranges";
import { chosenTags } from "../lib/selection";
import { t } from "../text";
import css from "./MachinePage.module.css";

const route = getRouteApi("/$tenant/machines/$gateway/$machine");

export default function MachinePage() {
  const { tenant, gateway, machine } = route.useParams();
  const query = useQuery(machineQuery(tenant, gateway, machine));
  return (
    <>
      <PageHeading title={query.data?.name ?? machine}>
        {query.data && <MachineFacts machine={query.data} />}
      </PageHeading>
      <Loadable query={query}>{(detail) => <Machine key={machineKey(gateway, machine)} tenant={tenant} machine={detail} />}</Loadable>
    </>
  );
}

function Machine({ tenant, machine }: { tenant: string; machine: MachineDetail }) {
  const search = route.useSearch();
  const navigate = useNavigate();
  const alarms = useQuery(activeAlarmsQuery(tenant)).data?.items ?? [];
  const covered = useQuery(hiddenAlarmsQuery(tenant)).data?.items ?? [];
  const ours = (each: Alarm) => each.gateway === machine.gateway && each.machine === machine.id;
  const active = alarms.filter(ours);
  // The choice lives in the address, so that a view can be bookmarked and sent.
  const choose = (change: { tags?: string[]; range?: string }) =>
    void navigate({
      to: "/$tenant/machines/$gateway/$machine",
      params: { tenant, gateway: machine.gateway, machine: machine.id },
      search: { ...search, ...(change.range && { range: change.range }), ...(change.tags && { tags: change.tags.join(",") }) },
      replace: true,
      resetScroll: false,
    });
  return (
    <div className={css["sections"]}>
      <TrendSection
        tenant={tenant}
        machine={machine}
        active={active}
        tags={chosenTags(machine, search.tags)}
        range={rangeById(search.range)}
        onTags={(tags) => choose({ tags })}
        onRange={(range) => choose({ range })}
      />
      <section aria-labelledby="alarms-heading">
        <h2 id="alarms-heading">{t.machine.alarms}</h2>
        <AlarmCommands tenant={tenant}>
          <MachineAlarms machine={machine} active={active} hidden={covered.filter(ours)} />
        </AlarmCommands>
      </section>
      <section aria-labelledby="tags-heading">
        <h2 id="tags-heading">{t.machine.tags}</h2>
        <TagTable machine={machine} />
      </section>
    </div>
  );
}
