//! Definitions of tags.

use crate::TagId;

/// What kind of value a tag carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// [`crate::Value::Bool`].
    Bool,
    /// [`crate::Value::Int`].
    Int,
    /// [`crate::Value::Float`].
    Float,
    /// [`crate::Value::Text`].
    Text,
}

impl DataType {
    /// The name used in configuration, on the wire and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Bool, Self::Int, Self::Float, Self::Text].into_iter().find(|t| t.name() == name)
    }
}

/// What a tag is, independent of how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagDefinition {
    /// Its id, unique within the machine.
    pub id: TagId,
    /// A name for people; the id when nothing better is known.
    pub name: String,
    /// The engineering unit as shown to people (UCUM or plain text), empty when there is none.
    pub unit: String,
    /// What its values are.
    pub data_type: DataType,
}
