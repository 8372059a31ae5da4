/**
 * A table. On a narrow screen either one card per row, or it scrolls sideways within itself, reachable by keyboard.
 * The roles are spelled out because a browser forgets them when style sheets lay a table out as cards.
 */
import { Table } from "@mantine/core";
import type { ReactNode } from "react";
import css from "./DataTable.module.css";

export interface TableColumn<Row> {
  id: string;
  header: string;
  /** Numbers stand under each other at the right. */
  numeric?: boolean;
  /** Explains the header. */
  help?: string;
  cell: (row: Row) => ReactNode;
}

interface DataTableProps<Row> {
  label: string;
  columns: readonly TableColumn<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  /** Cards for rows one reads, a table for columns one compares. */
  narrow?: "cards" | "table";
}

export function DataTable<Row>({ label, columns, rows, rowKey, narrow = "cards" }: DataTableProps<Row>) {
  return (
    <div className={css["scroll"]} role="region" aria-label={label} tabIndex={0} data-narrow={narrow}>
      <Table verticalSpacing={5} horizontalSpacing="xs" highlightOnHover className={css["table"] ?? ""} role="table">
        <Table.Thead role="rowgroup">
          <Table.Tr role="row">
            {columns.map((column) => (
              <Table.Th key={column.id} scope="col" role="columnheader" data-numeric={column.numeric} title={column.help}>
                {column.header}
              </Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody role="rowgroup">
          {rows.map((row) => (
            <Table.Tr key={rowKey(row)} role="row">
              {columns.map((column) => (
                <Table.Td key={column.id} role="cell" data-label={column.header} data-numeric={column.numeric}>
                  {column.cell(row)}
                </Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
