//! How the values of a tag are summed up, told from its definition.

use plant_model::{DataType, TagDefinition};
use protocol::TagRole;
use segments::TagKind;

/// The kind of a tag: a state if it says so, or if its values are truth values, texts or numbers with names; otherwise
/// a measured number.
#[must_use]
pub fn tag_kind(role: TagRole, definition: &TagDefinition) -> TagKind {
    let has_names = definition.enumeration.iter().next().is_some();
    match (role, definition.data_type) {
        (TagRole::State, _) | (_, DataType::Bool | DataType::Text) => TagKind::State,
        (TagRole::Plain | TagRole::Headline, DataType::Int | DataType::Float) if has_names => TagKind::State,
        (TagRole::Plain | TagRole::Headline, DataType::Int | DataType::Float) => TagKind::Analog,
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{Enumeration, TagId};

    use super::*;

    #[test]
    fn what_has_no_mean_is_a_state() {
        let kind = |role, data_type, names: &[(i64, String)]| {
            let enumeration = Enumeration::new(names.iter().cloned()).expect("valid");
            let id = TagId::new("t").expect("valid");
            let definition =
                TagDefinition { id, name: String::new(), unit: String::new(), data_type, enumeration };
            tag_kind(role, &definition)
        };
        assert_eq!(kind(TagRole::Plain, DataType::Float, &[]), TagKind::Analog);
        assert_eq!(kind(TagRole::Headline, DataType::Int, &[]), TagKind::Analog);
        assert_eq!(kind(TagRole::State, DataType::Int, &[]), TagKind::State);
        assert_eq!(kind(TagRole::Plain, DataType::Bool, &[]), TagKind::State);
        assert_eq!(kind(TagRole::Plain, DataType::Text, &[]), TagKind::State);
        assert_eq!(kind(TagRole::Plain, DataType::Int, &[(2, "jammed".to_owned())]), TagKind::State);
    }
}
