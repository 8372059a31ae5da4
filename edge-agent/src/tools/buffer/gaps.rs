//! `edge-agent buffer gaps`.

use std::io::Write;

use anyhow::Result;
use edge_store::{BufferReader, StoreError};
use protocol::{Sequence, StreamId};

use super::{Found, Source};
use crate::buffer_key;
use crate::buffer_view::LossesView;
use crate::cli::BufferStatusArguments;
use crate::tools::table::{Cell, Paint, Table, Tone};
use crate::tools::{Output, print};

pub(super) fn run(arguments: &BufferStatusArguments) -> Result<Found> {
    let source = Source::of(&arguments.target)?;
    let view = match source.locked() {
        Err(StoreError::InUse { .. }) => source.ask(arguments.status, "/buffer/gaps")?,
        opened => {
            let mut reader = opened?;
            reader.unseal(buffer_key::load(source.key_file.as_deref())?.as_ref())?;
            look(&reader)?
        }
    };
    print(Output::json(arguments.json), &view, write)?;
    Ok(Found::Something)
}

fn look(reader: &BufferReader) -> Result<LossesView, StoreError> {
    let acked = reader.head(StreamId::Diagnostic).map_or(Sequence::ZERO, |(_, acked)| acked);
    let mut view = LossesView::default();
    reader.each(StreamId::Diagnostic, Sequence::ZERO, |batch| {
        view.add(&batch.message, acked);
        Ok::<_, StoreError>(())
    })?;
    reader.check_unchanged()?;
    Ok(view)
}

fn write(out: &mut dyn Write, paint: Paint, view: &LossesView) -> std::io::Result<()> {
    if view.losses.is_empty() {
        return writeln!(out, "nothing is recorded as lost in what the buffer holds");
    }
    let mut table =
        Table::new(&["what", "reason", "stream", ">first", ">last", ">entries", "from", "to", "delivered"]);
    for loss in &view.losses {
        let number = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
        table.row([
            Cell::from(&loss.kind),
            (&loss.reason).into(),
            loss.stream.as_deref().unwrap_or_default().into(),
            number(loss.first).into(),
            number(loss.last).into(),
            loss.entries.into(),
            (&loss.from).into(),
            (&loss.to).into(),
            if loss.delivered { "yes".into() } else { Cell::toned(Tone::Warning, "no") },
        ]);
    }
    table.write(out, paint)?;
    if view.left_out > 0 {
        writeln!(out, "and {} more", view.left_out)?;
    }
    Ok(())
}
