//! A table as Parquet: zstd, row groups of 65,536 rows, which is what is held in memory at a time.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::table_file::{Cell, Column, Kind};

/// Rows of a group.
const GROUP_ROWS: usize = 65_536;

/// Values of one type, and of each row whether it has one.
struct Values<T> {
    values: Vec<T>,
    present: Vec<i16>,
}

impl<T> Values<T> {
    fn new() -> Self {
        Self { values: Vec::new(), present: Vec::new() }
    }

    fn push(&mut self, value: Option<T>) {
        self.present.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    fn write<D: DataType<T = T>>(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        let mut column = group.next_column()?.context("the schema has as many columns as the table")?;
        column.typed::<D>().write_batch(&self.values, Some(&self.present), None)?;
        column.close()?;
        self.values.clear();
        self.present.clear();
        Ok(())
    }
}

/// A column of the file.
enum Leaf {
    Text(Values<ByteArray>),
    Time(Values<i64>),
    Float(Values<f64>),
    Int(Values<i64>),
    Bool(Values<bool>),
}

impl Leaf {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text | Kind::Value => Self::Text(Values::new()),
            Kind::Time => Self::Time(Values::new()),
            Kind::Float => Self::Float(Values::new()),
            Kind::Int => Self::Int(Values::new()),
            Kind::Bool => Self::Bool(Values::new()),
        }
    }

    /// Takes a cell of its own type; another is empty here.
    fn push(&mut self, cell: Cell<'_>) {
        match self {
            Self::Text(values) => values.push(match cell {
                Cell::Text(text) => Some(ByteArray::from(text.as_bytes().to_vec())),
                Cell::Empty | Cell::Time(_) | Cell::Float(_) | Cell::Int(_) | Cell::Bool(_) => None,
            }),
            Self::Time(values) => {
                values.push(if let Cell::Time(at) = cell { Some(at.micros()) } else { None })
            }
            Self::Float(values) => values.push(if let Cell::Float(x) = cell { Some(x) } else { None }),
            Self::Int(values) => values.push(if let Cell::Int(i) = cell { Some(i) } else { None }),
            Self::Bool(values) => values.push(if let Cell::Bool(b) = cell { Some(b) } else { None }),
        }
    }

    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<()> {
        match self {
            Self::Text(values) => values.write::<ByteArrayType>(group),
            Self::Time(values) | Self::Int(values) => values.write::<Int64Type>(group),
            Self::Float(values) => values.write::<DoubleType>(group),
            Self::Bool(values) => values.write::<BoolType>(group),
        }
    }
}

/// The columns that a column of a table becomes: a value of any type becomes one for each.
fn leaves(column: &Column) -> Vec<(String, Kind)> {
    if column.kind != Kind::Value {
        return vec![(column.name.to_owned(), column.kind)];
    }
    let typed = [Kind::Bool, Kind::Int, Kind::Float, Kind::Text];
    typed.map(|kind| (format!("{}_{}", column.name, suffix(kind)), kind)).into()
}

const fn suffix(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Time => "time",
        Kind::Text | Kind::Value => "text",
    }
}

fn field(name: &str, kind: Kind) -> Result<Arc<Type>> {
    let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
    let (physical, logical) = match kind {
        Kind::Text | Kind::Value => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Kind::Time => (Physical::INT64, Some(micros)),
        Kind::Float => (Physical::DOUBLE, None),
        Kind::Int => (Physical::INT64, None),
        Kind::Bool => (Physical::BOOLEAN, None),
    };
    let built = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(built))
}

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    writer: SerializedFileWriter<File>,
    /// For each column of the table the columns of the file.
    columns: Vec<Vec<Leaf>>,
    rows: usize,
}

impl ParquetFile {
    pub(super) fn new(file: File, columns: &[Column]) -> Result<Self> {
        let leaves: Vec<Vec<(String, Kind)>> = columns.iter().map(leaves).collect();
        let fields: Vec<_> =
            leaves.iter().flatten().map(|(name, kind)| field(name, *kind)).collect::<Result<_>>()?;
        let schema = Type::group_type_builder("rows").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("edge-agent ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        let columns = leaves.iter().map(|of| of.iter().map(|(_, kind)| Leaf::new(*kind)).collect()).collect();
        Ok(Self { writer, columns, rows: 0 })
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) -> Result<()> {
        for (leaves, cell) in self.columns.iter_mut().zip(cells) {
            leaves.iter_mut().for_each(|leaf| leaf.push(*cell));
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for leaf in self.columns.iter_mut().flatten() {
            leaf.write(&mut group)?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.finish()?;
        Ok(self.writer.inner().sync_all()?)
    }
}
