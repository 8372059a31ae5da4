//! Tags, which keep their number through epochs and catalogues, and what series mean.

use std::collections::BTreeMap;

use plant_model::{DataType, GatewayId, MachineId};
use protocol::{CatalogueTag, Epoch, SeriesId, TagRole};
use rusqlite::{Connection, params};
use segments::{TagKind, TagNumber};
use tiering::{TagRecord, tag_kind};

use super::keys::machine_or_new;
use crate::codec::{Columns, epoch_bits, execute, rows};
use crate::error::Fault;

/// Gives the tag its number, if it has none, and takes the rest over from a catalogue.
pub(crate) fn save_tag(
    c: &Connection,
    gateway: &GatewayId,
    machine: &MachineId,
    tag: &CatalogueTag,
) -> Result<(), Fault> {
    let machine = machine_or_new(c, gateway, machine)?;
    let sql = "INSERT INTO tag (machine, number, tag, kind, data_type, role, unit)
               VALUES (?1, (SELECT coalesce(max(number), -1) + 1 FROM tag WHERE machine = ?1), ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (machine, tag) DO UPDATE SET kind = max(kind, excluded.kind),
                 data_type = excluded.data_type, role = excluded.role, unit = excluded.unit";
    let d = &tag.definition;
    let kind = tag_kind(tag.role, d).code();
    execute(c, sql, params![machine.0, d.id.as_str(), kind, d.data_type.name(), tag.role.name(), d.unit])?;
    Ok(())
}

pub(crate) fn tags(
    c: &Connection,
    gateway: &GatewayId,
    machine: Option<&MachineId>,
) -> Result<Vec<TagRecord>, Fault> {
    let sql = "SELECT m.machine, t.number, t.tag, t.kind, t.data_type, t.role, t.unit
               FROM machine m JOIN tag t ON t.machine = m.id
               WHERE m.gateway = ?1 AND (?2 IS NULL OR m.machine = ?2) ORDER BY m.machine, t.number";
    rows(c, sql, params![gateway.as_str(), machine.map(MachineId::as_str)], |r| {
        let kind = u8::try_from(r.number(3)?).ok().and_then(TagKind::from_code);
        Ok(TagRecord {
            machine: r.parsed(0)?,
            number: TagNumber(r.position(1)?),
            tag: r.parsed(2)?,
            kind: kind.ok_or_else(|| Fault::Unreadable("the kind of a tag".to_owned()))?,
            data_type: r.word(4, DataType::from_name)?,
            role: r.word(5, TagRole::from_name)?,
            unit: r.text(6)?,
        })
    })
}

pub(crate) fn series(
    c: &Connection,
    gateway: &GatewayId,
    epoch: Epoch,
) -> Result<BTreeMap<SeriesId, (MachineId, TagNumber)>, Fault> {
    let sql = "SELECT s.series, s.machine, t.number FROM series s
               JOIN machine m ON m.gateway = s.gateway AND m.machine = s.machine
               JOIN tag t ON t.machine = m.id AND t.tag = s.tag
               WHERE s.gateway = ?1 AND s.epoch = ?2";
    let all = rows(c, sql, params![gateway.as_str(), epoch_bits(epoch)], |r| {
        Ok((SeriesId(r.position(0)?), (r.parsed(1)?, TagNumber(r.position(2)?))))
    })?;
    Ok(all.into_iter().collect())
}
