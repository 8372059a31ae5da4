//! How long queries take over months of one machine with 20 tags at 1 Hz, in a store and its archive.
//!
//! `cargo bench -p factory-tests --bench query`. `QUERY_DAYS` says how much is made first (90 when not set: 155 million
//! samples, 350 MB), `QUERY_STORE` where: a folder for SQLite, or postgres://… of a server to write to.

#[path = "../../protocol/benches/support/signals.rs"]
#[expect(dead_code, reason = "the plant of many machines is for others")]
mod signals;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use archive_parquet::ParquetArchive;
use factory_tests::load::table::{Table, say};
use factory_tests::load::{Role, profile, role, runtime};
use history::{Budget, Function, Reader, Report, Subject, Tiers};
use ingestion::IngestStore;
use plant_model::{
    DataType, Enumeration, GatewayId, MachineId, Sample, TagDefinition, TagId, TenantId, Timestamp, Value,
};
use protocol::{Catalogue, CatalogueMachine, CatalogueTag, Detail, Epoch, Sequence, SeriesId, TagRole};
use segments::{Content, Minute, Source, TagKind, TagNumber};
use store_postgres::PostgresStore;
use store_sqlite::SqliteStore;
use tenancy::{TenancyStore, Tenant};
use tiering::{SealSet, SegmentKey, SegmentWrite, TierStore, roll_next};

/// 2026-09-01T00:00:00Z.
const START: i64 = 1_788_220_800_000_000;
const DAY: i64 = 86_400_000_000;
const EPOCH: Epoch = Epoch::from_u64(1);
/// Segments of one transaction, a day of a machine.
const WAVE: u32 = 1_440;
/// Each query is asked so often; the first time nothing is in memory.
const TIMES: usize = 40;

trait Store: TierStore + TenancyStore + IngestStore {}
impl<S: TierStore + TenancyStore + IngestStore> Store for S {}

fn main() -> Result<()> {
    match role() {
        Role::Measure => runtime()?.block_on(measure()),
        Role::Serve(_) | Role::Part(..) | Role::Nothing => Ok(()),
    }
}

async fn measure() -> Result<()> {
    let days: u32 = std::env::var("QUERY_DAYS").map_or(Ok(90), |text| text.parse())?;
    let folder = tempfile::tempdir_in(".")?;
    let store: Arc<dyn Store> = match std::env::var("QUERY_STORE") {
        Ok(uri) if uri.starts_with("postgres") => Arc::new(PostgresStore::open(&uri).await?),
        Ok(place) => Arc::new(SqliteStore::open(Path::new(&place))?),
        Err(_) => Arc::new(SqliteStore::open(folder.path())?),
    };
    let place = folder.path().canonicalize()?;
    let archive = ParquetArchive::open(&format!("file://{}", place.display()), [])?;
    let began = Instant::now();
    fill(&*store, days).await?;
    say(&format!(
        "{days} days of 20 tags at 1 Hz made in {:.1} s ({})",
        began.elapsed().as_secs_f64(),
        profile()
    ));
    let tiers = Tiers { store: &*store, archive: &archive };
    let mut table = Table::new(&["query", "p50 ms", "p95 ms", "first ms", "rows", "from"]);
    for query in queries(days) {
        let line = run(tiers, &query).await.with_context(|| query.name.to_owned())?;
        table.row(&line);
    }
    table.print("queries");
    say(&format!("peak resident memory {} MiB", peak_mib()?));
    Ok(())
}

/// What is asked.
struct Query {
    name: &'static str,
    tags: u32,
    /// Days, back from the end.
    length: f64,
    what: What,
}

enum What {
    Raw,
    Points(usize),
    Figures(u32),
    Latest,
}

fn queries(days: u32) -> Vec<Query> {
    let of = |name, tags, length, what| Query { name, tags, length, what };
    let all = f64::from(days);
    let mut queries = vec![
        of("last hour of 20 tags, raw", 20, 1.0 / 24.0, What::Raw),
        of("last hour of 20 tags, 500 points", 20, 1.0 / 24.0, What::Points(500)),
        of("24 h of one tag, 500 points", 1, 1.0, What::Points(500)),
        of("24 h of one tag, raw", 1, 1.0, What::Raw),
        of("30 days of one tag by hour", 1, all.min(30.0), What::Figures(3_600)),
        of("90 days of 10 tags, 2,000 points", 10, all.min(90.0), What::Points(2_000)),
        of("latest of 20 tags", 20, all, What::Latest),
    ];
    queries.retain(|query| query.length <= all);
    queries
}

async fn run(tiers: Tiers<'_>, query: &Query) -> Result<Vec<String>> {
    let mut times = Vec::new();
    let mut report = Report::default();
    for _ in 0..TIMES {
        let began = Instant::now();
        report = ask(tiers, query).await?;
        times.push(began.elapsed());
    }
    let first = times[0];
    times.sort_unstable();
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let layers: Vec<&str> = report.layers.iter().map(|layer| layer.name()).collect();
    Ok(vec![
        query.name.to_owned(),
        ms(times[TIMES / 2]),
        ms(times[TIMES * 95 / 100]),
        ms(first),
        report.rows.to_string(),
        layers.join(" "),
    ])
}

async fn ask(tiers: Tiers<'_>, query: &Query) -> Result<Report> {
    let end = tiers_end(tiers).await?;
    #[expect(clippy::cast_possible_truncation, reason = "some months")]
    let length = (query.length * DAY as f64) as i64;
    let range = Timestamp::from_micros(end - length)..Timestamp::from_micros(end);
    let tags = (0..query.tags).map(tag).collect::<Result<_>>()?;
    let subject = Subject { tenant: tenant()?, gateway: gateway()?, machine: machine()?, tags };
    let reader = Reader::open(tiers, subject, range.clone(), Budget::INTERACTIVE).await?;
    Ok(match query.what {
        What::Raw => {
            let (page, reader) = reader.page(200_000).await?;
            ensure!(page.samples.iter().all(|samples| !samples.is_empty()), "no samples");
            reader.report().clone()
        }
        What::Points(points) => {
            let curve = reader.curve(points).await?;
            ensure!(curve.tags.len() == query.tags as usize, "no curves");
            curve.report
        }
        What::Figures(seconds) => {
            let width = i64::from(seconds) * 1_000_000;
            let count = length / width;
            let boundaries: Vec<_> =
                (0..=count).map(|n| Timestamp::from_micros(range.start.micros() + n * width)).collect();
            reader.figures(&boundaries, &[Function::Count]).await?.report
        }
        What::Latest => {
            let (found, reader) = reader.latest().await?;
            ensure!(found.iter().all(Option::is_some), "not all tags have a latest sample");
            reader.report().clone()
        }
    })
}

/// The end of the last day that is there.
async fn tiers_end(tiers: Tiers<'_>) -> Result<i64> {
    let revision = tiers.store.revision(&tenant()?, &gateway()?).await?;
    Ok(START + i64::try_from(revision.0)? * DAY)
}

fn tenant() -> Result<TenantId> {
    Ok(TenantId::new("bench")?)
}

fn gateway() -> Result<GatewayId> {
    Ok(GatewayId::new("gw")?)
}

fn machine() -> Result<MachineId> {
    Ok(MachineId::new("machine")?)
}

fn tag(number: u32) -> Result<TagId> {
    Ok(TagId::new(&format!("tag-{number}"))?)
}

fn kind(tag: u32) -> TagKind {
    match tag {
        15..=18 => TagKind::State,
        _ => TagKind::Analog,
    }
}

/// One revision a day.
async fn fill(store: &dyn Store, days: u32) -> Result<()> {
    let (tenant, gateway, machine) = (tenant()?, gateway()?, machine()?);
    store.add_tenant(Tenant { id: tenant.clone(), name: "Bench".into() }).await?;
    store.add_gateway(tenant.clone(), gateway.clone()).await?;
    let catalogue = Arc::new(catalogue()?);
    let bytes = catalogue.encode().into();
    store.save_catalogue(&tenant, &gateway, catalogue, bytes, Timestamp::from_micros(START)).await?;
    let mut noise = signals::Noise::new();
    let mut levels: Vec<f64> = (0..signals::TAGS).map(|tag| signals::level(0, tag)).collect();
    for day in 0..days {
        let segments = (0..WAVE).map(|n| segment(&machine, &mut noise, &mut levels, day * WAVE + n));
        let set = SealSet {
            gateway: gateway.clone(),
            base: store.revision(&tenant, &gateway).await?,
            epoch: EPOCH,
            through: Sequence::from_u64(u64::from(day + 1) * u64::from(WAVE)),
            segments: segments.collect::<Result<_>>()?,
            latest: None,
        };
        store.seal(&tenant, set).await?;
        let now = Timestamp::from_micros(START + i64::from(day + 1) * DAY);
        while roll_next(store, &tenant, &gateway, now).await? > 0 {}
    }
    Ok(())
}

/// A minute, as twelve batches brought it.
fn segment(
    machine: &MachineId,
    noise: &mut signals::Noise,
    levels: &mut [f64],
    number: u32,
) -> Result<SegmentWrite> {
    let from = Timestamp::from_micros(START);
    let minute = Minute::of(Timestamp::from_micros(START + i64::from(number) * Minute::MICROS));
    let mut rows: Vec<Vec<Sample>> = vec![Vec::new(); levels.len()];
    for second in number * 60..(number + 1) * 60 {
        for (tag, level) in (0..).zip(levels.iter_mut()) {
            let value = noise.value(level, tag, second, 0);
            rows[tag as usize].push(signals::sample(from, 0, second, value));
        }
    }
    let mut content = Content::new(minute);
    for batch in 0..12_u32 {
        let sequence = Sequence::from_u64(u64::from(number) * 12 + u64::from(batch) + 1);
        let source = Source { epoch: EPOCH, sequence };
        for (tag, samples) in (0..).zip(&rows) {
            let part = &samples[batch as usize * 5..(batch as usize + 1) * 5];
            content.add((TagNumber(tag), kind(tag)), (source, Detail::Full), part)?;
        }
    }
    let sealed = content.seal()?;
    let key = SegmentKey { machine: machine.clone(), minute };
    let count = content.count() as u64;
    Ok(SegmentWrite { key, count, head: sealed.head, body: Some(sealed.body), late: None })
}

fn catalogue() -> Result<Catalogue> {
    let tags = (0..signals::TAGS).map(|number| {
        let value = signals::Noise::new().value(&mut 0.0, number, 0, 0);
        let data_type = match value {
            Value::Bool(_) => DataType::Bool,
            Value::Int(_) => DataType::Int,
            Value::Float(_) => DataType::Float,
            Value::Text(_) => DataType::Text,
        };
        let role = match kind(number) {
            TagKind::State => TagRole::State,
            TagKind::Analog | TagKind::Counter => TagRole::Plain,
        };
        let id = tag(number)?;
        let enumeration = Enumeration::default();
        let definition =
            TagDefinition { name: id.to_string(), id, unit: String::new(), data_type, enumeration };
        Ok(CatalogueTag { series: SeriesId(number), definition, role })
    });
    let machine = CatalogueMachine {
        id: machine()?,
        name: "Machine".into(),
        kind: "press".into(),
        protocol: "modbus-tcp".into(),
        tags: tags.collect::<Result<_>>()?,
        alarms: Vec::new(),
    };
    Ok(Catalogue { epoch: EPOCH, machines: vec![machine] })
}

fn peak_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1_024)
}
