//! What of an update must be so, whatever comes in between.

use std::collections::BTreeMap;
use std::time::Duration;

use plant_model::{Monotonic, Timestamp};
use proptest::prelude::*;
use protocol::{AgentVersion, DesiredUpdate, UpdateChannel, UpdateRevision, UpdateState};
use remote_configuration::{Baseline, Health};

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn version(text: &str) -> AgentVersion {
    AgentVersion::new(text).expect("valid")
}

fn desired(revision: u32, text: &str) -> DesiredUpdate {
    let revision = UpdateRevision::new(revision).expect("above 0");
    DesiredUpdate { revision, version: version(text), channel: UpdateChannel::default() }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000).plus(Duration::from_secs(seconds))
}

fn request(text: &str) -> Request {
    Request::new(&desired(1, text), &version("1.0"), at(0))
}

fn journal(baseline: Baseline) -> Journal {
    Journal::new(request("2.0"), version("1.0"), baseline, at(0))
}

fn bytes(request: &Request) -> Vec<u8> {
    serde_json::to_vec(request).expect("writes")
}

#[test]
fn a_request_is_read_as_it_was_written_and_is_good_for_an_hour() {
    let read = Request::parse(&bytes(&request("2.0"))).expect("reads");
    assert_eq!((&read, read.desired()), (&request("2.0"), desired(1, "2.0")));
    assert_eq!(read.check_time(at(3_600)), Ok(()));
    assert_eq!(read.check_time(at(3_601)), Err(RequestError::Stale));
    let early = read.check_time(at(0).minus(Duration::from_secs(1)));
    assert_eq!(early, Err(RequestError::Stale), "a clock that was set back is no reason to install");
    assert_eq!(read.renewed(at(3_000)).check_time(at(3_601)), Ok(()));
    assert_eq!((read.is_worn(at(1_799)), read.is_worn(at(1_801))), (false, true));
}

#[test]
fn what_is_no_request_is_refused_without_a_word_of_what_was_read() {
    let right: serde_json::Value = serde_json::from_slice(&bytes(&request("2.0"))).expect("reads");
    let with = |key: &str, value: serde_json::Value| {
        let mut changed = right.clone();
        changed[key] = value;
        serde_json::to_vec(&changed).expect("writes")
    };
    let no_request = [
        b"root:$6$secret:19000".to_vec(),
        br#""$6$secret""#.to_vec(),
        with("version", "2.0; rm -rf /".into()),
        with("version", "--allow-unauthenticated".into()),
        with("version", "$6$secret".into()),
        with("channel", "../etc".into()),
        with("revision", 0.into()),
        with("command", "$6$secret".into()),
        Vec::new(),
    ];
    for found in no_request {
        let error = Request::parse(&found).expect_err("no request");
        assert!(matches!(error, RequestError::Json { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(matches!(Request::parse(&with("version", "2.0-".into())), Err(RequestError::Ending { .. })));
    assert!(matches!(Request::parse(&with("version", "1.0".into())), Err(RequestError::Same { .. })));
    assert!(matches!(Request::parse(&with("format", 2.into())), Err(RequestError::Format { found: 2 })));
    assert!(matches!(Request::parse(&vec![b' '; 5_000]), Err(RequestError::TooLong { found: 5_000 })));
}

#[test]
fn a_journal_is_read_as_it_was_written_and_every_phase_has_the_name_of_the_document() {
    let machines = ["press-1".to_owned()].into();
    let mut journal = journal(Baseline { machines, uplink: true });
    journal.acted(Err("no such version".to_owned()), at(1));
    let written = serde_json::to_vec(&journal).expect("writes");
    assert_eq!(Journal::parse(&written), Ok(journal.clone()));
    assert_eq!((journal.phase(), journal.detail()), (Phase::Failed, "no such version"));
    for phase in Phase::ALL {
        assert_eq!(serde_json::to_value(phase).expect("writes"), phase.as_str());
    }
    let newer = String::from_utf8(written).expect("text").replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(Journal::parse(newer.as_bytes()), Err(JournalError::Format { found: 2 }));
    assert!(matches!(Journal::parse(&vec![b' '; 300 << 10]), Err(JournalError::TooLong { .. })));
}

#[test]
fn a_stretch_of_the_day_may_go_over_midnight() {
    let parse = |text: &str| text.parse::<Maintenance>();
    let (night, noon) = (parse("22:00-05:30").expect("good"), parse("12:00-13:00").expect("good"));
    let hits = |stretch: Maintenance| [0, 329, 330, 719, 720, 780, 1_319, 1_320].map(|m| stretch.contains(m));
    assert_eq!(hits(night), [true, true, false, false, false, false, false, true]);
    assert_eq!(hits(noon), [false, false, false, false, true, false, false, false]);
    assert_eq!(night.to_string(), "22:00-05:30");
    for wrong in
        ["", "22:00", "24:00-01:00", "22:60-23:00", "2:00-03:00", "+2:00-03:00", "08:00-08:00", "a-b"]
    {
        assert_eq!(parse(wrong), Err(MaintenanceError), "{wrong}");
    }
}

fn health(machines: &[(&str, bool)], uplink: bool) -> Health {
    let reason = |good: bool| (!good).then(|| "no answer".to_owned());
    let machines = machines.iter().map(|(id, good)| ((*id).to_owned(), reason(*good)));
    Health { machines: machines.collect::<BTreeMap<_, _>>(), uplink: reason(uplink) }
}

fn answer(version: &str, uptime_s: u64, health: &Health) -> Look {
    Look::Answer {
        version: version.to_owned(),
        uptime: Duration::from_secs(uptime_s),
        health: health.clone(),
    }
}

/// The first verdict, for looks at these seconds after the start.
fn judge(baseline: &Baseline, looks: Vec<(u64, Look)>) -> Option<Verdict> {
    let moment = |s: u64| Monotonic::from_micros(s * 1_000_000);
    let patience = Patience { answer: Duration::from_secs(60), window: Duration::from_secs(120) };
    let mut watch = Watch::new(version("2.0"), baseline.clone(), patience, moment(0));
    looks.into_iter().find_map(|(s, look)| watch.look(look, moment(s)))
}

#[test]
fn a_version_is_well_if_what_was_good_before_is_good_at_the_end_of_its_window() {
    let before = health(&[("press", true), ("saw", false)], true).baseline();
    let (good, bad) = (health(&[("press", true)], true), health(&[("press", false)], false));
    let well =
        vec![(10, answer("2.0", 9, &bad)), (100, answer("2.0", 99, &good)), (130, answer("2.0", 129, &good))];
    assert_eq!(judge(&before, well.clone()), Some(Verdict::Well));
    assert_eq!(judge(&before, well[..2].to_vec()), None, "the window is not over");
    let worse = judge(&before, vec![(10, answer("2.0", 9, &good)), (130, answer("2.0", 129, &bad))]);
    assert!(
        matches!(worse, Some(Verdict::Worse(ref why)) if why.contains("press") && why.contains("uplink"))
    );
    let gone = health(&[("new", true)], true);
    let gone = judge(&before, vec![(10, answer("2.0", 9, &gone)), (130, answer("2.0", 129, &gone))]);
    assert!(matches!(gone, Some(Verdict::Worse(ref why)) if why.contains("does not show it")), "{gone:?}");
    let bad_before = Baseline::default();
    let bad = judge(&bad_before, vec![(10, answer("2.0", 9, &bad)), (130, answer("2.0", 129, &bad))]);
    assert_eq!(bad, Some(Verdict::Well), "no worse than before");
}

#[test]
fn a_version_that_does_not_start_or_ends_again_and_again_is_dead_before_its_window_is_over() {
    let (before, good) = (Baseline::default(), health(&[], true));
    let silent = || Look::Silent("refused".to_owned());
    let dead = |looks| match judge(&before, looks) {
        Some(Verdict::Dead(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(dead(vec![(59, silent()), (60, silent())]).contains("did not answer within 60 s: refused"));
    assert!(dead(vec![(60, answer("1.0", 5, &good))]).contains("version 1.0 runs"));
    let hangs = vec![(10, answer("2.0", 9, &good)), (69, silent()), (70, silent())];
    assert!(dead(hangs).contains("has not answered for 60 s"));
    let ends = [(10, 9), (20, 3), (30, 3), (31, 2)].map(|(s, uptime)| (s, answer("2.0", uptime, &good)));
    assert!(dead(ends.to_vec()).contains("ended 2 times"));
    let once = [(10, 9), (20, 3), (130, 113)].map(|(s, uptime)| (s, answer("2.0", uptime, &good)));
    assert_eq!(judge(&before, once.to_vec()), Some(Verdict::Well), "once may be a coincidence");
}

/// A gateway on which version 1.0 runs.
struct Gateway {
    running: AgentVersion,
    desired: Option<DesiredUpdate>,
    journal: Option<Journal>,
    request: Option<Request>,
    policy: Policy,
}

impl Gateway {
    fn new(desired: Option<DesiredUpdate>) -> Self {
        let running = version("1.0");
        Self { running, desired, journal: None, request: None, policy: Policy::default() }
    }

    fn decide_at(&self, seconds: u64, minute: Option<u16>) -> Decision {
        let view = View {
            running: &self.running,
            desired: self.desired.as_ref(),
            journal: self.journal.as_ref(),
            request: self.request.as_ref(),
            now: at(seconds),
            minute,
        };
        decide(&self.policy, view)
    }

    /// What is asked for, at a time at which that is so.
    fn asked(&self) -> Request {
        match self.decide_at(0, None).act {
            Act::Ask(request) => *request,
            other @ (Act::Nothing | Act::Withdraw) => panic!("{other:?}"),
        }
    }

    fn state(&self) -> (UpdateState, Act) {
        let decision = self.decide_at(0, None);
        (decision.state, decision.act)
    }
}

#[test]
fn what_is_desired_is_asked_for_once_and_the_request_is_kept_fresh() {
    let mut gateway = Gateway::new(Some(desired(1, "2.0")));
    gateway.request = Some(gateway.asked());
    assert_eq!(gateway.state(), (UpdateState::Requested, Act::Nothing));
    let Act::Ask(renewed) = gateway.decide_at(1_801, None).act else { panic!("it is renewed") };
    assert_eq!(renewed.check_time(at(1_801).plus(HOUR)), Ok(()));
    assert!(gateway.decide_at(601, None).detail.contains("edge-agent-update.path"));
    gateway.request = Some(*renewed);
    assert!(gateway.decide_at(1_802, None).detail.contains("edge-agent-update.path"), "it still lies there");
    gateway.desired = Some(desired(2, "3.0"));
    assert_eq!(gateway.asked().version, version("3.0"), "another one takes its place");
    gateway.desired = None;
    assert_eq!(gateway.state(), (UpdateState::Idle, Act::Withdraw));
}

#[test]
fn what_runs_already_is_done_and_what_this_gateway_does_not_take_is_refused_with_the_reason() {
    let mut gateway = Gateway::new(Some(desired(1, "1.0")));
    gateway.request = Some(request("2.0"));
    assert_eq!(gateway.state(), (UpdateState::Done, Act::Withdraw));
    gateway.desired = Some(desired(2, "2.0-"));
    assert_eq!(gateway.state(), (UpdateState::Refused, Act::Withdraw));
    gateway.desired = Some(desired(2, "2.0"));
    gateway.policy.channel = UpdateChannel::new("beta").expect("valid");
    let refused = gateway.decide_at(0, None);
    assert_eq!(refused.state, UpdateState::Refused);
    assert!(refused.detail.contains("stable") && refused.detail.contains("beta"), "{}", refused.detail);
}

#[test]
fn an_update_begins_in_the_maintenance_window_only() {
    let mut gateway = Gateway::new(Some(desired(1, "2.0")));
    gateway.policy.maintenance = Some("22:00-05:00".parse().expect("good"));
    for (minute, told) in [(None, "time is known"), (Some(720), "22:00-05:00")] {
        let waits = gateway.decide_at(0, minute);
        assert_eq!((waits.state, waits.act), (UpdateState::Idle, Act::Nothing));
        assert!(waits.detail.contains(told), "{}", waits.detail);
    }
    assert!(matches!(gateway.decide_at(0, Some(60)).act, Act::Ask(_)));
}

#[test]
fn a_revision_is_tried_once_and_the_same_version_again_under_another_one() {
    let mut gateway = Gateway::new(Some(desired(1, "2.0")));
    let mut tried = Journal::new(gateway.asked(), version("1.0"), Baseline::default(), at(0));
    let mut states = Vec::new();
    while tried.phase() != Phase::RollingBack {
        gateway.journal = Some(tried.clone());
        assert_eq!(gateway.state().1, Act::Nothing, "{tried:?}");
        states.push(gateway.state().0);
        tried.acted(Ok(()), at(1));
        tried.judged(Verdict::Worse("bad".to_owned()), at(1));
    }
    assert_eq!(states, [UpdateState::Installing, UpdateState::Installing]);
    gateway.journal = Some(tried.clone());
    let back = gateway.decide_at(0, None);
    assert_eq!((back.state, back.detail.as_str()), (UpdateState::Installing, "goes back to 1.0: bad"));
    gateway.desired = Some(desired(2, "2.0"));
    assert_eq!(gateway.state(), (UpdateState::Idle, Act::Nothing), "the one before is not at its end");
    gateway.desired = Some(desired(1, "2.0"));
    tried.acted(Ok(()), at(2));
    tried.judged(Verdict::Well, at(3));
    gateway.journal = Some(tried);
    assert_eq!(gateway.state(), (UpdateState::RolledBack, Act::Nothing));
    gateway.desired = Some(desired(2, "2.0"));
    assert_eq!(gateway.asked().revision.get(), 2);
}

#[test]
fn a_version_that_somebody_replaced_after_it_was_done_is_not_said_to_run() {
    let mut gateway = Gateway::new(Some(desired(1, "2.0")));
    let mut done = journal(Baseline::default());
    done.acted(Ok(()), at(1));
    done.acted(Ok(()), at(1));
    done.judged(Verdict::Well, at(1));
    gateway.journal = Some(done);
    let replaced = gateway.decide_at(0, None);
    assert_eq!(replaced.state, UpdateState::Failed);
    assert!(replaced.detail.contains("somebody installed 1.0"), "{}", replaced.detail);
    gateway.running = version("2.0");
    assert_eq!(gateway.state(), (UpdateState::Done, Act::Nothing));
}

#[test]
fn an_installer_that_is_started_a_fourth_time_gives_up_and_goes_back_if_anything_was_changed() {
    for (steps, phase) in [(0, Phase::Failed), (1, Phase::RollingBack), (2, Phase::RollingBack)] {
        let mut journal = journal(Baseline::default());
        (0..steps).for_each(|_| journal.acted(Ok(()), at(1)));
        let before = journal.phase();
        (0..3).for_each(|_| journal.started(at(2)));
        assert_eq!(journal.phase(), before, "power cuts are no fault of a version");
        journal.started(at(3));
        assert_eq!(journal.phase(), phase);
        assert!(journal.detail().contains("started 3 times"), "{}", journal.detail());
    }
}

/// What happens to the installer at a step.
#[derive(Debug, Clone)]
enum Event {
    /// It is done, and noted.
    Good,
    /// It fails, and that is noted.
    Bad,
    /// It runs, and something else is bad.
    Worse,
    /// The power goes while it is done, or after it and before it is noted.
    Cut(bool),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Good),
        2 => Just(Event::Bad),
        1 => Just(Event::Worse),
        2 => any::<bool>().prop_map(Event::Cut),
    ]
}

/// A host as its disk sees it.
struct Host {
    journal: Journal,
    /// `None` while a package is half there.
    installed: Option<&'static str>,
    gave_up: bool,
}

impl Host {
    fn event(&mut self, event: &Event) {
        let Some(step) = self.journal.step() else { return };
        let after = match step {
            Step::Install => {
                assert!(!self.gave_up, "a version that was given up is installed again");
                Some("2.0")
            }
            Step::Restore => Some("1.0"),
            Step::Fetch | Step::Watch | Step::WatchFormer => self.installed,
        };
        let is_watch = matches!(step, Step::Watch | Step::WatchFormer);
        match event {
            Event::Cut(is_done) => {
                self.installed = if *is_done || is_watch || step == Step::Fetch { after } else { None };
                self.journal.started(at(1));
            }
            Event::Good if is_watch => self.journal.judged(Verdict::Well, at(1)),
            Event::Worse if is_watch => self.journal.judged(Verdict::Worse("bad".to_owned()), at(1)),
            Event::Bad if is_watch => self.journal.judged(Verdict::Dead("dead".to_owned()), at(1)),
            Event::Good => {
                self.installed = after;
                self.journal.acted(Ok(()), at(1));
            }
            Event::Bad | Event::Worse => {
                self.installed = if step == Step::Fetch { self.installed } else { None };
                self.journal.acted(Err("no".to_owned()), at(1));
            }
        }
        self.gave_up |= matches!(self.journal.phase(), Phase::RollingBack);
    }

    fn is_as_told(&self) -> bool {
        match self.journal.phase() {
            Phase::Fetching | Phase::Failed => self.installed == Some("1.0"),
            Phase::Verifying | Phase::Done => self.installed == Some("2.0"),
            Phase::VerifyingFormer | Phase::RolledBack => self.installed == Some("1.0"),
            Phase::Installing | Phase::RollingBack | Phase::Stranded => true,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_fails_and_wherever_the_power_goes_what_is_told_is_what_is_installed_and_it_ends(
        events in prop::collection::vec(any_event(), 0..40),
    ) {
        let journal = journal(Baseline::default());
        let mut host = Host { journal, installed: Some("1.0"), gave_up: false };
        for event in &events {
            host.event(event);
            prop_assert!(host.is_as_told(), "{:?} with {:?} installed", host.journal, host.installed);
            // A power cut finds the journal as it was written.
            let written = serde_json::to_vec(&host.journal).expect("writes");
            host.journal = Journal::parse(&written).expect("reads");
        }
        for _ in 0..4 {
            host.event(&Event::Good);
        }
        prop_assert_eq!(host.journal.step(), None, "it ends when nothing fails any more");
    }

    #[test]
    fn no_bytes_bring_the_reader_of_requests_down_and_what_it_takes_is_one_plain_word(
        noise in prop::collection::vec(any::<u8>(), 0..600), at_byte in 0_usize..400, with in any::<u8>(),
    ) {
        let _ = Request::parse(&noise);
        let mut damaged = bytes(&request("2.0"));
        let place = at_byte % damaged.len();
        damaged[place] = with;
        if let Ok(taken) = Request::parse(&damaged) {
            let version = taken.version.as_str();
            prop_assert!(version.starts_with(|c: char| c.is_ascii_alphanumeric()));
            prop_assert!(version.chars().all(|c| c.is_ascii_alphanumeric() || ".+~-".contains(c)));
        }
    }
}
