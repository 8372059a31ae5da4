import type { Alarm, AlarmDefinition, MachineDetail } from "../api/types";
import { limitSign } from "../lib/alarms";
import { formatDuration, formatLimit, parseInstant, unitLabel } from "../lib/format";
import { useNow } from "../lib/useNow";
import { t } from "../text";
import { AlarmButton, useMay } from "./AlarmCommands";
import type { AlarmTarget } from "./AlarmDialog";
import { DataTable, type TableColumn } from "./DataTable";
import { PriorityMark } from "./PriorityMark";

interface Row {
  target: AlarmTarget;
  definition: AlarmDefinition;
  active: Alarm | undefined;
  hidden: Alarm | undefined;
  tagName: string;
  unit: string;
}

const columns: TableColumn<Row>[] = [
  {
    id: "priority",
    header: t.machine.priority,
    cell: ({ definition, active }) => <PriorityMark priority={definition.priority} active={active !== undefined} />,
  },
  { id: "alarm", header: t.machine.alarm, cell: ({ definition }) => definition.message },
  {
    id: "condition",
    header: t.machine.condition,
    cell: condition,
  },
  { id: "deadband", header: t.machine.deadband, numeric: true, cell: ({ definition }) => formatLimit(definition.deadband) },
  { id: "status", header: t.machine.status, cell: ({ active, hidden }) => <Status active={active} hidden={hidden} /> },
];
const command: TableColumn<Row> = { id: "command", header: t.alarms.columns.command, cell: ({ target }) => <AlarmButton target={target} /> };

function condition({ definition, tagName, unit }: Row): string {
  if (definition.expression !== null) return definition.expression;
  const sign = limitSign(definition.kind) ?? t.kind[definition.kind];
  const limit = definition.limit === null ? "" : `${formatLimit(definition.limit)} ${limitUnit(definition, unit)}`;
  return `${tagName} ${sign} ${limit}`.trim();
}

function limitUnit({ kind }: AlarmDefinition, unit: string): string {
  if (kind === "stale") return "s";
  return kind === "rate_of_change" ? `${unit}/s` : unit;
}

function Status({ active, hidden }: { active: Alarm | undefined; hidden: Alarm | undefined }) {
  const now = useNow();
  const raised = parseInstant(active?.raised_at);
  if (hidden !== undefined) return <strong>{t.alarmState[hidden.state]}</strong>;
  if (active === undefined) return <span className="dim">{t.machine.normal}</span>;
  return (
    <>
      <strong>{t.alarmState[active.state]}</strong> {t.machine.since(formatDuration(now - (raised ?? now)))}
    </>
  );
}

interface MachineAlarmsProps {
  machine: MachineDetail;
  active: Alarm[];
  hidden: Alarm[];
}

export function MachineAlarms({ machine, active, hidden }: MachineAlarmsProps) {
  const shown = useMay("operate_alarms") ? [...columns, command] : columns;
  if (machine.alarms.length === 0) return <p className="panel dim">{t.machine.noAlarms}</p>;
  const rows = machine.alarms.map((definition): Row => {
    const tag = machine.tags.find((each) => each.id === definition.tag);
    const ours = (each: Alarm) => each.alarm === definition.id;
    const stands = active.find((each) => each.active && ours(each));
    const covered = hidden.find(ours);
    const { occurrence, state } = stands ?? covered ?? { occurrence: 0, state: "NORM" as const };
    return {
      target: { gateway: machine.gateway, machine: machine.id, alarm: definition.id, message: definition.message, occurrence, state },
      definition,
      active: stands,
      hidden: covered,
      tagName: tag?.name ?? definition.tag ?? "",
      unit: unitLabel(tag?.unit ?? ""),
    };
  });
  return <DataTable label={t.machine.alarms} columns={shown} rows={rows} rowKey={(row) => row.definition.id} />;
}
