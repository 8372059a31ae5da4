//! Identifiers. Two forms: *labels* (tenant, site, gateway, machine), which travel in topics,
//! paths and file names, and *names* (tag, alarm), which are closer to what a PLC programmer typed.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} id {text:?} is not valid: {rule}")]
pub struct IdError {
    /// What the text should have named, for example `machine`.
    pub kind: &'static str,
    /// The text as given, cut to 80 characters.
    pub text: String,
    /// What is allowed.
    pub rule: &'static str,
}

const LABEL_RULE: &str =
    "use 1 to 63 characters a-z, 0-9 and '-', beginning and ending with a letter or digit";
const NAME_RULE: &str =
    "use 1 to 64 characters A-Z, a-z, 0-9, '_', '.' and '-', beginning with a letter or digit";

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=64).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $test:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an identifier.
            ///
            /// # Errors
            /// The text breaks the rule; the error repeats the text and the rule.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if $test(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(IdError { kind: $kind, text: text.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A customer of the installation.
    TenantId, "tenant", is_label, LABEL_RULE
);
id!(
    /// A place of a tenant (ISA-95 site).
    SiteId, "site", is_label, LABEL_RULE
);
id!(
    /// The box on the factory floor that runs the agent. Unique within its tenant.
    GatewayId, "gateway", is_label, LABEL_RULE
);
id!(
    /// A machine (ISA-95 equipment). Unique within its gateway.
    MachineId, "machine", is_label, LABEL_RULE
);
id!(
    /// A tag of a machine. Unique within its machine.
    TagId, "tag", is_name, NAME_RULE
);
id!(
    /// An alarm of a machine. Unique within its machine.
    AlarmId, "alarm", is_name, NAME_RULE
);
id!(
    /// A command that somebody gave, made by who gave it; a UUID will do. Unique within its tenant.
    CommandId, "command", is_name, NAME_RULE
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_refuse_what_would_break_a_topic_a_path_or_a_host_name() {
        for bad in ["", "A", "a/b", "a+b", "#", "-a", "a-", "a.b", "a b", "ä", &"a".repeat(64)] {
            let error = TenantId::new(bad).expect_err(bad);
            assert_eq!(error.kind, "tenant");
            assert!(error.to_string().contains("63 characters"), "{error}");
        }
        for good in ["a", "acme", "plant-1", "0", &"a".repeat(63)] {
            assert_eq!(TenantId::new(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn names_keep_the_spelling_of_a_plc_programmer() {
        for good in ["Temp_Zone1", "DB10.DBD4", "a"] {
            assert_eq!(TagId::new(good).expect(good).to_string(), good);
        }
        for bad in ["", "_a", "a/b", "a b", "a#", &"a".repeat(65)] {
            assert!(TagId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_wrong_text_is_cut_in_the_message() {
        let error = MachineId::new(&"X".repeat(10_000)).expect_err("upper case is refused");
        assert_eq!(error.text.len(), 80);
    }
}
