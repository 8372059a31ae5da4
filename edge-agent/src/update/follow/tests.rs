//! What the agent leaves for the installer, on real files.

use std::num::NonZeroU32;
use std::os::unix::fs::symlink;

use agent_update::{Journal, Request};
use protocol::UpdateChannel;
use remote_configuration::Baseline;

use super::*;

fn files(folder: &std::path::Path) -> UpdateFiles {
    UpdateFiles { request: folder.join("update/request.json"), result: folder.join("installer/result.json") }
}

fn version(text: &str) -> AgentVersion {
    AgentVersion::new(text).expect("valid")
}

fn desired(revision: u32, text: &str) -> DesiredUpdate {
    let revision = NonZeroU32::new(revision).expect("above 0");
    DesiredUpdate { revision, version: version(text), channel: UpdateChannel::default() }
}

fn stands(files: &UpdateFiles, desired: Option<&DesiredUpdate>) -> Result<(UpdateState, String)> {
    act(files, &Policy::default(), &version("1.0"), desired, None)
}

#[test]
fn a_request_is_left_whole_renewed_and_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, wanted) = (files(folder.path()), desired(1, "2.0"));
    assert_eq!(stands(&files, Some(&wanted)).expect("writes").0, UpdateState::Requested);
    let request = files.request().expect("is there");
    assert_eq!((request.desired(), request.check_time(Clock::system())), (wanted.clone(), Ok(())));
    std::fs::write(&files.request, "{").expect("written");
    stands(&files, Some(&wanted)).expect("writes");
    assert!(files.request().is_some(), "what is no request is written over");
    assert_eq!(stands(&files, None).expect("removes").0, UpdateState::Idle);
    assert!(!files.request.exists());
}

#[test]
fn what_the_installer_says_is_what_is_told_and_nothing_is_asked_for_while_it_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, wanted) = (files(folder.path()), desired(1, "2.0"));
    std::fs::create_dir(folder.path().join("installer")).expect("made");
    let request = Request::new(&wanted, &version("1.0"), Clock::system());
    let mut journal = Journal::new(request, version("1.0"), Baseline::default(), Clock::system());
    journal.acted(Err("no such package".to_owned()), Clock::system());
    std::fs::write(&files.result, serde_json::to_vec(&journal).expect("writes")).expect("written");
    let told = stands(&files, Some(&wanted)).expect("reads");
    assert_eq!(told, (UpdateState::Failed, "no such package".to_owned()));
    assert_eq!(stands(&files, Some(&desired(2, "2.0"))).expect("writes").0, UpdateState::Requested);

    std::fs::remove_file(&files.request).expect("removed");
    std::fs::write(&files.result, "{}").expect("written");
    let error = format!("{:#}", stands(&files, Some(&wanted)).expect_err("unreadable"));
    assert!(error.contains("result.json") && error.contains("no journal"), "{error}");
    assert!(!files.request.exists());
}

#[test]
fn a_request_that_cannot_be_written_is_told_with_the_file_and_the_fix_and_made_when_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let (files, wanted) = (files(folder.path()), desired(1, "2.0"));
    // In this file system nobody makes a file, not even root; as on a disk without room.
    symlink("/proc/self", folder.path().join("update")).expect("linked");
    let error = format!("{:#}", stands(&files, Some(&wanted)).expect_err("no room"));
    assert!(error.contains("update/request.json") && error.contains("must have room"), "{error}");
    assert_eq!(files.request(), None);
    std::fs::remove_file(folder.path().join("update")).expect("removed");
    assert_eq!(stands(&files, Some(&wanted)).expect("room again").0, UpdateState::Requested);
    assert!(files.request().is_some());
}
