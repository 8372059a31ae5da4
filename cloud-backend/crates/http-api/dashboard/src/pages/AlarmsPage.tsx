import { SegmentedControl } from "@mantine/core";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { ActiveAlarms } from "../components/ActiveAlarms";
import { AlarmJournal } from "../components/AlarmJournal";
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
      search: value === "journal" ? { view: "journal" } : {},
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
            { value: "journal", label: t.alarms.journal },
          ]}
        />
      </PageHeading>
      {view === "journal" ? <AlarmJournal tenant={tenant} /> : <ActiveAlarms tenant={tenant} />}
    </>
  );
}
