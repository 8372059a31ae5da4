/** The delivery ledger: what came, what became of it, and whether the two agree. */
import { useQuery } from "@tanstack/react-query";
import { ledgerQuery } from "../api/queries";
import type { Ledger } from "../api/types";
import { NONE, formatBytes, formatCount, formatNumber } from "../lib/format";
import { bytesPerSample, lostSamples, rejectedTotal, unexplained } from "../lib/ledger";
import { t } from "../text";
import { DataTable, type TableColumn } from "./DataTable";
import css from "./LedgerTable.module.css";
import { Loadable } from "./Loadable";
import { Moment } from "./Moment";

const text = t.data.columns;
/** More gaps than this are a story for the API, not for a table cell. */
const GAPS_SHOWN = 5;

const count = (id: string, header: string, of: (row: Ledger) => number): TableColumn<Ledger> => ({
  id,
  header,
  numeric: true,
  cell: (row) => formatCount(of(row)),
});

const columns: TableColumn<Ledger>[] = [
  { id: "gateway", header: text.gateway, cell: (row) => <Life row={row} /> },
  { id: "stream", header: text.stream, cell: (row) => t.stream[row.stream] },
  { id: "balance", header: text.balance, cell: (row) => <Balance row={row} /> },
  count("received", text.received, (row) => row.received),
  { id: "stored", header: text.stored, numeric: true, cell: (row) => <Stored row={row} /> },
  count("duplicate", text.duplicate, (row) => row.duplicate),
  { id: "rejected", header: text.rejected, numeric: true, cell: (row) => <Rejected row={row} /> },
  { id: "gaps", header: text.gaps, cell: (row) => <Gaps row={row} /> },
  count("samples", text.samples, (row) => row.samples_stored),
  { id: "bytes", header: text.bytes, numeric: true, cell: (row) => <Bytes row={row} /> },
  { id: "last", header: text.last, cell: (row) => <Moment at={row.last_received_at} /> },
];

/** One account per life of a gateway's store: after a new disk the same gateway has a second one. */
function Life({ row }: { row: Ledger }) {
  return (
    <span className={css["id"]}>
      {row.gateway}
      <span className={css["detail"]}>{t.data.epoch(row.epoch ?? NONE)}</span>
    </span>
  );
}

/** "Through" is what the gateway may free: the end of the unbroken row of batches. */
function Stored({ row }: { row: Ledger }) {
  return (
    <>
      {formatCount(row.stored)}
      <span className={css["detail"]}>{t.data.through(formatCount(row.committed_through))}</span>
    </>
  );
}

function Bytes({ row }: { row: Ledger }) {
  const each = bytesPerSample(row);
  return (
    <>
      {formatBytes(row.bytes_received)}
      {each !== null && <span className={css["detail"]}>{t.data.perSample(formatNumber(each))}</span>}
    </>
  );
}

function Balance({ row }: { row: Ledger }) {
  const rest = unexplained(row);
  if (rest === 0) return <span className={css["balanced"]}>✓ {t.data.balanced}</span>;
  return <strong>✗ {t.data.unbalanced(formatCount(rest))}</strong>;
}

function Rejected({ row }: { row: Ledger }) {
  const reasons = row.rejected.filter((each) => each.count > 0);
  return (
    <>
      {formatCount(rejectedTotal(row))}
      {reasons.map((each) => (
        <span key={each.reason} className={css["detail"]}>
          {formatCount(each.count)} {each.reason.replaceAll("_", " ")}
        </span>
      ))}
    </>
  );
}

function Gaps({ row }: { row: Ledger }) {
  if (row.gaps.length + row.dropped.length === 0) return <span className="dim">{t.data.noGaps}</span>;
  const shown = row.gaps.slice(-GAPS_SHOWN);
  return (
    <div className={css["gaps"]}>
      <strong>{t.data.lost(formatCount(lostSamples(row)))}</strong>
      {shown.map((gap) => (
        <div key={gap.first} className={css["detail"]}>
          {t.data.gap(formatCount(gap.first), formatCount(gap.last), formatCount(gap.samples), gap.reason)}
        </div>
      ))}
      {row.dropped.slice(-GAPS_SHOWN).map((each) => (
        <div key={each.from + each.reason} className={css["detail"]}>
          {t.data.dropped(formatCount(each.samples), each.reason)}: <Moment at={each.from} /> – <Moment at={each.to} />
        </div>
      ))}
      {row.gaps.length > shown.length && <div>{t.data.moreGaps(row.gaps.length - shown.length)}</div>}
    </div>
  );
}

export function LedgerTable({ tenant }: { tenant: string }) {
  const query = useQuery(ledgerQuery(tenant));
  return (
    <Loadable query={query}>
      {({ items }) =>
        items.length === 0 ? (
          <p className="panel dim">{t.data.noLedger}</p>
        ) : (
          <DataTable label={t.data.ledger} columns={columns} rows={items} rowKey={(row) => `${row.gateway}/${row.epoch}/${row.stream}`} />
        )
      }
    </Loadable>
  );
}
