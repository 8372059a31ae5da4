//! Plans requests: which registers are read together.
//!
//! A request covers tags of one table and one poll interval. Neighbours share a request as long as it
//! stays within the limits and the registers read in vain between them are no more than `max_gap`. Unless
//! that is configured, it is what one more request costs: first by assumption, then by measured round
//! trips ([`Bridging`]). A value is never split over two requests, because its halves would then be of
//! different times.

use std::time::Duration;

use crate::{AcquisitionError, ModbusTag, RegisterTable, TagIndex};

/// What one request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Registers in one request; the protocol allows 125, some devices less.
    pub max_registers: u16,
    /// Bits in one request; the protocol allows 2,000.
    pub max_coils: u16,
    /// Registers or bits nobody asked for that may lie between two tags of one request.
    pub max_gap: u16,
    /// Whether that stays as it is.
    pub bridging: Bridging,
    /// Whether tags share requests at all.
    pub grouping: Grouping,
}

/// How far gaps are bridged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bridging {
    /// As long as reading the gap is cheaper than another request, by the round trips measured; the
    /// `max_gap` is where it begins.
    #[default]
    Measured,
    /// Up to `max_gap`.
    Fixed,
}

/// Whether tags share requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    /// Neighbours do.
    #[default]
    Shared,
    /// Every tag has its own, for devices that answer only exactly what their manual lists.
    OneTagEach,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self {
            max_registers: 125,
            max_coils: 2000,
            max_gap: 32,
            bridging: Bridging::Measured,
            grouping: Grouping::Shared,
        }
    }
}

impl PlanLimits {
    const fn quantity_max(&self, table: RegisterTable) -> u16 {
        if table.is_bits() { self.max_coils } else { self.max_registers }
    }
}

impl PollBlock {
    /// Gaps are never bridged further than this by measurement: a request for registers is no longer.
    pub(crate) const GAP_MAX: u16 = 125;
}

/// One request, repeated every poll interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollBlock {
    /// The table it reads.
    pub table: RegisterTable,
    /// The first register or bit, zero-based.
    pub start: u16,
    /// How many registers or bits.
    pub quantity: u16,
    /// The tags it covers, by address.
    pub tags: Vec<TagIndex>,
    /// How often it is read.
    pub poll_interval: Duration,
}

/// Plans the requests for `tags`, whose positions are their [`TagIndex`]. Ordered by poll interval
/// (shortest first), table and address. Every tag is in exactly one block.
///
/// # Errors
/// A tag alone is wider than one request may be, or there are more tags than a [`TagIndex`] counts.
pub fn plan(tags: &[ModbusTag], limits: &PlanLimits) -> Result<Vec<PollBlock>, AcquisitionError> {
    let mut spans = spans(tags)?;
    spans.sort_by_key(|s| (s.poll_interval, s.table, s.start, s.end));
    let mut blocks: Vec<OpenBlock> = Vec::new();
    for span in spans {
        let max = limits.quantity_max(span.table);
        if span.end - span.start > u32::from(max) {
            let quantity = tags[span.tag.as_usize()].quantity();
            return Err(AcquisitionError::WiderThanRequest { quantity, max });
        }
        match blocks.last_mut() {
            Some(block) if block.admits(&span, limits) => block.add(&span),
            Some(_) | None => blocks.push(OpenBlock::starting(&span)),
        }
    }
    Ok(blocks.into_iter().map(OpenBlock::close).collect())
}

/// Where one tag lies: `[start, end)`, wide enough for the address behind the last.
struct Span {
    poll_interval: Duration,
    table: RegisterTable,
    start: u32,
    end: u32,
    tag: TagIndex,
}

fn spans(tags: &[ModbusTag]) -> Result<Vec<Span>, AcquisitionError> {
    let too_many = || AcquisitionError::TagCount { count: tags.len(), max: usize::from(u16::MAX) };
    tags.iter()
        .enumerate()
        .map(|(index, tag)| {
            let p = tag.parameters();
            let start = u32::from(p.pdu_address);
            Ok(Span {
                poll_interval: p.poll_interval,
                table: p.table,
                start,
                end: start + u32::from(tag.quantity()),
                tag: TagIndex(u16::try_from(index).map_err(|_| too_many())?),
            })
        })
        .collect()
}

struct OpenBlock {
    poll_interval: Duration,
    table: RegisterTable,
    start: u32,
    end: u32,
    tags: Vec<TagIndex>,
}

impl OpenBlock {
    fn starting(span: &Span) -> Self {
        Self {
            poll_interval: span.poll_interval,
            table: span.table,
            start: span.start,
            end: span.end,
            tags: vec![span.tag],
        }
    }

    /// `span` does not begin before this block, because spans come sorted.
    fn admits(&self, span: &Span, limits: &PlanLimits) -> bool {
        limits.grouping == Grouping::Shared
            && self.poll_interval == span.poll_interval
            && self.table == span.table
            && span.start.saturating_sub(self.end) <= u32::from(limits.max_gap)
            && self.end.max(span.end) - self.start <= u32::from(limits.quantity_max(self.table))
    }

    fn add(&mut self, span: &Span) {
        self.end = self.end.max(span.end);
        self.tags.push(span.tag);
    }

    fn close(self) -> PollBlock {
        let fits = "a block begins at an address and is no longer than its limit";
        PollBlock {
            table: self.table,
            start: u16::try_from(self.start).expect(fits),
            quantity: u16::try_from(self.end - self.start).expect(fits),
            tags: self.tags,
            poll_interval: self.poll_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RegisterFormat;
    use crate::modbus::ModbusTagParameters;
    use crate::modbus::tests::parameters;

    fn tag(table: RegisterTable, pdu_address: u16, format: RegisterFormat, interval_ms: u64) -> ModbusTag {
        let poll_interval = Duration::from_millis(interval_ms);
        ModbusTag::new(ModbusTagParameters { table, pdu_address, poll_interval, ..parameters(format) })
            .expect("valid")
    }

    fn holding(pdu_address: u16, format: RegisterFormat) -> ModbusTag {
        tag(RegisterTable::HoldingRegister, pdu_address, format, 1000)
    }

    fn ranges(tags: &[ModbusTag]) -> Vec<(u16, u16)> {
        let blocks = plan(tags, &PlanLimits::default()).expect("plannable");
        blocks.iter().map(|b| (b.start, b.quantity)).collect()
    }

    #[test]
    fn neighbours_share_one_request_whatever_their_order() {
        let tags = [
            holding(4, RegisterFormat::F32),
            holding(0, RegisterFormat::U16),
            holding(1, RegisterFormat::U32),
        ];
        assert_eq!(ranges(&tags), [(0, 6)]);
    }

    #[test]
    fn a_gap_is_bridged_up_to_its_limit_and_not_beyond() {
        assert_eq!(ranges(&[holding(0, RegisterFormat::U16), holding(33, RegisterFormat::U16)]), [(0, 34)]);
        assert_eq!(
            ranges(&[holding(0, RegisterFormat::U16), holding(34, RegisterFormat::U16)]),
            [(0, 1), (34, 1)]
        );
    }

    #[test]
    fn a_value_that_would_be_torn_by_the_limit_moves_to_the_next_request() {
        let text = RegisterFormat::Text { registers: 124 };
        assert_eq!(ranges(&[holding(0, text), holding(124, RegisterFormat::F32)]), [(0, 124), (124, 2)]);
        assert_eq!(ranges(&[holding(0, text), holding(124, RegisterFormat::U16)]), [(0, 125)]);
    }

    #[test]
    fn tables_and_poll_intervals_are_never_mixed_and_the_fastest_comes_first() {
        let tags = [
            tag(RegisterTable::HoldingRegister, 0, RegisterFormat::U16, 1000),
            tag(RegisterTable::InputRegister, 0, RegisterFormat::U16, 1000),
            tag(RegisterTable::HoldingRegister, 1, RegisterFormat::U16, 200),
            tag(RegisterTable::Coil, 0, RegisterFormat::Bool, 1000),
        ];
        let blocks = plan(&tags, &PlanLimits::default()).expect("plannable");
        let order: Vec<_> = blocks.iter().map(|b| b.tags[0].0).collect();
        assert_eq!(order, [2, 3, 0, 1]);
    }

    #[test]
    fn overlapping_tags_are_read_once() {
        let bits = [
            holding(7, RegisterFormat::Bit(0)),
            holding(7, RegisterFormat::Bit(9)),
            holding(6, RegisterFormat::U32),
        ];
        assert_eq!(ranges(&bits), [(6, 2)]);
    }

    #[test]
    fn the_end_of_the_table_can_be_read() {
        assert_eq!(ranges(&[holding(65_535, RegisterFormat::U16)]), [(65_535, 1)]);
    }

    #[test]
    fn a_value_wider_than_a_small_device_allows_is_refused() {
        let limits = PlanLimits { max_registers: 3, ..PlanLimits::default() };
        let error = plan(&[holding(0, RegisterFormat::F64)], &limits).expect_err("4 registers");
        assert_eq!(error, AcquisitionError::WiderThanRequest { quantity: 4, max: 3 });
    }

    #[test]
    fn a_device_that_wants_it_gets_one_request_for_each_tag() {
        let limits = PlanLimits { grouping: Grouping::OneTagEach, ..PlanLimits::default() };
        let tags = [holding(0, RegisterFormat::U16), holding(1, RegisterFormat::F32)];
        let blocks = plan(&tags, &limits).expect("plannable");
        assert_eq!(blocks.iter().map(|b| (b.start, b.quantity)).collect::<Vec<_>>(), [(0, 1), (1, 2)]);
    }

    fn any_tag() -> impl Strategy<Value = ModbusTag> {
        let format = prop::sample::select(vec![
            RegisterFormat::U16,
            RegisterFormat::F32,
            RegisterFormat::I64,
            RegisterFormat::Bit(3),
            RegisterFormat::Bool,
            RegisterFormat::Text { registers: 20 },
        ]);
        let table = prop::sample::select(RegisterTable::ALL.to_vec());
        let address = prop_oneof![0_u16..400, 65_400_u16..=65_500, any::<u16>().prop_map(|a| a.min(65_500))];
        let interval = prop::sample::select(vec![200_u64, 1000]);
        (table, address, format, interval).prop_map(|(table, address, format, interval)| {
            tag(table, address, if table.is_bits() { RegisterFormat::Bool } else { format }, interval)
        })
    }

    proptest! {
        #[test]
        fn b6_every_tag_is_read_whole_and_once_within_all_limits(
            tags in prop::collection::vec(any_tag(), 1..80),
            max_registers in 20_u16..=125,
            max_coils in 1_u16..=2000,
            max_gap in 0_u16..=80,
        ) {
            let limits = PlanLimits { max_registers, max_coils, max_gap, ..PlanLimits::default() };
            let blocks = plan(&tags, &limits).expect("no tag is wider than 20");
            let mut read = vec![0; tags.len()];
            for block in &blocks {
                prop_assert!((1..=limits.quantity_max(block.table)).contains(&block.quantity));
                let end = u32::from(block.start) + u32::from(block.quantity);
                let mut reached = u32::from(block.start);
                for index in &block.tags {
                    let tag = &tags[index.as_usize()];
                    let p = tag.parameters();
                    let first = u32::from(p.pdu_address);
                    read[index.as_usize()] += 1;
                    prop_assert_eq!((p.table, p.poll_interval), (block.table, block.poll_interval));
                    prop_assert!(first >= u32::from(block.start) && first + u32::from(tag.quantity()) <= end);
                    prop_assert!(first.saturating_sub(reached) <= u32::from(max_gap));
                    reached = reached.max(first + u32::from(tag.quantity()));
                }
                prop_assert_eq!(reached, end, "nothing is read behind the last tag");
            }
            prop_assert!(read.iter().all(|n| *n == 1), "{:?}", read);
        }
    }
}
