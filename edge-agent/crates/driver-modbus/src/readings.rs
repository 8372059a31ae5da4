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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use acquisition::{
        LinkState, MachineSink, ModbusAddress, ModbusConnectionParameters, ModbusTagParameters, Quirks,
        Reading, RegisterFormat, RegisterTable, TagIndex, WordOrder,
    };
    use plant_model::{DataType, Monotonic, Timestamp};

    use super::*;

    const AT: Instants =
        Instants { gateway_timestamp: Timestamp::from_micros(5_000), received_at: Monotonic::from_micros(7) };

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Quality>>>);

    impl MachineSink for Heard {
        fn accept(&mut self, readings: &[Reading]) {
            self.0.lock().expect("unpoisoned").extend(readings.iter().map(|r| r.sample.quality));
        }

        fn link(&mut self, _: LinkState) {}
    }

    fn connection() -> ModbusConnection {
        let tag = ModbusTag::new(ModbusTagParameters {
            table: RegisterTable::HoldingRegister,
            pdu_address: 0,
            format: RegisterFormat::U16,
            word_order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            poll_interval: Duration::from_secs(1),
            data_type: DataType::Int,
            range: None,
        });
        let address = ModbusAddress::Tcp { host: "plc".to_owned(), port: 502 };
        let timeout = Duration::from_secs(1);
        let parameters =
            ModbusConnectionParameters { address, unit_id: 1, timeout, quirks: Quirks::default() };
        ModbusConnection::new(parameters, vec![tag.expect("valid")]).expect("valid")
    }

    /// What is heard when a value was read, then this happened, and then two answers in a row are overdue.
    fn heard_after(happened: impl FnOnce(&mut LastValues, &mut Report, &PollBlock)) -> Vec<&'static str> {
        let (connection, heard) = (connection(), Heard::default());
        let (mut report, mut last) = (Report::new(Box::new(heard.clone()), 1), LastValues::new(1));
        let block = &connection.blocks()[0];
        last.report_words(&mut report, &connection, block, &[7], AT);
        happened(&mut last, &mut report, block);
        last.report_doubt(&mut report, block, AT);
        last.report_doubt(&mut report, block, AT);
        let heard = heard.0.lock().expect("unpoisoned");
        heard.iter().map(|quality| quality.name()).collect()
    }

    #[test]
    fn a_value_is_doubted_once_and_only_while_it_is_what_was_told_last() {
        assert_eq!(heard_after(|_, _, _| ()), ["Good", "UncertainLastUsableValue"]);
        let refused = heard_after(|last, report, block| {
            last.report_refusal(report, block, Quality::BAD_DEVICE_FAILURE, AT);
        });
        assert_eq!(refused, ["Good", "BadDeviceFailure"]);
        let cut = heard_after(|_, report, _| {
            report.link_down("cut", Quality::BAD_NOT_CONNECTED, AT);
        });
        assert_eq!(cut, ["Good", "BadNotConnected"]);
        let lost = heard_after(|_, report, _| {
            report.add_loss(TagIndex(0), Quality::BAD_TIMEOUT, AT);
        });
        assert_eq!(lost, ["Good", "BadTimeout"]);
    }
}
