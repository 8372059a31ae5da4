//! A table that is written row by row, as CSV or Parquet. A column of kind [`Kind::Value`] holds a value of any type:
//! CSV writes it as text with its type beside it, Parquet has a column for each type.

use std::fs::File;
use std::io::BufWriter;

use anyhow::Result;
use plant_model::Timestamp;

use super::parquet::ParquetFile;
use crate::buffer_view::written;

/// What a column holds. Every cell may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Microseconds since 1970, UTC.
    Time,
    Float,
    Int,
    Bool,
    Value,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Empty,
    Text(&'a str),
    Time(Timestamp),
    Float(f64),
    Int(i64),
    Bool(bool),
}

/// A table on its way into a file.
pub(super) enum TableFile {
    Csv(Box<CsvFile>),
    Parquet(Box<ParquetFile>),
}

impl TableFile {
    pub(super) fn csv(file: File, columns: &'static [Column]) -> Result<Self> {
        CsvFile::new(file, columns).map(Box::new).map(Self::Csv)
    }

    pub(super) fn parquet(file: File, columns: &'static [Column]) -> Result<Self> {
        ParquetFile::new(file, columns).map(Box::new).map(Self::Parquet)
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        match self {
            Self::Csv(file) => file.row(cells),
            Self::Parquet(file) => file.row(cells),
        }
    }

    /// Writes the end; it is on the disk when this returns.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Csv(file) => file.finish(),
            Self::Parquet(file) => file.finish(),
        }
    }
}

/// RFC 4180, with a header, times as RFC 3339.
pub(super) struct CsvFile {
    writer: csv::Writer<BufWriter<File>>,
    columns: &'static [Column],
}

impl CsvFile {
    fn new(file: File, columns: &'static [Column]) -> Result<Self> {
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .from_writer(BufWriter::with_capacity(1 << 16, file));
        for column in columns {
            writer.write_field(column.name)?;
            if column.kind == Kind::Value {
                writer.write_field("type")?;
            }
        }
        writer.write_record(None::<&[u8]>)?;
        Ok(Self { writer, columns })
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        for (column, cell) in self.columns.iter().zip(cells) {
            let (text, kind) = shown(*cell);
            self.writer.write_field(text)?;
            if column.kind == Kind::Value {
                self.writer.write_field(kind)?;
            }
        }
        Ok(self.writer.write_record(None::<&[u8]>)?)
    }

    fn finish(self) -> Result<()> {
        let buffered = self.writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
        let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(file.sync_all()?)
    }
}

/// A cell as text, and the type of a value.
fn shown(cell: Cell<'_>) -> (String, &'static str) {
    match cell {
        Cell::Empty => (String::new(), ""),
        Cell::Text(text) => (text.to_owned(), "text"),
        Cell::Time(at) => (written(at), "time"),
        Cell::Float(x) => (x.to_string(), "float"),
        Cell::Int(i) => (i.to_string(), "int"),
        Cell::Bool(b) => (b.to_string(), "bool"),
    }
}
