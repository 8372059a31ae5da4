//! References to OPC UA nodes as text (OPC UA Part 6, 5.3.1.10 and 5.3.1.11).
//!
//! `[ns=<index>;|nsu=<uri>;]<kind>=<identifier>` with the kinds `i` (number), `s` (text), `g` (GUID) and
//! `b` (base64). Without a namespace the index is 0. A server may number its namespaces anew at each
//! start, so a URI is the stable form. In a URI, `;` is written `%3B` and `%` may be written `%25`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::AcquisitionError;

/// Which namespace a node belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// By its place in the server's table, which can change when the server is reconfigured.
    Index(u16),
    /// By its URI; looked up after each connect.
    Uri(Arc<str>),
}

/// What names a node inside its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeIdentifier {
    /// A number.
    Numeric(u32),
    /// A text.
    Text(Arc<str>),
    /// A GUID in its usual form of 36 characters.
    Guid(Arc<str>),
    /// Bytes in base64.
    Opaque(Arc<str>),
}

/// A node of an OPC UA server, before its namespace is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeReference {
    /// The namespace.
    pub namespace: Namespace,
    /// The identifier in it.
    pub identifier: NodeIdentifier,
}

impl FromStr for NodeReference {
    type Err = AcquisitionError;

    fn from_str(text: &str) -> Result<Self, AcquisitionError> {
        parse(text)
            .map_err(|problem| AcquisitionError::Node { text: text.chars().take(200).collect(), problem })
    }
}

impl fmt::Display for NodeReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Namespace::Index(0) => {}
            Namespace::Index(index) => write!(f, "ns={index};")?,
            Namespace::Uri(uri) => write!(f, "nsu={};", uri.replace('%', "%25").replace(';', "%3B"))?,
        }
        match &self.identifier {
            NodeIdentifier::Numeric(number) => write!(f, "i={number}"),
            NodeIdentifier::Text(text) => write!(f, "s={text}"),
            NodeIdentifier::Guid(guid) => write!(f, "g={guid}"),
            NodeIdentifier::Opaque(base64) => write!(f, "b={base64}"),
        }
    }
}

fn parse(text: &str) -> Result<NodeReference, &'static str> {
    let (namespace, rest) = if let Some(rest) = text.strip_prefix("nsu=") {
        let (uri, rest) = rest.split_once(';').ok_or("there is no ';' behind the namespace")?;
        (parse_uri(uri)?, rest)
    } else if let Some(rest) = text.strip_prefix("ns=") {
        let (index, rest) = rest.split_once(';').ok_or("there is no ';' behind the namespace")?;
        let index = index.parse().map_err(|_| "the namespace index is not a number from 0 to 65535")?;
        (Namespace::Index(index), rest)
    } else {
        (Namespace::Index(0), text)
    };
    Ok(NodeReference { namespace, identifier: parse_identifier(rest)? })
}

fn parse_uri(uri: &str) -> Result<Namespace, &'static str> {
    if uri.is_empty() {
        return Err("the namespace URI is empty");
    }
    let unescaped = uri.replace("%3B", ";").replace("%3b", ";").replace("%25", "%");
    Ok(Namespace::Uri(unescaped.into()))
}

/// The longest text identifier (OPC UA Part 3, 8.2.4).
const TEXT_CHARS_MAX: usize = 4096;

fn parse_identifier(text: &str) -> Result<NodeIdentifier, &'static str> {
    let (kind, identifier) = text.split_once('=').ok_or("the identifier is missing (i=, s=, g= or b=)")?;
    match kind {
        "i" => identifier
            .parse()
            .map(NodeIdentifier::Numeric)
            .map_err(|_| "the number behind i= is not from 0 to 4294967295"),
        "s" if identifier.is_empty() => Err("the text behind s= is empty"),
        "s" if identifier.chars().count() > TEXT_CHARS_MAX => {
            Err("the text behind s= is longer than 4096 characters")
        }
        "s" => Ok(NodeIdentifier::Text(identifier.into())),
        "g" if is_guid(identifier) => Ok(NodeIdentifier::Guid(identifier.into())),
        "g" => Err("the GUID behind g= is not like 09087e75-8e5e-499b-954f-f2a9603db28a"),
        "b" if is_base64(identifier) => Ok(NodeIdentifier::Opaque(identifier.into())),
        "b" => Err("the text behind b= is not base64"),
        _ => Err("the identifier does not begin with i=, s=, g= or b="),
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_base64(text: &str) -> bool {
    let padding = text.len() - text.trim_end_matches('=').len();
    let digits = &text.as_bytes()[..text.len() - padding];
    let is_digit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    !digits.is_empty() && padding <= 2 && text.len().is_multiple_of(4) && digits.iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "i=2258",
            "ns=2;i=1001",
            "ns=2;s=Spindle.Temperature",
            "nsu=urn:machine-simulator:lathe;s=spindle_temperature",
            "nsu=http://vendor.example/UA/;i=4294967295",
            "nsu=urn:a%3Bb%25c;s=x",
            "ns=3;g=09087e75-8e5e-499b-954f-f2a9603db28a",
            "ns=1;b=M/RbKBsRVkePCePcx24oRA==",
        ] {
            assert_eq!(text.parse::<NodeReference>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn a_text_identifier_may_hold_anything_even_separators() {
        let node: NodeReference = "ns=3;s=\"DB 1\".\"Temp;ist=heiß\"".parse().expect("valid");
        assert_eq!(node.namespace, Namespace::Index(3));
        assert_eq!(node.identifier, NodeIdentifier::Text("\"DB 1\".\"Temp;ist=heiß\"".into()));
    }

    #[test]
    fn escaped_separators_of_a_uri_are_decoded() {
        let node: NodeReference = "nsu=urn:a%3bb;s=x".parse().expect("valid");
        assert_eq!(node.namespace, Namespace::Uri("urn:a;b".into()));
    }

    #[test]
    fn a_wrong_text_is_refused_with_its_problem_and_an_example() {
        for (text, problem) in [
            ("", "identifier is missing"),
            ("Temperature", "identifier is missing"),
            ("ns=2", "no ';'"),
            ("ns=70000;i=1", "0 to 65535"),
            ("ns=two;i=1", "0 to 65535"),
            ("nsu=urn:x", "no ';'"),
            ("nsu=;s=x", "URI is empty"),
            ("ns=2;x=1", "i=, s=, g= or b="),
            ("ns=2;i=-1", "4294967295"),
            ("ns=2;s=", "empty"),
            ("ns=2;g=123", "GUID"),
            ("ns=2;b=a", "base64"),
            ("ns=2;b=====", "base64"),
            ("ns=2;b=ab=c", "base64"),
        ] {
            let error = text.parse::<NodeReference>().expect_err(text).to_string();
            assert!(error.contains(problem) && error.contains("ns=2;s=Name"), "{text}: {error}");
        }
        let long = format!("ns=2;s={}", "x".repeat(5000)).parse::<NodeReference>().expect_err("too long");
        assert!(long.to_string().len() < 500);
    }
}
