//! From the answer to a block to the readings of its tags.

use acquisition::{Instants, ModbusConnection, ModbusTag, PollBlock, Report};
use plant_model::{Quality, Value};

/// The last good value of each tag, repeated while a machine is slow or asks for patience.
pub(crate) struct LastValues {
    values: Vec<Option<Value>>,
    /// Whether that value is what was reported last.
    fresh: Vec<bool>,
}

impl LastValues {
    pub(crate) fn new(tags: usize) -> Self {
        Self { values: vec![None; tags], fresh: vec![false; tags] }
    }

    /// Reports what an answer brought.
    pub(crate) fn report_words(
        &mut self,
        report: &mut Report,
        connection: &ModbusConnection,
        block: &PollBlock,
        words: &[u16],
        at: Instants,
    ) {
        for index in &block.tags {
            let tag = &connection.tags()[index.as_usize()];
            let decoded = tag.decode(own_words(tag, block, words));
            self.fresh[index.as_usize()] = decoded.is_ok();
            match decoded {
                Ok(value) => {
                    let quality = tag.quality_of(&value);
                    self.values[index.as_usize()] = Some(value.clone());
                    report.add_value(*index, Some(value), quality, at);
                }
                Err(quality) => report.add_value(*index, None, quality, at),
            }
        }
        report.hand_over();
    }

    /// Reports that an answer is overdue: values reported last are uncertain from now on.
    pub(crate) fn report_doubt(&mut self, report: &mut Report, block: &PollBlock, at: Instants) {
        for index in &block.tags {
            let was_fresh = std::mem::replace(&mut self.fresh[index.as_usize()], false);
            let last = self.values[index.as_usize()].clone();
            if was_fresh && last.is_some() && !report.is_lost(*index) {
                report.add_value(*index, last, Quality::UNCERTAIN_LAST_USABLE_VALUE, at);
            }
        }
        report.hand_over();
    }

    /// Reports that the machine refused to answer. An uncertain quality repeats the last value.
    pub(crate) fn report_refusal(
        &mut self,
        report: &mut Report,
        block: &PollBlock,
        quality: Quality,
        at: Instants,
    ) {
        for index in &block.tags {
            self.fresh[index.as_usize()] = false;
            let (value, quality) = match &self.values[index.as_usize()] {
                Some(last) if quality == Quality::UNCERTAIN_LAST_USABLE_VALUE => {
                    (Some(last.clone()), quality)
                }
                None if quality == Quality::UNCERTAIN_LAST_USABLE_VALUE => {
                    (None, Quality::BAD_WAITING_FOR_INITIAL_DATA)
                }
                Some(_) | None => (None, quality),
            };
            report.add_value(*index, value, quality, at);
        }
        report.hand_over();
    }
}

/// The words of one tag out of those of its block.
fn own_words<'a>(tag: &ModbusTag, block: &PollBlock, words: &'a [u16]) -> &'a [u16] {
    let first = usize::from(tag.parameters().pdu_address - block.start);
    &words[first..first + usize::from(tag.quantity())]
}
