//! The value of one tag, as a reader sees it after decoding.

use serde::Serialize;

/// A tag value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A switch or a contact.
    Bool(bool),
    /// A counter, a state number or an analog without decimals.
    Int(i64),
    /// An analog with decimals, already rounded to the resolution of its sensor.
    Float(f64),
    /// A program or recipe name: ASCII, at most 16 characters.
    Text(String),
}

impl Value {
    /// The name of the value's type as machine files write it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
        }
    }
}
