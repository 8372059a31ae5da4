//! The columns of an object, and how they lie.
//!
//! What they mean is told in `COLUMNS.md`.
//!
//! # Where the bytes are
//!
//! Tags that are read together have the same instants and batches. `time` and `sequence` are written plain, in pages of up
//! to [`SHARED_PAGE_BYTES`], so that what repeats lies in one frame of zstd: the second tag costs next to nothing. To read
//! one tag, such a page is fetched (compressed: about 0.15 bytes a row) and decompressed as a whole. Values of a machine are
//! in pages of [`VALUE_PAGE_ROWS`], so that a tag is fetched alone.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;

/// Most rows of a row group: a machine of 24 tags at 1 Hz. Bounds what is kept compressed until the group is written, and
/// what a reader of a whole machine has to fetch at once.
pub(crate) const GROUP_ROWS_MAX: usize = 1 << 21;

/// Longest page, before compression, of columns that repeat from tag to tag: as many rows as a row group has. The window of
/// zstd 3 is 2 MB: 260,000 samples of a tag.
const SHARED_PAGE_BYTES: usize = 8 * GROUP_ROWS_MAX;

/// Rows of a page of values: a sixth of a day at 1 Hz.
const VALUE_PAGE_ROWS: usize = 1 << 14;

/// Longest page of the others, which hold long runs of the same.
const PAGE_BYTES: usize = 1 << 20;

/// zstd's level: 9 takes three times as long and saves a third of a percent.
const LEVEL: i32 = 3;

/// Of whom.
pub(crate) const IDENTITY: [&str; 3] = ["machine", "tag", "tag_number"];
/// There in every row.
pub(crate) const ALWAYS: [&str; 6] = ["is_source_time", "quality", "epoch", "is_thinned", "sequence", "time"];
/// Null where they say nothing. A tag says which of them it uses by a bit each, in this order.
pub(crate) const OPTIONAL: [&str; 9] = [
    "gateway_time",
    "source_time",
    "value_bool",
    "value_int",
    "value_scaled",
    "decimals",
    "value_float",
    "value_double",
    "value_text",
];

/// The columns, in their order: what every reader needs lies side by side.
pub(crate) fn schema() -> SchemaRef {
    let name = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let of = |name: &str, data_type: DataType| Field::new(name, data_type, OPTIONAL.contains(&name));
    Arc::new(Schema::new(vec![
        of("machine", name()),
        of("tag", name()),
        of("tag_number", DataType::UInt32),
        of("is_source_time", DataType::Boolean),
        of("gateway_time", time()),
        of("source_time", time()),
        of("quality", DataType::UInt32),
        of("epoch", DataType::UInt64),
        of("is_thinned", DataType::Boolean),
        of("decimals", DataType::UInt32),
        of("sequence", DataType::UInt64),
        of("time", time()),
        of("value_bool", DataType::Boolean),
        of("value_int", DataType::Int64),
        of("value_scaled", DataType::Int64),
        of("value_float", DataType::Float32),
        of("value_double", DataType::Float64),
        of("value_text", DataType::Utf8),
    ]))
}

/// How they are written.
pub(crate) fn properties(encryption: Option<Arc<FileEncryptionProperties>>) -> WriterProperties {
    let level = ZstdLevel::try_new(LEVEL).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("cloud-backend ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(None)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(GROUP_ROWS_MAX)
        .set_dictionary_enabled(true)
        .set_statistics_enabled(EnabledStatistics::Page);
    for (column, encoding) in [
        ("time", Encoding::PLAIN),
        ("sequence", Encoding::PLAIN),
        ("gateway_time", Encoding::DELTA_BINARY_PACKED),
        ("source_time", Encoding::DELTA_BINARY_PACKED),
        ("value_int", Encoding::DELTA_BINARY_PACKED),
        ("value_scaled", Encoding::DELTA_BINARY_PACKED),
        ("value_float", Encoding::BYTE_STREAM_SPLIT),
        ("value_double", Encoding::BYTE_STREAM_SPLIT),
    ] {
        let path = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path.clone(), encoding);
        properties = if encoding == Encoding::PLAIN {
            properties.set_column_data_page_size_limit(path, SHARED_PAGE_BYTES)
        } else {
            properties.set_column_data_page_row_count_limit(path, VALUE_PAGE_ROWS)
        };
    }
    if let Some(encryption) = encryption {
        properties = properties.with_file_encryption_properties(encryption);
    }
    properties.build()
}
