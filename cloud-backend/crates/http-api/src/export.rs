//! Samples as files: CSV (RFC 4180), Parquet and lines of JSON, block by block.
//!
//! One row a sample, in order of time: `time` and `source_time` (RFC 3339 with microseconds in CSV, timestamps in Parquet),
//! `tag`, the value (`value` and `type` in CSV; a column for each type in
//! Parquet), `quality` by name and `quality_code`.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use plant_model::{Sample, TagId, Timestamp, Value};
use thiserror::Error;

use crate::body::TagValue;

/// A form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Json,
}

impl FileFormat {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::Csv, Self::Parquet, Self::Json];

    /// How the name of such a file ends.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Json => "json",
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Json => "application/x-ndjson",
        }
    }
}

/// Why a row could not be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// As CSV.
    #[error("a row cannot be written as CSV")]
    Csv(#[from] csv::Error),
    /// As Parquet.
    #[error("rows cannot be written as Parquet")]
    Parquet(#[from] ParquetError),
    /// To memory.
    #[error("rows cannot be written")]
    Write(#[from] std::io::Error),
}

/// Samples that become a file, piece by piece.
pub struct SampleFile {
    tags: Vec<TagId>,
    form: Form,
}

enum Form {
    Csv {
        has_header: bool,
    },
    Json,
    /// Boxed: it is much larger.
    Parquet(Box<SerializedFileWriter<Vec<u8>>>),
}

impl SampleFile {
    /// Of samples of these tags.
    ///
    /// # Errors
    /// The file cannot be begun.
    pub fn new(format: FileFormat, tags: Vec<TagId>) -> Result<Self, ExportError> {
        let form = match format {
            FileFormat::Csv => Form::Csv { has_header: false },
            FileFormat::Json => Form::Json,
            FileFormat::Parquet => {
                let compression = Compression::ZSTD(ZstdLevel::default());
                let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
                Form::Parquet(Box::new(SerializedFileWriter::new(Vec::new(), schema()?, properties)?))
            }
        };
        Ok(Self { tags, form })
    }

    /// The next bytes of the file: with these samples, one list a tag, each in order of time and later than those before.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn block(&mut self, samples: &[Vec<Sample>]) -> Result<Bytes, ExportError> {
        let mut rows: Vec<(&TagId, &Sample)> = self
            .tags
            .iter()
            .zip(samples)
            .flat_map(|(tag, of_tag)| of_tag.iter().map(move |s| (tag, s)))
            .collect();
        rows.sort_by_key(|(_, sample)| sample.timestamp());
        match &mut self.form {
            Form::Csv { has_header } => csv_rows(&rows, !std::mem::replace(has_header, true)),
            Form::Json => json_rows(&rows),
            Form::Parquet(_) if rows.is_empty() => Ok(Bytes::new()),
            Form::Parquet(writer) => {
                row_group(writer, &rows)?;
                writer.flush()?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
        }
    }

    /// The last bytes of the file.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn finish(self) -> Result<Bytes, ExportError> {
        match self.form {
            Form::Csv { has_header: true } | Form::Json => Ok(Bytes::new()),
            Form::Csv { has_header: false } => csv_rows(&[], true),
            Form::Parquet(mut writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.inner_mut()).into())
            }
        }
    }
}

fn csv_rows(rows: &[(&TagId, &Sample)], with_header: bool) -> Result<Bytes, ExportError> {
    let mut out = csv::Writer::from_writer(Vec::new());
    if with_header {
        out.write_record(["time", "source_time", "tag", "value", "type", "quality", "quality_code"])?;
    }
    for (tag, sample) in rows {
        let (value, kind) = match &sample.value {
            None => (String::new(), ""),
            Some(value) => (value.to_string(), type_name(value)),
        };
        let source = sample.source_timestamp.map(written).unwrap_or_default();
        let code = sample.quality.status_code().to_string();
        let at = written(sample.timestamp());
        out.write_record([&at, &source, tag.as_str(), &value, kind, sample.quality.name(), &code])?;
    }
    out.flush()?;
    Ok(out.into_inner().map_err(csv::IntoInnerError::into_error)?.into())
}

fn json_rows(rows: &[(&TagId, &Sample)]) -> Result<Bytes, ExportError> {
    let mut out = Vec::new();
    for (tag, sample) in rows {
        let line = serde_json::json!({
            "time": written(sample.timestamp()),
            "source_time": sample.source_timestamp.map(written),
            "tag": tag.as_str(),
            "value": sample.value.as_ref().map(TagValue::from),
            "quality": sample.quality.name(),
            "quality_code": sample.quality.status_code(),
        });
        serde_json::to_writer(&mut out, &line).map_err(std::io::Error::from)?;
        out.push(b'\n');
    }
    Ok(out.into())
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Text(_) => "text",
    }
}

/// RFC 3339 with microseconds; one out of its range as the nearest within.
fn written(at: Timestamp) -> String {
    let limit = if at.micros() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    format!("{:.6}", jiff::Timestamp::from_microsecond(at.micros()).unwrap_or(limit))
}

fn schema() -> Result<Arc<Type>, ParquetError> {
    let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
    let text = || (Physical::BYTE_ARRAY, Some(LogicalType::String));
    let columns = [
        ("time", (Physical::INT64, Some(micros.clone()))),
        ("source_time", (Physical::INT64, Some(micros))),
        ("tag", text()),
        ("value_bool", (Physical::BOOLEAN, None)),
        ("value_int", (Physical::INT64, None)),
        ("value_float", (Physical::DOUBLE, None)),
        ("value_text", text()),
        ("quality", text()),
        ("quality_code", (Physical::INT64, None)),
    ];
    let field = |(name, (physical, logical)): (&str, (Physical, Option<LogicalType>))| {
        let built = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()?;
        Ok(Arc::new(built))
    };
    let fields = columns.into_iter().map(field).collect::<Result<_, ParquetError>>()?;
    Ok(Arc::new(Type::group_type_builder("samples").with_fields(fields).build()?))
}

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn column<D: DataType>(
    group: &mut Group<'_>,
    cells: impl Iterator<Item = Option<D::T>>,
) -> Result<(), ParquetError> {
    let (mut values, mut present) = (Vec::new(), Vec::new());
    for cell in cells {
        present.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("there are more columns than the schema has".to_owned()));
    };
    column.typed::<D>().write_batch(&values, Some(&present), None)?;
    column.close()
}

fn row_group(
    writer: &mut SerializedFileWriter<Vec<u8>>,
    rows: &[(&TagId, &Sample)],
) -> Result<(), ParquetError> {
    let text = |text: &str| Some(ByteArray::from(text.as_bytes().to_vec()));
    let values = || rows.iter().map(|(_, sample)| sample.value.as_ref());
    let mut group = writer.next_row_group()?;
    column::<Int64Type>(&mut group, rows.iter().map(|(_, s)| Some(s.timestamp().micros())))?;
    column::<Int64Type>(&mut group, rows.iter().map(|(_, s)| s.source_timestamp.map(Timestamp::micros)))?;
    column::<ByteArrayType>(&mut group, rows.iter().map(|(tag, _)| text(tag.as_str())))?;
    column::<BoolType>(
        &mut group,
        values().map(|v| if let Some(Value::Bool(b)) = v { Some(*b) } else { None }),
    )?;
    column::<Int64Type>(
        &mut group,
        values().map(|v| if let Some(Value::Int(i)) = v { Some(*i) } else { None }),
    )?;
    column::<DoubleType>(
        &mut group,
        values().map(|v| if let Some(Value::Float(x)) = v { Some(*x) } else { None }),
    )?;
    column::<ByteArrayType>(
        &mut group,
        values().map(|v| if let Some(Value::Text(t)) = v { text(t) } else { None }),
    )?;
    column::<ByteArrayType>(&mut group, rows.iter().map(|(_, s)| text(s.quality.name())))?;
    column::<Int64Type>(&mut group, rows.iter().map(|(_, s)| Some(s.quality.status_code().into())))?;
    group.close().map(drop)
}
