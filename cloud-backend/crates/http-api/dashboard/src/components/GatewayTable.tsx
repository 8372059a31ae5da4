import { useQuery } from "@tanstack/react-query";
import { gatewaysQuery } from "../api/queries";
import type { Certificate, Gateway } from "../api/types";
import { certificateUrgency, certificateWords } from "../lib/certificate";
import { NONE } from "../lib/format";
import { updateFailed, versionWords } from "../lib/update";
import { useGatewayLive } from "../live/LiveProvider";
import { t } from "../text";
import { DataTable, type TableColumn } from "./DataTable";
import { Loadable } from "./Loadable";
import { Moment } from "./Moment";
import { PriorityMark } from "./PriorityMark";

const text = t.data.columns;

const columns: TableColumn<Gateway>[] = [
  { id: "gateway", header: text.gateway, cell: (row) => row.id },
  { id: "status", header: text.status, cell: (row) => <Status gateway={row} /> },
  { id: "seen", header: text.last, cell: (row) => <Moment at={row.last_seen_at} /> },
  { id: "machines", header: text.machines, numeric: true, cell: (row) => row.machines },
  { id: "version", header: text.version, cell: (row) => <Version gateway={row} /> },
  { id: "certificate", header: text.certificate, cell: (row) => <CertificateLeft certificate={row.certificate} /> },
  { id: "epoch", header: text.epoch, cell: (row) => <code>{row.epoch ?? NONE}</code> },
];

function Status({ gateway }: { gateway: Gateway }) {
  const online = useGatewayLive(gateway.id) ?? gateway.online;
  return online ? <>{t.data.online}</> : <strong>{t.data.offline}</strong>;
}

function Version({ gateway }: { gateway: Gateway }) {
  const words = versionWords(gateway);
  return updateFailed(gateway) ? <strong title={gateway.update.detail}>{words}</strong> : <>{words}</>;
}

function CertificateLeft({ certificate }: { certificate: Certificate | null }) {
  if (certificate === null) return <>{NONE}</>;
  const words = certificateWords(certificate);
  const urgency = certificateUrgency(certificate);
  if (urgency === null) return <>{words}</>;
  return (
    <>
      <PriorityMark priority={urgency} word="absent" /> <strong>{words}</strong>
    </>
  );
}

export function GatewayTable({ tenant }: { tenant: string }) {
  const query = useQuery(gatewaysQuery(tenant));
  return (
    <Loadable query={query}>
      {({ items }) =>
        items.length === 0 ? (
          <p className="panel dim">{t.data.noGateways}</p>
        ) : (
          <DataTable label={t.data.gateways} columns={columns} rows={items} rowKey={(row) => row.id} />
        )
      }
    </Loadable>
  );
}
