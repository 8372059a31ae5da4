//! The same columns with the values of each series apart, so that one series is read without the others. A segment of
//! the backend is made of them; they never travel.
//!
//! The *frame* holds the axes and what the columns are, the values of a series the pools that its columns take from.
//! All are protobuf messages `Columns` with the rest of the fields left out (SPEC section 5).

use plant_model::Sample;
use prost::Message;

use super::decode::{ColumnLayout, Instants, Pools, axes, check_samples, layout};
use super::{SeriesId, SeriesSamples, encode};
use crate::DecodeError;
use crate::wire::Columns;

/// Samples as columns whose values lie apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApartColumns {
    /// The axes, and what the columns are.
    pub frame: Vec<u8>,
    /// The values of each series, in the order of the series.
    pub values: Vec<Vec<u8>>,
}

impl ApartColumns {
    /// Encodes samples. Order within a series is kept; empty series vanish. Entries of one series stand once.
    #[must_use]
    pub fn encode(block: &[SeriesSamples]) -> Self {
        let (frame, values) = encode::encode_apart(block);
        Self {
            frame: frame.encode_to_vec(),
            values: values.iter().map(prost::Message::encode_to_vec).collect(),
        }
    }
}

/// The frame of [`ApartColumns`], read once for all series.
#[derive(Debug, Clone)]
pub struct ColumnFrame {
    axes: Vec<Instants>,
    /// The columns of each series.
    series: Vec<Vec<ColumnLayout>>,
}

impl ColumnFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// The bytes are no frame.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let columns = read(frame)?;
        let axes = axes(&columns)?;
        let mut series: Vec<Vec<ColumnLayout>> = Vec::new();
        for column in layout(&columns, &axes)? {
            match series.last_mut() {
                Some(open) if open[0].series == column.series => open.push(column),
                _ => series.push(vec![column]),
            }
        }
        Ok(Self { axes, series })
    }

    /// The series and how many samples each has, in the order of their values.
    pub fn series(&self) -> impl Iterator<Item = (SeriesId, usize)> {
        self.series.iter().map(|columns| (columns[0].series, self.samples(columns)))
    }

    fn samples(&self, columns: &[ColumnLayout]) -> usize {
        columns.iter().map(|column| self.axes[column.axis].len()).sum()
    }

    /// The samples of the series at `index`, from its values.
    ///
    /// # Errors
    /// There is no such series, or these are not its values.
    pub fn read(&self, index: usize, values: &[u8]) -> Result<Vec<Sample>, DecodeError> {
        let columns = self.series.get(index).ok_or_else(|| {
            DecodeError::field("series", format!("there is no series {index} of {}", self.series.len()))
        })?;
        check_samples(self.samples(columns))?;
        let message = read(values)?;
        let mut pools = Pools::open(&message)?;
        let mut samples = Vec::with_capacity(self.samples(columns));
        for column in columns {
            samples.append(&mut pools.column(column.kind, column.flags, &self.axes[column.axis])?);
        }
        Ok(samples)
    }
}

/// Samples as the columns of one message, without a container.
#[must_use]
pub fn samples_to_bytes(block: &[SeriesSamples]) -> Vec<u8> {
    encode::encode(block).encode_to_vec()
}

/// The inverse of [`samples_to_bytes`].
///
/// # Errors
/// The bytes are no columns.
pub fn samples_from_bytes(bytes: &[u8]) -> Result<Vec<SeriesSamples>, DecodeError> {
    super::decode(&read(bytes)?)
}

fn read(bytes: &[u8]) -> Result<Columns, DecodeError> {
    Columns::decode(bytes)
        .map_err(|error| DecodeError::Protobuf { message: "Columns", detail: error.to_string() })
}
