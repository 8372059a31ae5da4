//! Times since a boot find their place in the calendar (SPEC section 11).
//!
//! What a gateway takes while it does not know the time carries the time since its boot. Once it is known when that
//! was, every such time is moved by it; what was taken with the time known stays as it is, also within one batch.
//! A time of a machine ([`Sample::source_timestamp`]) is the machine's own and never moved.

use plant_model::{AlarmTransition, Quality, Sample, Timestamp};

use crate::{Batch, BatchBody, BatchHeader, DecodeError, DiagnosticRecord, Live};

/// Whether it is known when the gateway was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It is.
    Known,
    /// It is not: the place says no more than what came before and after. Good samples become uncertain.
    Assumed,
}

impl BatchHeader {
    /// Whether some times in the body are times since a boot.
    #[must_use]
    pub const fn is_unplaced(&self) -> bool {
        // Times of the calendar are later, so that one such time is the earliest.
        self.first_at.is_unplaced()
    }
}

impl BatchBody {
    /// Whether some of its times are times since a boot.
    #[must_use]
    pub fn is_unplaced(&self) -> bool {
        self.span().is_some_and(|(first, _)| first.is_unplaced())
    }

    /// Moves every time since the boot to its place.
    pub fn place(&mut self, booted_at: Timestamp, certainty: Certainty) {
        match self {
            Self::Samples(blocks) => {
                let samples = blocks.iter_mut().flat_map(|block| &mut block.samples);
                samples.for_each(|sample| place_sample(sample, booted_at, certainty));
            }
            Self::Transitions(list) => list.iter_mut().for_each(|t| place_transition(t, booted_at)),
            Self::Records(list) => list.iter_mut().for_each(|record| place_record(record, booted_at)),
        }
    }
}

impl Live {
    /// Moves every time since the boot to its place.
    pub fn place(&mut self, booted_at: Timestamp) {
        self.at = self.at.placed(booted_at);
        let samples = self.latest.iter_mut().flat_map(|block| &mut block.samples);
        samples.for_each(|sample| place_sample(sample, booted_at, Certainty::Known));
        self.transitions.iter_mut().for_each(|t| place_transition(t, booted_at));
    }
}

impl Batch {
    /// The same batch with every time since the boot moved to its place; it was sent to nobody yet.
    ///
    /// # Errors
    /// The bytes are no undamaged batch, or the batch no longer fits a message.
    pub fn place(message: &[u8], booted_at: Timestamp, certainty: Certainty) -> Result<Vec<u8>, DecodeError> {
        let Self { header, committed_at, mut body } = Self::decode(message)?;
        body.place(booted_at, certainty);
        let committed_at = committed_at.placed(booted_at);
        Self::encode_as(header.detail, header.epoch, header.sequence, committed_at, &body)
    }
}

fn place_sample(sample: &mut Sample, booted_at: Timestamp, certainty: Certainty) {
    if !sample.gateway_timestamp.is_unplaced() {
        return;
    }
    sample.gateway_timestamp = sample.gateway_timestamp.placed(booted_at);
    if certainty == Certainty::Assumed && sample.quality.is_good() {
        sample.quality = Quality::UNCERTAIN;
    }
}

fn place_transition(transition: &mut AlarmTransition, booted_at: Timestamp) {
    let place = |at: &mut Timestamp| *at = at.placed(booted_at);
    place(&mut transition.value_at);
    place(&mut transition.decided_at);
    transition.flags.shelved_until.as_mut().map(place);
    transition.flags.review_at.as_mut().map(place);
}

fn place_record(record: &mut DiagnosticRecord, booted_at: Timestamp) {
    let place = |at: &mut Timestamp| *at = at.placed(booted_at);
    match record {
        DiagnosticRecord::Gap(gap) => place(&mut gap.at),
        DiagnosticRecord::Dropped(dropped) => {
            place(&mut dropped.from);
            place(&mut dropped.to);
        }
        DiagnosticRecord::Clock(clock) => {
            place(&mut clock.from);
            place(&mut clock.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use plant_model::Value;
    use proptest::prelude::*;

    use super::*;
    use crate::{Epoch, Sequence, SeriesId, SeriesSamples};

    const BOOTED_AT: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn sample(gateway: i64, source: Option<i64>) -> Sample {
        Sample {
            value: Some(Value::Int(1)),
            quality: Quality::GOOD,
            source_timestamp: source.map(Timestamp::from_micros),
            gateway_timestamp: Timestamp::from_micros(gateway),
        }
    }

    fn message(samples: Vec<Sample>) -> Vec<u8> {
        let body = BatchBody::Samples(vec![SeriesSamples { series: SeriesId(1), samples }]);
        let at = Timestamp::from_micros(9);
        Batch::encode(Epoch::from_u64(1), Sequence::from_u64(7), at, &body).expect("fits")
    }

    fn samples_of(message: &[u8]) -> Vec<Sample> {
        let BatchBody::Samples(blocks) = Batch::decode(message).expect("own").body else { panic!("samples") };
        blocks.into_iter().flat_map(|block| block.samples).collect()
    }

    #[test]
    fn e1_a_batch_on_both_sides_of_the_moment_is_placed_as_a_whole() {
        let later = BOOTED_AT.micros() + 60_000_000;
        let batch = message(vec![sample(50_000_000, None), sample(later, None)]);
        assert!(BatchHeader::read(&batch).expect("own").is_unplaced());
        let placed = Batch::place(&batch, BOOTED_AT, Certainty::Known).expect("placed");
        let times: Vec<_> = samples_of(&placed).iter().map(|s| s.gateway_timestamp.micros()).collect();
        assert_eq!(times, [BOOTED_AT.micros() + 50_000_000, later]);
        let (header, again) = (BatchHeader::read(&placed), BatchHeader::read(&batch));
        let (header, again) = (header.expect("own"), again.expect("own"));
        assert_eq!((header.sequence, header.epoch, header.count), (again.sequence, again.epoch, again.count));
        assert!(!header.is_unplaced() && header.last_at.micros() == later);
        assert_eq!(Batch::place(&placed, BOOTED_AT, Certainty::Assumed), Ok(placed), "placed once");
    }

    #[test]
    fn the_time_of_the_machine_is_its_own_and_places_the_sample_again() {
        let right = BOOTED_AT.micros() + 3_000_000;
        let placed =
            Batch::place(&message(vec![sample(3_500_000, Some(right))]), BOOTED_AT, Certainty::Known);
        let placed = samples_of(&placed.expect("placed"));
        assert_eq!(placed[0].timestamp().micros(), right);
        assert_eq!(placed[0].quality, Quality::GOOD);
    }

    #[test]
    fn an_assumed_time_makes_a_good_sample_uncertain_and_a_bad_one_stays_bad() {
        let bad = Sample { quality: Quality::BAD_TIMEOUT, ..sample(2, None) };
        let placed = Batch::place(&message(vec![sample(1, None), bad]), BOOTED_AT, Certainty::Assumed);
        let qualities: Vec<_> = samples_of(&placed.expect("placed")).iter().map(|s| s.quality).collect();
        assert_eq!(qualities, [Quality::UNCERTAIN, Quality::BAD_TIMEOUT]);
    }

    proptest! {
        #[test]
        fn e1_placing_moves_all_by_the_same_and_keeps_their_order(
            times in prop::collection::vec(0_i64..86_400_000_000, 1..200), booted in 0_i64..1_000_000_000
        ) {
            let booted_at = Timestamp::from_micros(BOOTED_AT.micros() + booted);
            let batch = message(times.iter().map(|t| sample(*t, None)).collect());
            let placed = Batch::place(&batch, booted_at, Certainty::Known).expect("placed");
            let moved: Vec<_> = samples_of(&placed).iter()
                .map(|s| s.gateway_timestamp.micros() - booted_at.micros()).collect();
            prop_assert_eq!(moved, times);
        }
    }
}
