//! Values and data types.

use plant_model::Value;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A value of a tag. Numbers that JSON cannot hold (NaN, infinity) are null.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TagValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl From<&Value> for TagValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Int(*i),
            Value::Float(f) => Self::Float(*f),
            Value::Text(t) => Self::Text(t.to_string()),
        }
    }
}

/// What the values of a tag are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataType {
    Bool,
    Int,
    Float,
    Text,
}

impl From<plant_model::DataType> for DataType {
    fn from(data_type: plant_model::DataType) -> Self {
        match data_type {
            plant_model::DataType::Bool => Self::Bool,
            plant_model::DataType::Int => Self::Int,
            plant_model::DataType::Float => Self::Float,
            plant_model::DataType::Text => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn values_travel_as_plain_json() {
        let json = |value: Value| serde_json::to_string(&TagValue::from(&value)).expect("json");
        assert_eq!(json(Value::Bool(true)), "true");
        assert_eq!(json(Value::Int(-3)), "-3");
        assert_eq!(json(Value::Float(1.5)), "1.5");
        assert_eq!(json(Value::Float(f64::NAN)), "null");
        assert_eq!(json(Value::Text(Arc::from("a\"b"))), r#""a\"b""#);
    }
}
