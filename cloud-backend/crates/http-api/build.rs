//! Makes sure that the folder of the built dashboard exists, so that embedding it compiles. It never runs
//! npm: building the dashboard needs a network and Node, building the backend needs neither.

use std::path::Path;
use std::{env, fs};

fn main() {
    let dist = Path::new("dashboard/dist");
    println!("cargo:rerun-if-changed=dashboard/dist");
    println!("cargo:rerun-if-env-changed=REQUIRE_DASHBOARD");
    if dist.join("index.html").exists() {
        return;
    }
    assert!(
        env::var_os("REQUIRE_DASHBOARD").is_none(),
        "the dashboard is not built, and REQUIRE_DASHBOARD is set: run `cargo xtask dashboard` first"
    );
    println!(
        "cargo:warning=the dashboard is not built; the backend will serve a plain page instead (run `cargo xtask dashboard`)"
    );
    fs::create_dir_all(dist).expect("the package's own folder can be written");
}
