//! Tags and their numbers.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use plant_model::{DataType, MachineId};
use protocol::{CatalogueMachine, CatalogueTag, Epoch, SeriesId, TagRole};
use segments::{TagKind, TagNumber};
use tiering::{TagRecord, tag_kind};

use super::Of;
use crate::codec::{Columns, epoch_bits, escaped, execute, rows};
use crate::error::Fault;

/// Notes what a catalogue says of tags; those that are new get the next numbers of their machine.
pub(crate) async fn save(
    t: &Transaction<'_>,
    (tenant, gateway): (&str, &str),
    all: &[(&CatalogueMachine, &CatalogueTag)],
) -> Result<(), Fault> {
    // A number that is passed over, because another catalogue names a tag twice, is no harm.
    let sql = "INSERT INTO tag AS t (tenant, gateway, machine, number, tag, kind, data_type, role, unit)
               SELECT $1, $2, k.machine,
                 coalesce(o.number, coalesce((SELECT max(m.number) FROM tag m WHERE m.tenant = $1
                   AND m.gateway = $2 AND m.machine = k.machine), -1)
                   + row_number() OVER (PARTITION BY k.machine, o.number IS NULL ORDER BY k.place)),
                 k.tag, k.kind, k.data_type, k.role, k.unit
               FROM (SELECT DISTINCT ON (n.machine, n.tag) n.* FROM
                       unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[])
                       WITH ORDINALITY AS n (machine, tag, kind, data_type, role, unit, place)
                     ORDER BY n.machine, n.tag, n.place DESC) AS k
               LEFT JOIN tag o ON o.tenant = $1 AND o.gateway = $2 AND o.machine = k.machine AND o.tag = k.tag
               ON CONFLICT (tenant, gateway, machine, tag) DO UPDATE SET kind = greatest(t.kind, excluded.kind),
                 data_type = excluded.data_type, role = excluded.role, unit = excluded.unit";
    let machines: Vec<&str> = all.iter().map(|(machine, _)| machine.id.as_str()).collect();
    let tags: Vec<&str> = all.iter().map(|(_, tag)| tag.definition.id.as_str()).collect();
    let kinds: Vec<i64> =
        all.iter().map(|(_, tag)| i64::from(tag_kind(tag.role, &tag.definition).code())).collect();
    let types: Vec<&str> = all.iter().map(|(_, tag)| tag.definition.data_type.name()).collect();
    let roles: Vec<&str> = all.iter().map(|(_, tag)| tag.role.name()).collect();
    let units: Vec<_> = all.iter().map(|(_, tag)| escaped(&tag.definition.unit)).collect();
    execute(t, sql, &[&tenant, &gateway, &machines, &tags, &kinds, &types, &roles, &units]).await?;
    Ok(())
}

impl Of<'_> {
    pub(crate) async fn tags(&self, machine: Option<&MachineId>) -> Result<Vec<TagRecord>, Fault> {
        let sql = "SELECT machine, number, tag, kind, data_type, role, unit FROM tag
                   WHERE tenant = $1 AND gateway = $2 AND ($3::text IS NULL OR machine = $3)
                   ORDER BY machine, number";
        let (tenant, gateway) = self.key();
        rows(self.t, sql, &[&tenant, &gateway, &machine.map(MachineId::as_str)], |r| {
            let kind = r.position(3)?;
            Ok(TagRecord {
                machine: r.parsed(0)?,
                number: r.position(1).map(TagNumber)?,
                tag: r.parsed(2)?,
                kind: u8::try_from(kind)
                    .ok()
                    .and_then(TagKind::from_code)
                    .ok_or_else(|| Fault::Unreadable(format!("{kind} is no kind of a tag")))?,
                data_type: r.word(4, DataType::from_name)?,
                role: r.word(5, TagRole::from_name)?,
                unit: r.free_text(6)?,
            })
        })
        .await
    }

    pub(crate) async fn series(
        &self,
        epoch: Epoch,
    ) -> Result<BTreeMap<SeriesId, (MachineId, TagNumber)>, Fault> {
        let sql = "SELECT s.series, s.machine, t.number FROM series s
                   JOIN tag t USING (tenant, gateway, machine, tag)
                   WHERE s.tenant = $1 AND s.gateway = $2 AND s.epoch = $3";
        let (tenant, gateway) = self.key();
        let series = rows(self.t, sql, &[&tenant, &gateway, &epoch_bits(epoch)], |r| {
            Ok((r.position(0).map(SeriesId)?, (r.parsed(1)?, r.position(2).map(TagNumber)?)))
        })
        .await?;
        Ok(series.into_iter().collect())
    }
}
