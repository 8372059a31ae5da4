//! Between the words of the model and the columns of SQLite.

use std::str::FromStr;

use bytes::Bytes;
use plant_model::{AlarmPriority, DataType, Timestamp, Value};
use protocol::{Epoch, Sequence, StreamId};
use rusqlite::{Connection, Params, Row};

use crate::error::Fault;

/// SQLite's integers are signed; counters and sequences stay far below their end.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) const fn epoch_bits(epoch: Epoch) -> i64 {
    epoch.as_u64().cast_signed()
}

pub(crate) fn sequence_number(sequence: Sequence) -> i64 {
    int(sequence.as_u64())
}

/// The value as text and the name of its kind. Rust writes floats so that they come back bit by bit
/// (all NaNs as one).
pub(crate) fn value_columns(value: &Value) -> (&'static str, String) {
    let kind = match value {
        Value::Bool(_) => DataType::Bool,
        Value::Int(_) => DataType::Int,
        Value::Float(_) => DataType::Float,
        Value::Text(_) => DataType::Text,
    };
    (kind.name(), value.to_string())
}

/// The same for a value that may not be there: two empty texts.
pub(crate) fn optional_value_columns(value: Option<&Value>) -> (&'static str, String) {
    value.map_or(("", String::new()), value_columns)
}

/// A float that may not be there as text: an empty one.
pub(crate) fn optional_float_column(number: Option<f64>) -> String {
    number.map(|n| n.to_string()).unwrap_or_default()
}

pub(crate) fn value(kind: &str, text: &str) -> Result<Value, Fault> {
    let wrong = || Fault::Unreadable(format!("value {text:?} is no {kind}"));
    match DataType::from_name(kind).ok_or_else(wrong)? {
        DataType::Bool => text.parse().map(Value::Bool).map_err(|_| wrong()),
        DataType::Int => text.parse().map(Value::Int).map_err(|_| wrong()),
        DataType::Float => text.parse().map(Value::Float).map_err(|_| wrong()),
        DataType::Text => Ok(Value::Text(text.into())),
    }
}

/// Reads columns by position into the words of the model.
pub(crate) trait Columns {
    fn text(&self, index: usize) -> Result<String, Fault>;
    fn number(&self, index: usize) -> Result<i64, Fault>;
    fn optional_number(&self, index: usize) -> Result<Option<i64>, Fault>;
    fn optional_blob(&self, index: usize) -> Result<Option<Bytes>, Fault>;

    fn blob(&self, index: usize) -> Result<Bytes, Fault> {
        self.optional_blob(index)?
            .ok_or_else(|| Fault::Unreadable("bytes that must be there are not".to_owned()))
    }

    /// A text that is parsed: an id, a float.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, index: usize) -> Result<T, Fault> {
        let text = self.text(index)?;
        text.parse().map_err(|e: T::Err| Fault::unreadable(&format!("{text:?}"), &e))
    }

    /// The same where an empty text says that there is none.
    fn optional_parsed<T: FromStr<Err: std::fmt::Display>>(&self, index: usize) -> Result<Option<T>, Fault> {
        if self.text(index)?.is_empty() { Ok(None) } else { self.parsed(index).map(Some) }
    }

    /// A word of a closed list.
    fn word<T>(&self, index: usize, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
        let text = self.text(index)?;
        parse(&text).ok_or_else(|| Fault::Unreadable(format!("the word {text:?} is not known here")))
    }

    fn count(&self, index: usize) -> Result<u64, Fault> {
        let number = self.number(index)?;
        u64::try_from(number).map_err(|e| Fault::unreadable("a counter", &e))
    }

    fn position(&self, index: usize) -> Result<u32, Fault> {
        u32::try_from(self.number(index)?).map_err(|e| Fault::unreadable("a position", &e))
    }

    fn time(&self, index: usize) -> Result<Timestamp, Fault> {
        self.number(index).map(Timestamp::from_micros)
    }

    fn optional_time(&self, index: usize) -> Result<Option<Timestamp>, Fault> {
        Ok(self.optional_number(index)?.map(Timestamp::from_micros))
    }

    fn epoch(&self, index: usize) -> Result<Epoch, Fault> {
        self.number(index).map(|bits| Epoch::from_u64(bits.cast_unsigned()))
    }

    fn sequence(&self, index: usize) -> Result<Sequence, Fault> {
        self.count(index).map(Sequence::from_u64)
    }

    fn stream(&self, index: usize) -> Result<StreamId, Fault> {
        let code = u8::try_from(self.number(index)?).map_err(|e| Fault::unreadable("a stream", &e))?;
        StreamId::from_code(code).map_err(|e| Fault::unreadable("a stream", &e))
    }

    fn priority(&self, index: usize) -> Result<AlarmPriority, Fault> {
        self.word(index, AlarmPriority::from_name)
    }

    /// The same as [`Self::value`] where an empty kind says that there is none.
    fn optional_value(&self, index: usize) -> Result<Option<Value>, Fault> {
        if self.text(index)?.is_empty() { Ok(None) } else { self.value(index).map(Some) }
    }

    /// A value from its kind and, in the next column, its text.
    fn value(&self, index: usize) -> Result<Value, Fault> {
        value(&self.text(index)?, &self.text(index + 1)?)
    }
}

impl Columns for Row<'_> {
    fn text(&self, index: usize) -> Result<String, Fault> {
        Ok(self.get(index)?)
    }

    fn number(&self, index: usize) -> Result<i64, Fault> {
        Ok(self.get(index)?)
    }

    fn optional_number(&self, index: usize) -> Result<Option<i64>, Fault> {
        Ok(self.get(index)?)
    }

    fn optional_blob(&self, index: usize) -> Result<Option<Bytes>, Fault> {
        let blob = self.get_ref(index)?.as_blob_or_null().map_err(|e| Fault::unreadable("bytes", &e))?;
        Ok(blob.map(Bytes::copy_from_slice))
    }
}

/// All rows of a query.
pub(crate) fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read(row)?);
    }
    Ok(out)
}

/// The first row of a query.
pub(crate) fn row<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// Runs a statement and answers how many rows it changed.
pub(crate) fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize, Fault> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_columns_bit_by_bit() {
        let floats = [0.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, 5e-324, 81.5];
        let others =
            [Value::Bool(true), Value::Int(i64::MIN), Value::Text("a b\nc".into()), Value::Text("".into())];
        for original in floats.map(Value::Float).into_iter().chain(others) {
            let (kind, text) = value_columns(&original);
            let back = value(kind, &text).expect("comes back");
            assert!(back.is_identical(&original), "{original:?} came back as {back:?}");
        }
        assert!(value("float", "x").is_err());
        assert!(value("colour", "1").is_err());
    }
}
