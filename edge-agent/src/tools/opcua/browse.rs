//! `browse opcua`: each node is printed as it comes and none is kept, so that a server with 100,000
//! nodes costs no more memory than one with ten.

use std::collections::HashMap;
use std::io::Write;

use acquisition::NodeReference;
use anyhow::Result;
use driver_opcua::{BrowsedNode, NodeKind};
use plant_model::DataType;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::super::{Found, runtime};
use super::target::Target;
use crate::cli::BrowseOpcUaArguments;

/// The longest id of a tag made from a path.
const ID_CHARS_MAX: usize = 60;

pub(crate) fn browse(arguments: &BrowseOpcUaArguments) -> Result<Found> {
    let under = arguments.under.as_deref().map(str::parse::<NodeReference>).transpose()?;
    let target = Target::of(&arguments.target)?;
    let cancel = CancellationToken::new();
    let pressed = cancel.clone();
    let (told, is_complete) = runtime()?.block_on(async {
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                pressed.cancel();
            }
        });
        let mut probe = target.open().await?;
        let mut printer = Printer::new(arguments, std::io::stdout().lock(), cancel.clone());
        let summary = probe.browse(under.as_ref(), &cancel, |node| printer.tell(&node)).await;
        probe.close().await;
        printer.failed?;
        anyhow::Ok((printer.told, summary?.is_complete))
    })?;
    if !is_complete {
        tracing::warn!(nodes = told, "ended before the end of the tree");
    }
    Ok(if told == 0 { Found::Nothing } else { Found::Something })
}

/// Prints nodes, up to a limit.
struct Printer<W> {
    list: Listing,
    out: W,
    told: u64,
    limit: u64,
    failed: std::io::Result<()>,
    cancel: CancellationToken,
}

impl<W: Write> Printer<W> {
    fn new(arguments: &BrowseOpcUaArguments, out: W, cancel: CancellationToken) -> Self {
        let limit = arguments.limit.unwrap_or(u64::MAX);
        Self { list: Listing::new(arguments), out, told: 0, limit, failed: Ok(()), cancel }
    }

    fn tell(&mut self, node: &BrowsedNode) {
        if self.cancel.is_cancelled() {
            return;
        }
        match self.list.write(&mut self.out, node) {
            Ok(()) => self.told += 1,
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => self.cancel.cancel(),
            Err(error) => {
                self.failed = Err(error);
                self.cancel.cancel();
            }
        }
        if self.told >= self.limit {
            self.cancel.cancel();
        }
    }
}

/// How nodes are printed.
enum Listing {
    Lines,
    Json,
    /// Ready tags, with how often each id was used.
    Config(HashMap<String, u32>),
}

#[derive(Serialize)]
struct JsonNode<'n> {
    node: &'n str,
    path: &'n str,
    kind: &'static str,
    data_type: Option<&'static str>,
}

impl Listing {
    fn new(arguments: &BrowseOpcUaArguments) -> Self {
        match (arguments.tags, arguments.json) {
            (true, _) => Self::Config(HashMap::new()),
            (false, true) => Self::Json,
            (false, false) => Self::Lines,
        }
    }

    fn write(&mut self, out: &mut dyn Write, node: &BrowsedNode) -> std::io::Result<()> {
        let kind = match node.kind {
            NodeKind::Object => "object",
            NodeKind::Variable => "variable",
            NodeKind::Other => "other",
        };
        let data_type = node.data_type.map(DataType::name);
        match self {
            Self::Lines => {
                writeln!(out, "{kind:<9} {:<6} {}  {}", data_type.unwrap_or("-"), node.path, node.node)
            }
            Self::Json => {
                let line = JsonNode { node: &node.node, path: &node.path, kind, data_type };
                serde_json::to_writer(&mut *out, &line)?;
                writeln!(out)
            }
            Self::Config(used) => match data_type {
                Some(data_type) if node.kind == NodeKind::Variable => {
                    let id = tag_id(&node.path, used);
                    let reference = serde_json::to_string(&node.node)?;
                    writeln!(
                        out,
                        "[[tags]]\nid = \"{id}\"\ndata_type = \"{data_type}\"\nnode_id = {reference}\n"
                    )
                }
                Some(_) | None => Ok(()),
            },
        }
    }
}

/// An id from the names on the path, the last ones if there are too many; numbered where it repeats.
fn tag_id(path: &str, used: &mut HashMap<String, u32>) -> String {
    let mut id = String::new();
    for c in path.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            id.push(c);
        } else if !id.is_empty() && !id.ends_with('_') {
            id.push('_');
        }
    }
    let id = id.trim_end_matches('_');
    let end = id.get(id.len().saturating_sub(ID_CHARS_MAX)..).unwrap_or(id).trim_start_matches('_');
    let id = if end.is_empty() { "tag" } else { end };
    let count = used.entry(id.to_owned()).or_default();
    *count += 1;
    if *count == 1 { id.to_owned() } else { format!("{id}_{count}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsed_variables_are_tags_that_the_configuration_accepts() {
        let node = |path: &str, node: &str, data_type| BrowsedNode {
            node: node.to_owned(),
            path: path.into(),
            kind: NodeKind::Variable,
            data_type,
        };
        let mut list = Listing::Config(HashMap::new());
        let mut out = b"version = 1\nid = \"m\"\n[opcua]\nendpoint = \"opc.tcp://h:4840\"\n".to_vec();
        for found in [
            node("/Lathe/Öl Temp.", "nsu=urn:x;s=\"quoted\"", Some(DataType::Float)),
            node("/Lathe/Öl-Temp", "ns=2;i=7", Some(DataType::Int)),
            node("/Lathe/Structure", "ns=2;i=8", None),
            node(&format!("/{}/x", "deep".repeat(40)), "ns=2;i=9", Some(DataType::Bool)),
        ] {
            list.write(&mut out, &found).expect("memory");
        }
        let text = String::from_utf8(out).expect("text");
        let machine = edge_config::read_machine(std::path::Path::new("m.toml"), &text).expect("good");
        let ids: Vec<&str> = machine.tags.iter().map(|t| t.definition.id.as_str()).collect();
        assert_eq!(ids[..2], ["lathe_l_temp", "lathe_l_temp_2"], "a structure is no tag: {ids:?}");
        assert!(ids.len() == 3 && ids[2].ends_with("deep_x"), "{ids:?}");
    }

    #[test]
    fn a_limit_ends_the_list_at_that_node_and_the_browse_with_it() {
        let arguments = BrowseOpcUaArguments {
            target: crate::cli::OpcUaTarget::default(),
            under: None,
            limit: Some(2),
            tags: false,
            json: true,
        };
        let (cancel, mut out) = (CancellationToken::new(), Vec::new());
        let mut printer = Printer::new(&arguments, &mut out, cancel.clone());
        for n in 0..5 {
            assert_eq!(cancel.is_cancelled(), n >= 2);
            printer.tell(&BrowsedNode {
                node: format!("ns=1;i={n}"),
                path: "a".into(),
                kind: NodeKind::Object,
                data_type: None,
            });
        }
        assert_eq!(printer.told, 2);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
