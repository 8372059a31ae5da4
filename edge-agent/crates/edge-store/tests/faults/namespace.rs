//! A mount namespace for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "EDGE_STORE_TEST_FOLDER";

/// Runs `body` in a process with its own mount namespace, with a folder to mount things on. `test` is the
/// full name of the calling test. Anybody may do that on most systems; only root mounts images of disks in it.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return body(&PathBuf::from(folder));
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let user = Command::new("id").arg("-u").output().expect("id starts").stdout;
    let as_root: &[&str] = if user == b"0\n" { &[] } else { &["--map-root-user"] };
    let status = Command::new("unshare")
        .args(as_root)
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, folder.path())
        .status()
        .expect("unshare of util-linux starts");
    assert!(status.success(), "{test} failed in its namespace: {status}");
}

/// Mounts memory as a disk of this size.
pub(crate) fn mount_memory(on: &Path, mib: u64) {
    run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", path(on)]);
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

pub(crate) fn path(of: &Path) -> &str {
    of.to_str().expect("text")
}
