import { SegmentedControl } from "@mantine/core";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { ActiveAlarms } from "../components/ActiveAlarms";
import { AlarmCommands } from "../components/AlarmCommands";
import { AlarmJournal } from "../components/AlarmJournal";
import { HiddenAlarms } from "../components/HiddenAlarms";
import { PageHeading } from "../components/PageHeading";
import { t } from "../text";

const route = getRouteApi("/$tenant/alarms");

export function AlarmsPage() {
  const { tenant } = route.useParams();
  const { view } = route.useSearch();
  const navigate = useNavigate();
  const choose = (value: string) =>
    void navigate({
      to: "/$tenant/alarms",
      params: { tenant },
      search: value === "journal" || value === "hidden" ? { view: value } : {},
      replace: true,
    });
  return (
    <>
      <PageHeading title={t.alarms.heading}>
        <SegmentedControl
          aria-label={t.alarms.view}
          value={view ?? "active"}
          onChange={choose}
          data={[
            { value: "active", label: t.alarms.active },
            { value: "hidden", label: t.alarms.hidden },
            { value: "journal", label: t.alarms.journal },
          ]}
        />
      </PageHeading>
      <AlarmCommands tenant={tenant}>
        <View view={view} tenant={tenant} />
      </AlarmCommands>
    </>
  );
}

function View({ view, tenant }: { view: "hidden" | "journal" | undefined; tenant: string }) {
  if (view === "journal") return <AlarmJournal tenant={tenant} />;
  return view === "hidden" ? <HiddenAlarms tenant={tenant} /> : <ActiveAlarms tenant={tenant} />;
}
