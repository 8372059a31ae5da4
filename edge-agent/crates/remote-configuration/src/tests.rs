use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plant_model::Monotonic;
use proptest::prelude::*;
use protocol::{ConfigurationState, ConfigurationVersion, DriftChange};

use super::*;

fn files(texts: &[(&str, &str)]) -> Files {
    texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn number(number: u32) -> ConfigurationVersion {
    ConfigurationVersion::new(number).expect("above 0")
}

fn version(of: u32, files: &Files) -> Version {
    Version { number: number(of), files: files.clone(), accept_drift: None }
}

/// A gateway on which version 1 runs.
fn configured(one: &Files) -> Record {
    let mut record = Record::default();
    record.stage(version(1, one));
    record.begin(one, Baseline::default());
    record
}

/// Applies the version that waits to a folder, up to its trial.
fn on_trial(record: &mut Record, folder: &mut Files) {
    assert_eq!(record.decide(folder), Decision::Apply);
    record.begin(folder, Baseline::default());
    write(record, folder);
}

fn write(record: &mut Record, folder: &mut Files) {
    for change in record.pending(folder) {
        apply(folder, change);
    }
    record.written();
}

fn apply(folder: &mut Files, change: Change) {
    match change {
        Change::Put { file, text } => folder.insert(file, text),
        Change::Remove { file } => folder.remove(&file),
    };
}

fn state(record: &Record, folder: &Files) -> (ConfigurationState, Option<u32>) {
    let standing = Standing::of(record, folder);
    (standing.state, standing.version.map(ConfigurationVersion::get))
}

#[test]
fn a_gateway_that_was_never_configured_is_local_and_its_files_are_not_written_over() {
    let (own, new) = (files(&[("press.toml", "own")]), files(&[("press.toml", "new")]));
    let mut record = Record::default();
    assert_eq!(state(&record, &own), (ConfigurationState::Local, None));
    assert_eq!(record.stage(version(1, &new)), Staged::New);
    let Decision::Drifted(drifted) = record.decide(&own) else { panic!("it is drift") };
    assert_eq!((drifted[0].file.as_str(), drifted[0].change), ("press.toml", DriftChange::Added));
    assert_eq!(state(&record, &own), (ConfigurationState::Drifted, Some(1)));
    assert_eq!(record.decide(&Files::new()), Decision::Apply, "nothing is lost in an empty folder");
    assert_eq!(record.decide(&new), Decision::Apply, "nothing is lost if it is the same");
    let accepting = Version { accept_drift: Some(digest(&own)), ..version(2, &new) };
    assert_eq!(record.stage(accepting), Staged::New);
    assert_eq!(record.decide(&own), Decision::Apply, "it names what it replaces");
    assert!(matches!(record.decide(&files(&[("press.toml", "edited again")])), Decision::Drifted(_)));
}

#[test]
fn what_is_in_the_folder_already_needs_no_trial() {
    let own = files(&[("press.toml", "own")]);
    let record = configured(&own);
    assert_eq!(record.work(), &Work::None);
    assert_eq!(state(&record, &own), (ConfigurationState::Current, Some(1)));
}

#[test]
fn a_version_that_did_not_do_well_is_taken_back_and_not_tried_again_until_a_newer_one() {
    let (one, two) = (files(&[("a.toml", "1"), ("b.toml", "1")]), files(&[("a.toml", "2"), ("c.toml", "2")]));
    let (mut record, mut folder) = (configured(&one), one.clone());
    record.stage(version(2, &two));
    on_trial(&mut record, &mut folder);
    assert_eq!((&folder, state(&record, &folder)), (&two, (ConfigurationState::Trial, Some(2))));
    record.undo("press was good before".to_owned());
    write(&mut record, &mut folder);
    assert_eq!(folder, one);
    let standing = Standing::of(&record, &folder);
    assert_eq!((standing.state, standing.applied), (ConfigurationState::RolledBack, Some(number(1))));
    assert_eq!(standing.detail, "press was good before");
    assert_eq!(record.stage(version(2, &two)), Staged::Known);
    assert_eq!(record.decide(&folder), Decision::Nothing);
    assert_eq!(record.stage(version(1, &one)), Staged::Older { known: number(2) });
    assert_eq!(record.stage(version(3, &two)), Staged::New);
    on_trial(&mut record, &mut folder);
    record.keep();
    assert_eq!((&folder, state(&record, &folder)), (&two, (ConfigurationState::Current, Some(3))));
}

#[test]
fn f2_a_version_that_cannot_be_applied_waits_and_the_one_before_runs_on() {
    let (one, two) = (files(&[("a.toml", "1")]), files(&[("a.toml", "2")]));
    let (mut record, mut folder) = (configured(&one), one.clone());
    record.stage(version(2, &two));
    record.refuse(Some((number(2), "a.toml:3: what is that?".to_owned())));
    let standing = Standing::of(&record, &folder);
    assert_eq!((standing.state, standing.applied), (ConfigurationState::Refused, Some(number(1))));
    assert_eq!(standing.detail, "a.toml:3: what is that?");
    assert_eq!(record.newest(), Some(number(2)), "it is not fetched again");
    on_trial(&mut record, &mut folder);
    assert_eq!(
        state(&record, &folder),
        (ConfigurationState::Trial, Some(2)),
        "what was missing is there now"
    );
}

#[test]
fn an_agent_that_ends_again_and_again_on_trial_gets_its_former_files_back() {
    let (one, two) = (files(&[("a.toml", "1")]), files(&[("a.toml", "2")]));
    let (mut record, mut folder) = (configured(&one), one.clone());
    record.stage(version(2, &two));
    on_trial(&mut record, &mut folder);
    for _ in 0..3 {
        record.started();
        assert!(matches!(record.work(), Work::Trial(_)), "a power cut is no fault of a configuration");
    }
    record.started();
    write(&mut record, &mut folder);
    assert_eq!((&folder, state(&record, &folder)), (&one, (ConfigurationState::RolledBack, Some(2))));
}

#[test]
fn a_file_that_was_edited_during_the_trial_stays_as_it_was_edited() {
    let (one, two) = (files(&[("a.toml", "1"), ("b.toml", "1")]), files(&[("a.toml", "2"), ("b.toml", "2")]));
    let (mut record, mut folder) = (configured(&one), one.clone());
    record.stage(version(2, &two));
    on_trial(&mut record, &mut folder);
    folder.insert("b.toml".to_owned(), "edited".to_owned());
    record.undo("bad".to_owned());
    write(&mut record, &mut folder);
    assert_eq!(folder, files(&[("a.toml", "1"), ("b.toml", "edited")]));
    assert_eq!(record.drift(&folder).len(), 1);
}

#[test]
fn adopted_files_stay_until_the_next_version_and_restored_ones_are_those_of_the_backend() {
    let (one, two) = (files(&[("a.toml", "1")]), files(&[("a.toml", "2")]));
    let edited = files(&[("a.toml", "edited")]);
    let mut drifted = configured(&one);
    drifted.stage(version(2, &two));
    let mut adopted = drifted.clone();
    assert!(adopted.adopt(&edited));
    assert_eq!(state(&adopted, &edited), (ConfigurationState::Adopted, Some(2)));
    assert_eq!(Standing::of(&adopted, &edited).applied, None, "no version of the backend runs");
    assert_eq!(adopted.stage(version(2, &two)), Staged::Known);
    assert_eq!(adopted.stage(version(3, &two)), Staged::New);
    assert_eq!(adopted.decide(&edited), Decision::Apply);

    let mut folder = edited.clone();
    assert!(drifted.restore(&folder, Baseline::default()));
    write(&mut drifted, &mut folder);
    drifted.keep();
    assert_eq!((&folder, state(&drifted, &folder)), (&two, (ConfigurationState::Current, Some(2))));
    assert!(!Record::default().restore(&edited, Baseline::default()), "there is nothing to restore");
    assert!(!Record::default().adopt(&edited), "there is nothing to adopt them against");
}

fn health(machines: &[(&str, bool)], uplink: bool) -> Health {
    let reason = |good: bool| (!good).then(|| "no answer".to_owned());
    let machines = machines.iter().map(|(id, good)| ((*id).to_owned(), reason(*good))).collect();
    Health { machines, uplink: reason(uplink) }
}

#[test]
fn a_trial_asks_for_what_was_good_before_and_still_exists() {
    let at = |s: u64| Monotonic::from_micros(s * 1_000_000);
    let before = health(&[("press", true), ("lathe", true), ("saw", false)], true).baseline();
    let judge = |looks: &[(u64, Health)]| {
        let mut trial = Trial::new(before.clone(), Duration::from_secs(120), at(0));
        looks.iter().find_map(|(s, health)| trial.look(health, at(*s)))
    };
    let good = health(&[("press", true), ("saw", false), ("new", false)], true);
    assert_eq!(judge(&[(119, good.clone())]), None);
    assert_eq!(judge(&[(1, health(&[("press", false)], false)), (120, good.clone())]), Some(Verdict::Kept));
    let failed = judge(&[(60, good), (120, health(&[("press", false), ("lathe", true)], true))]);
    let Some(Verdict::Failed(reasons)) = failed else { panic!("{failed:?}") };
    assert_eq!(reasons, ["machine press was good before and is not 120 s after: no answer"]);
}

#[test]
fn a_trial_forgives_an_uplink_that_breaks_for_a_moment_and_not_one_that_stays_away() {
    let at = |s: u64| Monotonic::from_micros(s * 1_000_000);
    let judge = |connected_before: bool, looks: &[(u64, bool)]| {
        let before = Baseline { uplink: connected_before, ..Baseline::default() };
        let mut trial = Trial::new(before, Duration::from_secs(120), at(0));
        looks.iter().find_map(|(s, connected)| trial.look(&health(&[], *connected), at(*s)))
    };
    assert_eq!(judge(true, &[(70, true), (120, false)]), Some(Verdict::Kept));
    assert_eq!(judge(true, &[(70, false), (120, true)]), Some(Verdict::Kept));
    assert!(matches!(judge(true, &[(50, true), (120, false)]), Some(Verdict::Failed(_))));
    assert_eq!(judge(false, &[(120, false)]), Some(Verdict::Kept), "it was away before");
}

#[test]
fn a_record_is_read_as_it_was_written_and_one_of_another_program_is_known_as_such() {
    let one = files(&[("a.toml", "1\n\"ü\"")]);
    let mut record = configured(&one);
    record.stage(version(2, &Files::new()));
    record.begin(&one, health(&[("press", true)], true).baseline());
    let json = serde_json::to_string(&record).expect("serialises");
    assert_eq!(serde_json::from_str::<Record>(&json).expect("reads"), record);
    let newer = json.replacen("\"format\":1", "\"format\":2", 1);
    assert!(!serde_json::from_str::<Record>(&newer).expect("reads").is_understood());
}

#[derive(Debug, Clone)]
enum Event {
    /// The backend has a version with these files, which accepts what is edited, or not.
    Offer(Files, bool),
    /// Somebody edits a file, or removes it.
    Edit(&'static str, Option<String>),
    /// The agent does one thing that is atomic: a document is replaced, a file is.
    Step,
    /// The agent ends and is started again.
    Crash,
    /// The trial is judged.
    Judge(bool),
}

fn any_files() -> impl Strategy<Value = Files> {
    let file = (prop::sample::select(vec!["a", "b", "c"]), 0..3_u8);
    prop::collection::vec(file, 0..4)
        .prop_map(|all| all.into_iter().map(|(name, text)| (name.to_owned(), text.to_string())).collect())
}

fn any_event() -> impl Strategy<Value = Event> {
    let edited = prop::option::of((3..6_u8).prop_map(|text| text.to_string()));
    prop_oneof![
        2 => (any_files(), any::<bool>()).prop_map(|(files, accepts)| Event::Offer(files, accepts)),
        1 => (prop::sample::select(vec!["a", "b", "c"]), edited).prop_map(|(name, text)| Event::Edit(name, text)),
        9 => Just(Event::Step),
        1 => Just(Event::Crash),
        2 => any::<bool>().prop_map(Event::Judge),
    ]
}

/// A gateway as its disk sees it, and what must be so.
#[derive(Default)]
struct Model {
    folder: Files,
    /// The document, as it was written last.
    saved: String,
    versions: u32,
    /// The set that the folder must hold but for what was edited since.
    expected: Files,
    edited: BTreeMap<&'static str, Option<String>>,
    taken_back: BTreeSet<u32>,
}

impl Model {
    fn record(&self) -> Record {
        serde_json::from_str(&self.saved).unwrap_or_default()
    }

    fn save(&mut self, record: &Record) {
        self.saved = serde_json::to_string(record).expect("serialises");
    }

    fn event(&mut self, event: Event) {
        let mut record = self.record();
        match event {
            Event::Offer(files, accepts) => {
                self.versions += 1;
                let accept_drift = accepts.then(|| digest(&self.folder));
                record.stage(Version { number: number(self.versions), files, accept_drift });
            }
            Event::Edit(name, text) => {
                match &text {
                    Some(text) => self.folder.insert(name.to_owned(), text.clone()),
                    None => self.folder.remove(name),
                };
                self.edited.insert(name, text);
            }
            Event::Step => self.step(&mut record),
            Event::Crash => {
                record.started();
                self.note(&record);
            }
            Event::Judge(true) => record.keep(),
            Event::Judge(false) => {
                record.undo("bad".to_owned());
                self.note(&record);
            }
        }
        self.save(&record);
    }

    /// A version that is being taken back must never come again.
    fn note(&mut self, record: &Record) {
        if let Work::Undoing(attempt) = record.work() {
            self.taken_back.insert(attempt.to.number.get());
        }
    }

    fn step(&mut self, record: &mut Record) {
        match record.work().clone() {
            Work::None => {
                if record.decide(&self.folder) == Decision::Apply {
                    let begun = record.waiting().expect("it waits").clone();
                    assert!(!self.taken_back.contains(&begun.number.get()), "it is tried again");
                    let differs = !record.drift(&self.folder).is_empty() && begun.files != self.folder;
                    assert!(!differs || begun.accept_drift == Some(digest(&self.folder)), "an edit is lost");
                    record.begin(&self.folder, Baseline::default());
                    (self.expected, self.edited) = (self.folder.clone(), BTreeMap::new());
                }
            }
            Work::Trial(_) => {}
            Work::Applying(attempt) => self.write(record, &attempt.before, &attempt.to.files),
            Work::Undoing(attempt) => self.write(record, &attempt.to.files, &attempt.before),
        }
    }

    fn write(&mut self, record: &mut Record, from: &Files, to: &Files) {
        let Some(change) = record.pending(&self.folder).into_iter().next() else {
            record.written();
            self.expected = to.clone();
            return;
        };
        if let Some(text) = self.edited.remove(change.file()) {
            // What somebody typed that happens to be the text of the other set is no loss.
            assert_eq!(text.as_ref(), from.get(change.file()), "an edit is written over");
        }
        apply(&mut self.folder, change);
    }

    /// At rest the folder holds one set, but for what was edited.
    fn is_one_set(&self) -> bool {
        let record = self.record();
        if matches!(record.work(), Work::Applying(_) | Work::Undoing(_)) {
            return true;
        }
        let names: BTreeSet<&String> = self.folder.keys().chain(self.expected.keys()).collect();
        names
            .into_iter()
            .filter(|name| !self.edited.contains_key(name.as_str()))
            .all(|name| self.folder.get(name) == self.expected.get(name))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn f4_whatever_happens_in_whatever_order_the_folder_is_never_a_mix_and_no_bad_version_comes_again(
        events in prop::collection::vec(any_event(), 0..80),
    ) {
        let mut model = Model::default();
        for event in events {
            model.event(event.clone());
            prop_assert!(model.is_one_set(), "after {:?}: {:?} is not {:?}", event, model.folder, model.expected);
        }
    }
}
