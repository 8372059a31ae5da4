use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use edge_store::{EdgeStore, Settings};
use protocol::{Sequence, StreamId};

use crate::load::{NOW, all, plant};

const FOLDER: &str = "EDGE_STORE_KILL_FOLDER";

/// The child: commits, acknowledges and evicts as fast as it can, and tells each sequence when it is committed.
fn work(folder: &Path) -> ! {
    let settings = Settings { bytes_max: 0, ..Settings::new(folder.join("buffer.db")) };
    let opened = EdgeStore::open(settings, NOW).expect("opens");
    assert!(opened.set_aside.is_none() && !opened.log_was_cut, "a kill damages nothing");
    let mut store = opened.store;
    let mut out = std::io::stdout();
    for n in 0.. {
        let header = store.commit(&plant(n), NOW).expect("commits");
        if n % 3 == 0 {
            store.acknowledge(StreamId::Telemetry, Sequence::from_u64(header.sequence.as_u64() / 2));
        }
        writeln!(out, "committed {}", header.sequence).and_then(|()| out.flush()).expect("tells");
    }
    unreachable!("it is killed")
}

/// What is above half of the newest number is never acknowledged, and there is no need to evict it.
/// Twenty-five kills at any moment of commits, checkpoints, growth and evictions.
#[test]
fn a2_a_kill_at_any_moment_loses_no_committed_batch_and_uses_no_number_twice() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        work(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut last = 0;
    for round in 0..25_u64 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "kill::a2_a_kill_at_any_moment_loses_no_committed_batch_and_uses_no_number_twice",
            ])
            .arg("--nocapture")
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut told = Vec::new();
        // So many commits, then some microseconds more: the kill falls anywhere within the next one.
        while told.len() < 5 + usize::try_from(round * 7 % 40).expect("small") {
            let line = lines.next().expect("it runs").expect("text");
            told.extend(line.strip_prefix("committed ").and_then(|n| n.parse::<u64>().ok()));
        }
        std::thread::sleep(Duration::from_micros(round * 137));
        child.kill().expect("kills");
        child.wait().expect("ends");
        told.extend(
            lines.map_while(Result::ok).filter_map(|l| l.strip_prefix("committed ")?.parse::<u64>().ok()),
        );
        assert!(told[0] > last, "{} was used before: {last} was told", told[0]);
        assert!(told.is_sorted());
        last = *told.last().expect("some");
    }
    let settings = Settings { bytes_max: 0, ..Settings::new(folder.path().join("buffer.db")) };
    let mut store = EdgeStore::open(settings, NOW).expect("opens").store;
    let [.., range] = store.ranges().expect("ranges");
    assert!(range.next.as_u64() > last, "what was told is there");
    let held = all(&mut store, StreamId::Telemetry);
    let expected: Vec<u64> = (range.oldest.as_u64()..range.next.as_u64()).collect();
    assert_eq!(held.iter().map(|b| b.header.sequence.as_u64()).collect::<Vec<_>>(), expected);
}
