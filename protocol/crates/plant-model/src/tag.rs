//! Definitions of tags.

use thiserror::Error;

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
    /// Names for its numbers; empty where they stand for themselves.
    pub enumeration: Enumeration,
}

/// Names for the numbers of a tag, as PLC programs count states. What is stored stays the number; the
/// name is for people. A truth value counts as 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enumeration(Vec<(i64, String)>);

/// Names that cannot be those of an enumeration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnumerationError {
    /// There are too many.
    #[error("{count} names are too many: use at most {max}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// The most.
        max: usize,
    },
    /// A name is empty or too long.
    #[error("the name {name:?} of {number} has {length} characters: use 1 to {max}")]
    Length {
        /// The number.
        number: i64,
        /// Its name, cut to the longest.
        name: String,
        /// How many characters it has.
        length: usize,
        /// The most.
        max: usize,
    },
    /// A number has two names.
    #[error("{number} has two names; keep one")]
    Twice {
        /// The number.
        number: i64,
    },
}

impl Enumeration {
    /// The most names: what fits a drop-down list, and bounds a catalogue.
    pub const NAMES_MAX: usize = 64;
    /// The longest name, in characters: what fits a tile.
    pub const NAME_CHARS_MAX: usize = 64;

    /// An enumeration of these names, ordered by number.
    ///
    /// # Errors
    /// Too many names, an empty or a too long one, or two for one number.
    pub fn new(names: impl IntoIterator<Item = (i64, String)>) -> Result<Self, EnumerationError> {
        let mut names: Vec<_> = names.into_iter().collect();
        let (count, max) = (names.len(), Self::NAMES_MAX);
        if count > max {
            return Err(EnumerationError::TooMany { count, max });
        }
        names.sort_by_key(|(number, _)| *number);
        if let Some(pair) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(EnumerationError::Twice { number: pair[0].0 });
        }
        names.iter().try_for_each(|(number, name)| check_name(*number, name))?;
        Ok(Self(names))
    }

    /// All names, by number.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &str)> {
        self.0.iter().map(|(number, name)| (*number, name.as_str()))
    }
}

fn check_name(number: i64, name: &str) -> Result<(), EnumerationError> {
    let (length, max) = (name.chars().count(), Enumeration::NAME_CHARS_MAX);
    if (1..=max).contains(&length) {
        return Ok(());
    }
    Err(EnumerationError::Length { number, name: name.chars().take(max).collect(), length, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[(i64, &str)]) -> Result<Enumeration, EnumerationError> {
        Enumeration::new(names.iter().map(|(number, name)| (*number, (*name).to_owned())))
    }

    #[test]
    fn names_are_ordered_by_their_numbers() {
        let states = named(&[(2, "down"), (-1, "fault"), (0, "stopped")]).expect("valid");
        assert_eq!(states.iter().collect::<Vec<_>>(), [(-1, "fault"), (0, "stopped"), (2, "down")]);
    }

    #[test]
    fn too_many_long_empty_or_double_names_are_refused_with_what_is_allowed() {
        let many: Vec<_> = (0..65).map(|n| (n, "x")).collect();
        assert!(named(&many[..64]).is_ok());
        let long = "ä".repeat(65);
        for (names, said) in [
            (many.as_slice(), "65 names are too many: use at most 64"),
            (&[(7, long.as_str())], "of 7 has 65 characters: use 1 to 64"),
            (&[(7, "")], "has 0 characters"),
            (&[(1, "a"), (2, "b"), (1, "c")], "1 has two names"),
        ] {
            let error = named(names).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
