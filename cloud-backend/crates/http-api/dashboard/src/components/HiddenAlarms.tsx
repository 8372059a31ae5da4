/** What people are not shown: shelved, suppressed by design, out of service. */
import { useQuery } from "@tanstack/react-query";
import { hiddenAlarmsQuery } from "../api/queries";
import type { Alarm } from "../api/types";
import { alarmKey } from "../lib/alarms";
import { t } from "../text";
import { AlarmButton, useMay } from "./AlarmCommands";
import { DataTable, type TableColumn } from "./DataTable";
import { Loadable } from "./Loadable";
import { MachineLink } from "./MachineLink";
import { Age, Moment } from "./Moment";
import { PriorityMark } from "./PriorityMark";

const text = t.alarms.columns;

const columns: TableColumn<Alarm>[] = [
  { id: "priority", header: text.priority, cell: (row) => <PriorityMark priority={row.priority} active={false} /> },
  { id: "message", header: text.message, cell: (row) => <strong>{row.message}</strong> },
  { id: "machine", header: text.machine, cell: (row) => <MachineLink {...row} /> },
  { id: "state", header: text.state, cell: (row) => t.alarmState[row.state] },
  { id: "since", header: text.since, cell: (row) => <Moment at={row.decided_at} /> },
  { id: "age", header: text.age, numeric: true, cell: (row) => <Age at={row.decided_at} /> },
];
const command: TableColumn<Alarm> = { id: "command", header: text.command, cell: (row) => <AlarmButton target={row} /> };

export function HiddenAlarms({ tenant }: { tenant: string }) {
  const query = useQuery(hiddenAlarmsQuery(tenant));
  const shown = useMay("operate_alarms") ? [...columns, command] : columns;
  return (
    <Loadable query={query}>
      {({ items, next_cursor }) =>
        items.length === 0 ? (
          <p className="panel dim">{t.alarms.noneHidden}</p>
        ) : (
          <>
            <DataTable label={t.alarms.hidden} columns={shown} rows={items} rowKey={alarmKey} />
            {next_cursor !== null && <p className="dim">{t.alarms.truncated(items.length)}</p>}
          </>
        )
      }
    </Loadable>
  );
}
