//! From the answer to a block to the readings of its tags.

use acquisition::{Instants, ModbusConnection, ModbusTag, PollBlock, Report};
use plant_model::{Quality, Value};

/// The last good value of each tag, repeated while a busy machine asks for patience.
pub(crate) struct LastValues(Vec<Option<Value>>);

impl LastValues {
    pub(crate) fn new(tags: usize) -> Self {
        Self(vec![None; tags])
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
            match tag.decode(own_words(tag, block, words)) {
                Ok(value) => {
                    let quality = tag.quality_of(&value);
                    self.0[index.as_usize()] = Some(value.clone());
                    report.add_value(*index, Some(value), quality, at);
                }
                Err(quality) => report.add_value(*index, None, quality, at),
            }
        }
        report.hand_over();
    }

    /// Reports that the machine refused to answer. An uncertain quality repeats the last value.
    pub(crate) fn report_refusal(
        &self,
        report: &mut Report,
        block: &PollBlock,
        quality: Quality,
        at: Instants,
    ) {
        for index in &block.tags {
            let (value, quality) = match &self.0[index.as_usize()] {
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
