"""Prints each row of an object of the archive, as DuckDB or pyarrow reads it, in the order of the file.

read_archive.py duckdb|pyarrow FILE [KEY IN HEX]
"""

import struct
import sys

COLUMNS = [
    "machine", "tag", "tag_number", "time", "is_source_time", "gateway_time", "source_time", "quality",
    "value_bool", "value_int", "value_scaled", "decimals", "value_float", "value_double", "value_text",
    "epoch", "sequence", "is_thinned",
]


def with_duckdb(path, key):
    import duckdb

    connection = duckdb.connect()
    source = "read_parquet(?)"
    if key is not None:
        connection.execute(f"PRAGMA add_parquet_key('object', '{key}')")
        source = "read_parquet(?, encryption_config = {footer_key: 'object'})"
    times = {"time", "gateway_time", "source_time"}
    names = [f"epoch_us({name})" if name in times else name for name in COLUMNS]
    number = "coalesce(value_double, value_float, value_scaled / power(10, decimals), value_int)"
    rows = connection.execute(f"SELECT {', '.join(names)}, {number} FROM {source}", [path]).fetchall()
    return [(dict(zip(COLUMNS, row)), row[-1]) for row in rows]


def with_pyarrow(path, key):
    import pyarrow as pa
    import pyarrow.parquet as pq

    properties = None
    if key is not None:
        import pyarrow.parquet.encryption as pe

        properties = pe.create_decryption_properties(bytes.fromhex(key))
    table = pq.ParquetFile(path, decryption_properties=properties).read()
    for name in ("time", "gateway_time", "source_time"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.int64()))

    def number(row):
        if row["value_scaled"] is not None:
            return row["value_scaled"] / 10.0 ** row["decimals"]
        for name in ("value_double", "value_float", "value_int"):
            if row[name] is not None:
                return row[name]

    return [(row, number(row)) for row in table.to_pylist()]


def value(row, number):
    if row["value_text"] is not None:
        return f"text {row['value_text']}"
    if row["value_bool"] is not None:
        return f"bool {str(row['value_bool']).lower()}"
    if row["value_int"] is not None:
        return f"int {row['value_int']}"
    if number is None:
        return "none"
    return "float nan" if number != number else f"float {struct.pack('>d', number).hex()}"


def line(row, number):
    def optional(name):
        return "-" if row[name] is None else str(row[name])

    def flag(name):
        return str(row[name]).lower()

    return "|".join([
        row["machine"], row["tag"], str(row["tag_number"]), str(row["time"]), flag("is_source_time"),
        optional("gateway_time"), optional("source_time"), str(row["quality"]), value(row, number),
        str(row["epoch"]), str(row["sequence"]), flag("is_thinned"),
    ])


def main():
    engine, path, key = sys.argv[1], sys.argv[2], (sys.argv[3:] or [None])[0]
    for row, number in {"duckdb": with_duckdb, "pyarrow": with_pyarrow}[engine](path, key):
        print(line(row, number))


main()
