import { useQuery } from "@tanstack/react-query";
import { activeAlarmsQuery } from "../api/queries";
import type { Alarm } from "../api/types";
import { alarmKey, compareNewestFirst } from "../lib/alarms";
import { formatLimit, formatValue } from "../lib/format";
import { t } from "../text";
import { AlarmButton, useMay } from "./AlarmCommands";
import { DataTable, type TableColumn } from "./DataTable";
import { Loadable } from "./Loadable";
import { MachineLink } from "./MachineLink";
import { Age, Moment } from "./Moment";
import { PriorityMark } from "./PriorityMark";

const text = t.alarms.columns;

const columns: TableColumn<Alarm>[] = [
  { id: "priority", header: text.priority, cell: (row) => <PriorityMark priority={row.priority} active={row.active} /> },
  { id: "message", header: text.message, cell: (row) => <strong>{row.message}</strong> },
  { id: "machine", header: text.machine, cell: (row) => <MachineLink {...row} /> },
  { id: "value", header: text.value, numeric: true, cell: (row) => formatValue(row.value) },
  { id: "limit", header: text.limit, numeric: true, cell: (row) => formatLimit(row.limit) },
  { id: "raised", header: text.raised, cell: (row) => <Moment at={row.raised_at} /> },
  { id: "returned", header: text.returned, cell: (row) => <Moment at={row.returned_at} /> },
  { id: "age", header: text.age, numeric: true, cell: (row) => <Age at={row.raised_at} /> },
  { id: "state", header: text.state, cell: (row) => t.alarmState[row.state] },
];

const command: TableColumn<Alarm> = { id: "command", header: text.command, cell: (row) => <AlarmButton target={row} /> };

export function ActiveAlarms({ tenant }: { tenant: string }) {
  const query = useQuery(activeAlarmsQuery(tenant));
  const shown = useMay("operate_alarms") ? [...columns, command] : columns;
  return (
    <Loadable query={query}>
      {({ items, next_cursor }) =>
        items.length === 0 ? (
          <p className="panel dim">{t.alarms.noneActive}</p>
        ) : (
          <>
            <DataTable label={t.alarms.active} columns={shown} rows={[...items].sort(compareNewestFirst)} rowKey={alarmKey} />
            {next_cursor !== null && <p className="dim">{t.alarms.truncated(items.length)}</p>}
          </>
        )
      }
    </Loadable>
  );
}
