//! `read opcua`, `browse opcua` and `doctor opcua`: a server without protection, asked once.
//!
//! A browse prints each node as it comes and keeps none of them, so that a server with 100,000 nodes
//! costs no more memory than one with ten.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use acquisition::{NodeReference, OpcUaSecurity};
use anyhow::{Context as _, Result};
use driver_opcua::{Access, BrowsedNode, EndpointReport, Identity, NodeKind, Probe};
use plant_model::{DataType, GatewayId};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::table::{Cell, Paint, Table, Tone};
use super::{Found, Output, print, runtime};
use crate::cli::{BrowseOpcUaArguments, DoctorOpcUaArguments, ReadOpcUaArguments};

/// The longest id of a tag made from a path.
const ID_CHARS_MAX: usize = 60;

/// An open session; no key is made for it, because it is not protected.
async fn open(endpoint: &str) -> Result<Probe> {
    let access = Access { endpoint: endpoint.to_owned(), security: OpcUaSecurity::None, user: None };
    let name = GatewayId::new("tool").context("a fixed name is a valid id")?;
    let identity = Arc::new(Identity::new("/nonexistent".into(), name));
    Probe::open(&access, &identity).await.with_context(|| {
        format!("cannot open a session; `edge-agent doctor opcua --endpoint {endpoint}` shows what the server offers")
    })
}

#[derive(Debug, Serialize)]
struct Node {
    node: String,
    value: Option<String>,
    quality: String,
    status_code: String,
    source_timestamp_ms: Option<i64>,
}

pub(crate) fn read(arguments: &ReadOpcUaArguments) -> Result<Found> {
    let reference: NodeReference = arguments.node.parse()?;
    let node = runtime()?.block_on(async {
        let mut probe = open(&arguments.endpoint).await?;
        let sample = probe.read(&reference, arguments.data_type.into()).await;
        probe.close().await;
        let sample = sample?;
        anyhow::Ok(Node {
            node: arguments.node.clone(),
            value: sample.value.as_ref().map(ToString::to_string),
            quality: sample.quality.name().to_owned(),
            status_code: format!("0x{:08X}", sample.quality.status_code()),
            source_timestamp_ms: sample.source_timestamp.map(plant_model::Timestamp::millis),
        })
    })?;
    print(Output::json(arguments.json), &node, write_node)?;
    Ok(Found::Something)
}

fn write_node(out: &mut dyn Write, paint: Paint, node: &Node) -> std::io::Result<()> {
    let tone = if node.quality == "Good" { Tone::Good } else { Tone::Bad };
    let mut table = Table::new(&["node", ">value", "quality", "status", ">source time ms"]);
    table.row([
        Cell::from(&node.node),
        node.value.as_deref().unwrap_or("-").into(),
        Cell::toned(tone, &node.quality),
        (&node.status_code).into(),
        node.source_timestamp_ms.map_or("-".to_owned(), |ms| ms.to_string()).into(),
    ]);
    table.write(out, paint)
}

pub(crate) fn browse(arguments: &BrowseOpcUaArguments) -> Result<Found> {
    let under = arguments.under.as_deref().map(str::parse::<NodeReference>).transpose()?;
    let cancel = CancellationToken::new();
    let pressed = cancel.clone();
    let summary = runtime()?.block_on(async {
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                pressed.cancel();
            }
        });
        let mut probe = open(&arguments.endpoint).await?;
        let mut list = Listing::new(arguments);
        let mut out = std::io::stdout().lock();
        let mut failed = Ok(());
        let tell = |node: BrowsedNode| {
            if failed.is_ok() {
                failed = list.write(&mut out, &node);
                if failed.is_err() {
                    cancel.cancel();
                }
            }
        };
        let summary = probe.browse(under.as_ref(), &cancel, tell).await;
        probe.close().await;
        match failed {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(anyhow::Error::from(error)),
            Ok(()) | Err(_) => Ok(summary?),
        }
    })?;
    tracing::info!(nodes = summary.nodes, is_complete = summary.is_complete, "browsed");
    Ok(if summary.nodes == 0 { Found::Nothing } else { Found::Something })
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
        match (arguments.config, arguments.json) {
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

#[derive(Debug, Serialize)]
struct Doctor {
    endpoint: String,
    endpoints: Vec<Endpoint>,
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    url: String,
    protection: String,
    certificate: Option<String>,
    problems: Vec<String>,
}

pub(crate) fn doctor(arguments: &DoctorOpcUaArguments) -> Result<Found> {
    let found = runtime()?.block_on(driver_opcua::endpoints(&arguments.endpoint))?;
    let doctor = diagnose(&arguments.endpoint, found);
    print(Output::json(arguments.json), &doctor, write_doctor)?;
    Ok(if doctor.endpoints.is_empty() { Found::Nothing } else { Found::Something })
}

fn diagnose(endpoint: &str, found: Vec<EndpointReport>) -> Doctor {
    let mut advice = Vec::new();
    if found.is_empty() {
        advice.push("the server offers no endpoint: enable one in its configuration".to_owned());
    }
    if found.iter().any(|e| e.url.trim_end_matches('/') != endpoint.trim_end_matches('/')) {
        advice.push(
            "the server announces another address than the one asked; the agent keeps to the configured one"
                .to_owned(),
        );
    }
    let endpoints = found
        .into_iter()
        .map(|e| Endpoint {
            url: e.url,
            protection: e.protection,
            certificate: e.certificate,
            problems: e.problems,
        })
        .collect();
    Doctor { endpoint: endpoint.to_owned(), endpoints, advice }
}

fn write_doctor(out: &mut dyn Write, paint: Paint, doctor: &Doctor) -> std::io::Result<()> {
    writeln!(out, "{}: {} endpoints", doctor.endpoint, doctor.endpoints.len())?;
    let mut table = Table::new(&["address", "protection", "certificate"]);
    for e in &doctor.endpoints {
        table.row([
            Cell::from(&e.url),
            (&e.protection).into(),
            e.certificate.as_deref().unwrap_or("-").into(),
        ]);
    }
    table.write(out, paint)?;
    let mut problems: Vec<&String> = doctor.endpoints.iter().flat_map(|e| &e.problems).collect();
    problems.sort();
    problems.dedup();
    for problem in problems {
        writeln!(out, "{} {problem}", paint.text(Tone::Bad, "problem:"))?;
    }
    for advice in &doctor.advice {
        writeln!(out, "{} {advice}", paint.text(Tone::Warning, "hint:"))?;
    }
    Ok(())
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

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_with_what_to_run_next() {
        let address = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            listener.local_addr().expect("bound")
        };
        let Err(error) = open(&format!("opc.tcp://{address}")).await else { panic!("nobody is there") };
        assert!(error.to_string().contains("edge-agent doctor opcua"), "{error}");
    }

    #[test]
    fn certificate_problems_are_told_once_and_a_foreign_address_is_explained() {
        let report = || EndpointReport {
            url: "opc.tcp://plc:4840".to_owned(),
            protection: "Basic256Sha256/Sign for Anonymous".to_owned(),
            certificate: Some("CN=plc".to_owned()),
            problems: vec!["the certificate has expired".to_owned()],
        };
        let mut out = Vec::new();
        let doctor = diagnose("opc.tcp://10.0.0.1:4840", vec![report(), report()]);
        write_doctor(&mut out, Paint::Plain, &doctor).expect("memory");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.matches("problem: the certificate has expired").count(), 1, "{text}");
        assert!(text.contains("hint: the server announces another address"), "{text}");
    }
}
