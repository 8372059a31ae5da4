import { Button } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { journalQuery } from "../api/queries";
import type { Transition } from "../api/types";
import { alarmKey, isAnnunciated } from "../lib/alarms";
import { NONE, formatLatency, formatLimit, formatValue, parseInstant } from "../lib/format";
import { t } from "../text";
import { DataTable, type TableColumn } from "./DataTable";
import { Loadable } from "./Loadable";
import { MachineLink } from "./MachineLink";
import { Moment } from "./Moment";
import { PriorityMark } from "./PriorityMark";

const text = t.alarms.columns;

function latency({ decided_at, stored_at }: Transition): string {
  const decided = parseInstant(decided_at);
  const stored = parseInstant(stored_at);
  return decided === null || stored === null ? NONE : formatLatency(stored - decided);
}

const columns: TableColumn<Transition>[] = [
  { id: "decided", header: text.decided, cell: (row) => <Moment at={row.decided_at} /> },
  { id: "change", header: text.change, cell: (row) => t.cause[row.cause] },
  { id: "priority", header: text.priority, cell: (row) => <PriorityMark priority={row.priority} active={isAnnunciated(row.to)} /> },
  { id: "message", header: text.message, cell: (row) => row.message },
  { id: "machine", header: text.machine, cell: (row) => <MachineLink {...row} /> },
  { id: "value", header: text.value, numeric: true, cell: (row) => formatValue(row.value) },
  { id: "limit", header: text.limit, numeric: true, cell: (row) => formatLimit(row.limit) },
  { id: "state", header: text.state, cell: (row) => t.alarmState[row.to] },
  { id: "who", header: text.who, cell: (row) => [row.actor, row.comment].filter(Boolean).join(": ") },
  { id: "latency", header: text.latency, help: t.alarms.latencyHelp, numeric: true, cell: latency },
];

const rowKey = (row: Transition) => `${alarmKey(row)}/${row.cause}/${row.decided_at}`;

export function AlarmJournal({ tenant }: { tenant: string }) {
  const query = useInfiniteQuery(journalQuery(tenant));
  return (
    <Loadable query={query}>
      {({ pages }) => {
        const rows = pages.flatMap((page) => page.items);
        if (rows.length === 0) return <p className="panel dim">{t.alarms.noneJournal}</p>;
        return (
          <>
            <DataTable label={t.alarms.journal} columns={columns} rows={rows} rowKey={rowKey} />
            {query.hasNextPage && (
              <Button variant="default" mt="sm" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                {t.alarms.more}
              </Button>
            )}
          </>
        );
      }}
    </Loadable>
  );
}
