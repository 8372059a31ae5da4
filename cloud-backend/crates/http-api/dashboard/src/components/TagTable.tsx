/** Every tag with its newest value, live where the stream has brought one; a bad value is a dash and its reason. */
import type { MachineDetail, Tag } from "../api/types";
import { formatDuration, formatNamed, unitLabel } from "../lib/format";
import { newestReading } from "../lib/readings";
import { useNow } from "../lib/useNow";
import type { Reading } from "../live/reducer";
import { useMachineLive } from "../live/LiveProvider";
import { t } from "../text";
import { DataTable, type TableColumn } from "./DataTable";

interface Row {
  tag: Tag;
  reading: Reading | null;
}

const columns: TableColumn<Row>[] = [
  { id: "tag", header: t.machine.tag, cell: ({ tag }) => <span title={tag.id}>{tag.name}</span> },
  {
    id: "value",
    header: t.machine.value,
    numeric: true,
    cell: ({ tag, reading }) => <span data-value>{formatNamed(reading?.bad ? null : reading?.value, tag.enumeration, tag.data_type)}</span>,
  },
  { id: "unit", header: t.machine.unit, cell: ({ tag }) => unitLabel(tag.unit) },
  { id: "quality", header: t.machine.quality, cell: ({ reading }) => <Quality reading={reading} /> },
  { id: "age", header: t.machine.age, numeric: true, cell: ({ reading }) => <AgeOf reading={reading} /> },
];

function Quality({ reading }: { reading: Reading | null }) {
  if (reading === null) return <span className="dim">{t.machine.never}</span>;
  return reading.bad === null ? <span className="dim">Good</span> : <strong>{reading.bad}</strong>;
}

function AgeOf({ reading }: { reading: Reading | null }) {
  const now = useNow();
  if (reading === null) return null;
  // Not marked when old: a machine that reports changes only may say nothing about a tag for hours.
  return <>{formatDuration(now - reading.at)}</>;
}

export function TagTable({ machine }: { machine: MachineDetail }) {
  const live = useMachineLive(machine.gateway, machine.id);
  const rows = machine.tags.map((tag) => ({ tag, reading: newestReading(tag, live?.readings[tag.id]) }));
  return <DataTable label={t.machine.tags} columns={columns} rows={rows} rowKey={(row) => row.tag.id} narrow="table" />;
}
