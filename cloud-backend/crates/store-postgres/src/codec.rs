//! Between the words of the model and the columns of PostgreSQL.

use std::borrow::Cow;
use std::str::FromStr;

use deadpool_postgres::Transaction;
use plant_model::{AlarmPriority, DataType, Timestamp, Value};
use protocol::{Epoch, Sequence, StreamId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::Fault;

/// Parameters of a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// PostgreSQL's integers are signed; counters and sequences stay far below their end.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) const fn epoch_bits(epoch: Epoch) -> i64 {
    epoch.as_u64().cast_signed()
}

pub(crate) fn sequence_number(sequence: Sequence) -> i64 {
    int(sequence.as_u64())
}

pub(crate) fn stream_code(stream: StreamId) -> i64 {
    i64::from(stream.code())
}

/// A text that somebody outside wrote, as PostgreSQL can keep it: it has no room for NUL.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\0']) {
        return text.replace('\\', "\\\\").replace('\0', "\\0").into();
    }
    text.into()
}

/// What [`escaped`] was given.
pub(crate) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' if rest.next() == Some('0') => '\0',
            other => other,
        });
    }
    out
}

/// The name of a value's kind, and the value as text. Rust writes floats so that they come back bit by bit (all NaNs
/// as one).
pub(crate) fn value_columns(value: &Value) -> (&'static str, String) {
    let kind = match value {
        Value::Bool(_) => DataType::Bool,
        Value::Int(_) => DataType::Int,
        Value::Float(_) => DataType::Float,
        Value::Text(_) => DataType::Text,
    };
    (kind.name(), escaped(&value.to_string()).into_owned())
}

pub(crate) fn value(kind: &str, text: &str) -> Result<Value, Fault> {
    let wrong = || Fault::Unreadable(format!("value {text:?} is no {kind}"));
    match DataType::from_name(kind).ok_or_else(wrong)? {
        DataType::Bool => text.parse().map(Value::Bool).map_err(|_| wrong()),
        DataType::Int => text.parse().map(Value::Int).map_err(|_| wrong()),
        DataType::Float => text.parse().map(Value::Float).map_err(|_| wrong()),
        DataType::Text => Ok(Value::Text(unescaped(text).into())),
    }
}

/// Reads columns by position into the words of the model.
pub(crate) trait Columns {
    fn text(&self, index: usize) -> Result<&str, Fault>;
    fn optional_text(&self, index: usize) -> Result<Option<&str>, Fault>;
    fn number(&self, index: usize) -> Result<i64, Fault>;
    fn optional_number(&self, index: usize) -> Result<Option<i64>, Fault>;
    fn flag(&self, index: usize) -> Result<bool, Fault>;
    fn float(&self, index: usize) -> Result<f64, Fault>;
    fn optional_float(&self, index: usize) -> Result<Option<f64>, Fault>;
    fn bytes(&self, index: usize) -> Result<&[u8], Fault>;
    fn optional_bytes(&self, index: usize) -> Result<Option<&[u8]>, Fault>;

    /// A text that somebody outside wrote.
    fn free_text(&self, index: usize) -> Result<String, Fault> {
        self.text(index).map(unescaped)
    }

    /// A text that is parsed: an id.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, index: usize) -> Result<T, Fault> {
        parse(self.text(index)?)
    }

    fn optional_parsed<T: FromStr<Err: std::fmt::Display>>(&self, index: usize) -> Result<Option<T>, Fault> {
        self.optional_text(index)?.map(parse).transpose()
    }

    /// A word of a closed list.
    fn word<T>(&self, index: usize, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
        let text = self.text(index)?;
        parse(text).ok_or_else(|| Fault::Unreadable(format!("the word {text:?} is not known here")))
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

    /// A value from its kind and, in the next column, its text.
    fn optional_value(&self, index: usize) -> Result<Option<Value>, Fault> {
        let kind = self.optional_text(index)?;
        kind.map(|kind| value(kind, self.text(index + 1)?)).transpose()
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|e: T::Err| Fault::unreadable(&format!("{text:?}"), &e))
}

impl Columns for Row {
    fn text(&self, index: usize) -> Result<&str, Fault> {
        Ok(self.try_get(index)?)
    }

    fn optional_text(&self, index: usize) -> Result<Option<&str>, Fault> {
        Ok(self.try_get(index)?)
    }

    fn number(&self, index: usize) -> Result<i64, Fault> {
        Ok(self.try_get(index)?)
    }

    fn optional_number(&self, index: usize) -> Result<Option<i64>, Fault> {
        Ok(self.try_get(index)?)
    }

    fn flag(&self, index: usize) -> Result<bool, Fault> {
        Ok(self.try_get(index)?)
    }

    fn float(&self, index: usize) -> Result<f64, Fault> {
        Ok(self.try_get(index)?)
    }

    fn optional_float(&self, index: usize) -> Result<Option<f64>, Fault> {
        Ok(self.try_get(index)?)
    }

    fn bytes(&self, index: usize) -> Result<&[u8], Fault> {
        Ok(self.try_get(index)?)
    }

    fn optional_bytes(&self, index: usize) -> Result<Option<&[u8]>, Fault> {
        Ok(self.try_get(index)?)
    }
}

/// All rows of a query.
pub(crate) async fn rows<T>(
    t: &Transaction<'_>,
    sql: &str,
    params: Params<'_>,
    read: impl FnMut(&Row) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let statement = t.prepare_cached(sql).await?;
    t.query(&statement, params).await?.iter().map(read).collect()
}

/// The first row of a query.
pub(crate) async fn row<T>(
    t: &Transaction<'_>,
    sql: &str,
    params: Params<'_>,
    read: impl FnOnce(&Row) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    let statement = t.prepare_cached(sql).await?;
    t.query(&statement, params).await?.first().map(read).transpose()
}

/// Runs a statement and answers how many rows it changed.
pub(crate) async fn execute(t: &Transaction<'_>, sql: &str, params: Params<'_>) -> Result<u64, Fault> {
    let statement = t.prepare_cached(sql).await?;
    Ok(t.execute(&statement, params).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_from_its_columns_bit_by_bit() {
        let floats = [0.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, 5e-324, 81.5];
        let texts = ["a b\nc", "", "\\", "\0", "\\0", "\0\\\\0", "a\0b\\c"];
        let others = [Value::Bool(true), Value::Int(i64::MIN)];
        let texts = texts.map(|text| Value::Text(text.into()));
        for original in floats.map(Value::Float).into_iter().chain(others).chain(texts) {
            let (kind, text) = value_columns(&original);
            assert!(!text.contains('\0'), "PostgreSQL would refuse {text:?}");
            let back = value(kind, &text).expect("comes back");
            assert!(back.is_identical(&original), "{original:?} came back as {back:?}");
        }
        assert!(value("float", "x").is_err());
        assert!(value("colour", "1").is_err());
    }
}
