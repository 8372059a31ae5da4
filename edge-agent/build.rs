//! Tells the program when it was built: it cannot run earlier, whatever a clock says. `SOURCE_DATE_EPOCH` makes builds
//! reproducible.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rustc-env=BUILT_AT_SECONDS={}", given.unwrap_or(now));
}
