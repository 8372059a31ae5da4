//! Rules: which packets, and what becomes of them; one line each.
//!
//! `WAY PACKET [topic=END] [skip=N] [times=N] [chance=P] FAULT`, for example
//! `up publish topic=up/telemetry skip=3 times=1 drop`. A rule counts the packets that it is about; it fires on
//! those after the first `skip`, at most `times` often, each time with the probability `chance`.

use std::{fmt, str::FromStr};

use super::packet::Message;
use crate::noise::{mix, unit};

/// Rules at a time: more than anybody reads.
const RULES_MAX: usize = 64;

/// Longest delay, as for a link.
const DELAY_MS_MAX: u32 = 60_000;

/// Most packets that one packet is held back for.
const HOLD_MAX: u32 = 1_000;

const SYNTAX: &str = "WAY PACKET [topic=END] [skip=N] [times=N] [chance=P] FAULT with WAY up, down or any; PACKET connect, \
    connack, publish, puback, subscribe, suback, pingreq, pingresp, disconnect or any; FAULT drop, swallow, duplicate, \
    delay=MS or MIN..MAX, hold=PACKETS, cut=before or after, corrupt, disconnect=CODE, and for a connack \
    session_present=0 or 1, receive_maximum=N, maximum_packet_size=N, refuse=CODE";

/// From client to server, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// What kind of packet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Connack,
    Publish,
    Puback,
    Subscribe,
    Suback,
    Pingreq,
    Pingresp,
    Disconnect,
    Other,
}

const KINDS: [(&str, Kind, u8); 9] = [
    ("connect", Kind::Connect, 1),
    ("connack", Kind::Connack, 2),
    ("publish", Kind::Publish, 3),
    ("puback", Kind::Puback, 4),
    ("subscribe", Kind::Subscribe, 8),
    ("suback", Kind::Suback, 9),
    ("pingreq", Kind::Pingreq, 12),
    ("pingresp", Kind::Pingresp, 13),
    ("disconnect", Kind::Disconnect, 14),
];

impl Kind {
    /// By the packet type of MQTT.
    pub(super) fn of(packet_type: u8) -> Self {
        KINDS.iter().find(|(_, _, number)| *number == packet_type).map_or(Self::Other, |(_, kind, _)| *kind)
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not handed on.
    Drop,
    /// It is acknowledged and not handed on: what a broker does that forgets at a crash.
    Swallow,
    /// It is handed on twice, the second time under an id of its own.
    Duplicate,
    /// It is handed on so many milliseconds later, between the two by chance; what follows overtakes it.
    Delay(u32, u32),
    /// It is handed on after so many packets that come behind it.
    Hold(u32),
    /// The connection is reset instead.
    CutBefore,
    /// It is handed on, then the connection is reset.
    CutAfter,
    /// One bit of its payload is flipped.
    Corrupt,
    /// The client gets a DISCONNECT with this reason code, and the connection ends; 0x8e is "session taken over".
    Disconnect(u8),
    /// CONNACK says that the server has a session, or none.
    SessionPresent(bool),
    /// CONNACK allows so many unacknowledged messages.
    ReceiveMaximum(u16),
    /// CONNACK allows packets of so many bytes.
    MaximumPacketSize(u32),
    /// CONNACK refuses with this reason code, and the connection ends.
    Refuse(u8),
}

/// Which packets, how often, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    way: Option<Way>,
    kind: Option<Kind>,
    topic: Option<String>,
    skip: u64,
    times: u64,
    chance: f64,
    fault: Fault,
    text: String,
}

/// A rule that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// A word is none of those that are known here.
    #[error("rule {rule:?}: {word:?} is not known here; a rule is {SYNTAX}")]
    Word {
        /// The rule.
        rule: String,
        /// The word; empty if one is missing.
        word: String,
    },
    /// A number is out of range.
    #[error("rule {rule:?}: {word:?} is out of range; allowed are {allowed}")]
    Number {
        /// The rule.
        rule: String,
        /// The word with the number.
        word: String,
        /// What is allowed.
        allowed: String,
    },
    /// There are too many.
    #[error("{0} rules; at most {RULES_MAX} are allowed")]
    TooMany(usize),
}

/// Reads rules, one a line; empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// A line is no rule, or there are too many.
pub fn rules(text: &str) -> Result<Vec<Rule>, BadRule> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rules: Vec<Rule> = lines.map(str::parse).collect::<Result<_, _>>()?;
    if rules.len() > RULES_MAX {
        return Err(BadRule::TooMany(rules.len()));
    }
    Ok(rules)
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let line = Line(text);
        let words: Vec<&str> = text.split_whitespace().collect();
        let [way, packet, options @ .., fault] = words.as_slice() else { return Err(line.word("")) };
        let mut rule = Self {
            way: line.way(way)?,
            kind: line.kind(packet)?,
            topic: None,
            skip: 0,
            times: u64::MAX,
            chance: 1.0,
            fault: line.fault(fault)?,
            text: words.join(" "),
        };
        for option in options {
            match option.split_once('=') {
                Some(("topic", end)) => rule.topic = Some(end.to_owned()),
                Some(("skip", value)) => rule.skip = line.number(option, value, 0, u64::MAX)?,
                Some(("times", value)) => rule.times = line.number(option, value, 1, u64::MAX)?,
                Some(("chance", value)) => rule.chance = line.share(option, value)?,
                Some(_) | None => return Err(line.word(option)),
            }
        }
        Ok(rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text of a rule, for what is said about it.
struct Line<'a>(&'a str);

impl Line<'_> {
    fn word(&self, word: &str) -> BadRule {
        BadRule::Word { rule: self.0.to_owned(), word: word.to_owned() }
    }

    fn way(&self, word: &str) -> Result<Option<Way>, BadRule> {
        match word {
            "up" => Ok(Some(Way::Up)),
            "down" => Ok(Some(Way::Down)),
            "any" => Ok(None),
            _ => Err(self.word(word)),
        }
    }

    fn kind(&self, word: &str) -> Result<Option<Kind>, BadRule> {
        if word == "any" {
            return Ok(None);
        }
        KINDS
            .iter()
            .find(|(name, _, _)| *name == word)
            .map(|(_, kind, _)| Some(*kind))
            .ok_or_else(|| self.word(word))
    }

    fn fault(&self, word: &str) -> Result<Fault, BadRule> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let small = |value: &str, min: u64, max: u64| self.number(word, value, min, max);
        Ok(match (name, value) {
            ("drop", None) => Fault::Drop,
            ("swallow", None) => Fault::Swallow,
            ("duplicate", None) => Fault::Duplicate,
            ("corrupt", None) => Fault::Corrupt,
            ("cut", Some("before")) => Fault::CutBefore,
            ("cut", Some("after")) => Fault::CutAfter,
            ("delay", Some(value)) => {
                let (min, max) = value.split_once("..").unwrap_or((value, value));
                let min = small(min, 0, DELAY_MS_MAX.into())?;
                Fault::Delay(narrow(min), narrow(small(max, min, DELAY_MS_MAX.into())?))
            }
            ("hold", Some(value)) => Fault::Hold(narrow(small(value, 1, HOLD_MAX.into())?)),
            ("disconnect", Some(value)) => Fault::Disconnect(self.code(word, value)?),
            ("refuse", Some(value)) => Fault::Refuse(self.code(word, value)?),
            ("session_present", Some(value)) => Fault::SessionPresent(small(value, 0, 1)? == 1),
            ("receive_maximum", Some(value)) => {
                Fault::ReceiveMaximum(narrow(small(value, 1, u16::MAX.into())?))
            }
            ("maximum_packet_size", Some(value)) => {
                Fault::MaximumPacketSize(narrow(small(value, 1, u32::MAX.into())?))
            }
            _ => return Err(self.word(word)),
        })
    }

    fn number(&self, word: &str, value: &str, min: u64, max: u64) -> Result<u64, BadRule> {
        let number = value.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| self.out_of_range(word, format!("whole numbers from {min} to {max}")))
    }

    /// A reason code of a failure: 0x80 and above, in either notation.
    fn code(&self, word: &str, value: &str) -> Result<u8, BadRule> {
        let number = match value.strip_prefix("0x") {
            Some(digits) => u8::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        let code = number.filter(|code| *code >= 0x80);
        code.ok_or_else(|| self.out_of_range(word, "reason codes of failures, 0x80 to 0xa2".to_owned()))
    }

    fn share(&self, word: &str, value: &str) -> Result<f64, BadRule> {
        let share = value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| self.out_of_range(word, "shares from 0 to 1".to_owned()))
    }

    fn out_of_range(&self, word: &str, allowed: String) -> BadRule {
        BadRule::Number { rule: self.0.to_owned(), word: word.to_owned(), allowed }
    }
}

/// A number whose range was checked.
fn narrow<T: TryFrom<u64>>(number: u64) -> T {
    T::try_from(number).ok().expect("the range was checked")
}

/// A rule at work.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) rule: Rule,
    /// Packets that it was about.
    pub(super) seen: u64,
    /// How often it fired.
    pub(super) fired: u64,
}

/// All rules at work: asked for each packet.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) active: Vec<Active>,
    seed: u64,
    packets: u64,
}

impl Policy {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Other rules, which begin to count now.
    pub(super) fn set(&mut self, rules: Vec<Rule>) {
        self.active = rules.into_iter().map(|rule| Active { rule, seen: 0, fired: 0 }).collect();
    }

    /// What becomes of a packet, in the order of the rules, and a number for what is left to chance.
    pub(super) fn decide(&mut self, way: Way, kind: Kind, message: Option<&Message>) -> (Vec<Fault>, u64) {
        self.packets += 1;
        let chance = mix(self.seed, self.packets);
        let fires = |(place, active): (usize, &mut Active)| {
            active.fires(way, kind, message, mix(chance, place as u64)).then(|| active.rule.fault.clone())
        };
        (self.active.iter_mut().enumerate().filter_map(fires).collect(), chance)
    }
}

impl Active {
    fn fires(&mut self, way: Way, kind: Kind, message: Option<&Message>, chance: u64) -> bool {
        let rule = &self.rule;
        let topic = |end: &String| message.is_some_and(|m| m.topic.ends_with(end.as_str()));
        let is_about = rule.way.is_none_or(|w| w == way)
            && rule.kind.is_none_or(|k| k == kind)
            && rule.topic.as_ref().is_none_or(topic);
        if !is_about {
            return false;
        }
        self.seen += 1;
        let fires = self.seen > rule.skip && self.fired < rule.times && unit(chance) < rule.chance;
        self.fired += u64::from(fires);
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        let mut policy = Policy::new(1);
        policy.set(rules(text).unwrap());
        policy
    }

    fn on(topic: &str) -> Message {
        Message { topic: topic.to_owned(), packet_id: Some(1) }
    }

    #[test]
    fn a_rule_fires_on_its_packets_only_and_as_often_as_it_says() {
        let mut policy =
            policy("# the third batch and the fourth\nup publish topic=up/telemetry skip=2 times=2 drop\n");
        let (ours, other) = (on("mfp/v1/a/b/up/telemetry"), on("mfp/v1/a/b/up/alarm"));
        let mut dropped = Vec::new();
        for number in 1..=6 {
            assert_eq!(policy.decide(Way::Up, Kind::Publish, Some(&other)).0, []);
            assert_eq!(policy.decide(Way::Down, Kind::Publish, Some(&ours)).0, []);
            assert_eq!(policy.decide(Way::Up, Kind::Puback, None).0, []);
            if policy.decide(Way::Up, Kind::Publish, Some(&ours)).0 == [Fault::Drop] {
                dropped.push(number);
            }
        }
        assert_eq!(dropped, [3, 4]);
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let run = |seed| {
            let mut policy = Policy::new(seed);
            policy.set(rules("any any chance=0.3 drop").unwrap());
            (0..200).map(|_| policy.decide(Way::Up, Kind::Publish, None).0.len()).collect::<Vec<_>>()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
        assert!((30..=90).contains(&run(5).iter().sum::<usize>()), "about three in ten");
    }

    #[test]
    fn several_rules_may_shape_one_packet() {
        let mut policy = policy("down connack receive_maximum=2\ndown connack maximum_packet_size=900");
        let faults = policy.decide(Way::Down, Kind::Connack, None).0;
        assert_eq!(faults, [Fault::ReceiveMaximum(2), Fault::MaximumPacketSize(900)]);
    }

    #[test]
    fn mistakes_name_the_rule_the_word_and_what_is_allowed() {
        for (text, part) in [
            ("up publish", "\"\" is not known here; a rule is WAY PACKET"),
            ("sideways publish drop", "\"sideways\" is not known"),
            ("up letter drop", "\"letter\" is not known"),
            ("up publish burn", "\"burn\" is not known"),
            ("up publish often=1 drop", "\"often=1\" is not known"),
            ("up publish times=0 drop", "\"times=0\" is out of range; allowed are whole numbers from 1"),
            (
                "up publish delay=9..3",
                "\"delay=9..3\" is out of range; allowed are whole numbers from 9 to 60000",
            ),
            ("up publish chance=2 drop", "\"chance=2\" is out of range; allowed are shares from 0 to 1"),
            ("up publish disconnect=0x00", "reason codes of failures"),
        ] {
            let error = rules(text).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(text), "{text}: {error}");
        }
        assert_eq!(rules(&"up any drop\n".repeat(65)), Err(BadRule::TooMany(65)));
    }
}
