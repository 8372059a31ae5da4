//! `read opcua`, `browse opcua` and `doctor opcua`: one server, asked once.

mod browse;
mod doctor;
mod target;

use std::io::Write;

use acquisition::NodeReference;
use anyhow::Result;
use serde::Serialize;

pub(crate) use browse::browse;
pub(crate) use doctor::doctor;

use super::table::{Cell, Paint, Table, Tone};
use super::{Found, Output, print, runtime};
use crate::cli::ReadOpcUaArguments;
use target::Target;

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
    let target = Target::of(&arguments.target)?;
    let node = runtime()?.block_on(async {
        let mut probe = target.open().await?;
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
