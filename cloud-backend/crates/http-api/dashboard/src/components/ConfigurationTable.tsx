/** What each gateway should run and what it says it runs; it is changed elsewhere. */
import { useQuery } from "@tanstack/react-query";
import { gatewaysQuery } from "../api/queries";
import type { Gateway } from "../api/types";
import { editedFiles, isStuck, stuckReason } from "../lib/configuration";
import { NONE } from "../lib/format";
import { t } from "../text";
import { DataTable, type TableColumn } from "./DataTable";
import { Loadable } from "./Loadable";
import { Moment } from "./Moment";

const text = t.configuration;

const columns: TableColumn<Gateway>[] = [
  { id: "gateway", header: text.columns.gateway, cell: (row) => row.id },
  { id: "state", header: text.columns.state, cell: (row) => <State gateway={row} /> },
  { id: "desired", header: text.columns.desired, numeric: true, cell: (row) => row.configuration.desired ?? NONE },
  { id: "applied", header: text.columns.applied, numeric: true, cell: (row) => row.configuration.applied ?? NONE },
  { id: "drift", header: text.columns.drift, cell: (row) => editedFiles(row.configuration) || NONE },
  {
    id: "reported",
    header: text.columns.reported,
    cell: (row) => <Moment at={row.configuration.report?.received_at ?? null} />,
  },
];

function State({ gateway: { configuration } }: { gateway: Gateway }) {
  const name = text.rollouts[configuration.rollout];
  if (!isStuck(configuration)) return <>{name}</>;
  return (
    <>
      <strong>{name}</strong>
      <div className="dim" title={configuration.report?.detail}>
        {stuckReason(configuration)}
      </div>
    </>
  );
}

export function ConfigurationTable({ tenant }: { tenant: string }) {
  const query = useQuery(gatewaysQuery(tenant));
  return (
    <Loadable query={query}>
      {({ items }) =>
        items.length === 0 ? (
          <p className="panel dim">{t.data.noGateways}</p>
        ) : (
          <DataTable label={text.heading} columns={columns} rows={items} rowKey={(row) => row.id} />
        )
      }
    </Loadable>
  );
}
