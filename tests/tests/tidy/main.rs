//! The architecture, held against what cargo sees: who may depend on whom, and what stays out of the
//! pure crates. The layers are explained in `ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// For each crate, the crates of this project it may depend on. An edge that is not here does not exist.
const EDGES: &[(&str, &[&str])] = &[
    // L0
    ("plant-model", &[]),
    // L1
    ("protocol", &["plant-model"]),
    // Ls
    ("service-kit", &["plant-model"]),
    ("tls-kit", &["plant-model", "service-kit"]),
    // L2: decisions
    ("alarm-engine", &["plant-model"]),
    ("alarm-output", &["plant-model"]),
    ("acquisition", &["plant-model"]),
    ("delivery", &["plant-model", "protocol"]),
    ("remote-configuration", &["plant-model", "protocol"]),
    // A new version is judged as new files are.
    ("agent-update", &["plant-model", "protocol", "remote-configuration"]),
    ("ingestion", &["plant-model", "protocol"]),
    ("segments", &["plant-model", "protocol"]),
    ("tiering", &["plant-model", "protocol", "segments"]),
    ("history", &["plant-model", "protocol", "segments", "tiering"]),
    ("tenancy", &["plant-model", "protocol"]),
    ("fleet", &["plant-model", "protocol"]),
    // Its port speaks of failures as that of tenancy does.
    ("rollouts", &["plant-model", "protocol", "tenancy"]),
    // L3: adapters
    (
        "edge-config",
        &["plant-model", "protocol", "acquisition", "alarm-engine", "alarm-output", "agent-update"],
    ),
    ("edge-store", &["plant-model", "protocol", "service-kit"]),
    ("alarm-output-driver", &["plant-model", "alarm-output", "service-kit", "tls-kit"]),
    ("driver-modbus", &["plant-model", "acquisition", "service-kit"]),
    ("driver-opcua", &["plant-model", "acquisition", "service-kit"]),
    ("uplink-mqtt", &["plant-model", "protocol", "delivery", "service-kit", "tls-kit"]),
    ("gateway-identity", &["plant-model", "protocol", "service-kit", "tls-kit"]),
    ("tenant-keys", &["plant-model"]),
    (
        "store-sqlite",
        &[
            "plant-model",
            "protocol",
            "service-kit",
            "ingestion",
            "fleet",
            "tenancy",
            "rollouts",
            "segments",
            "tiering",
        ],
    ),
    (
        "store-postgres",
        &[
            "plant-model",
            "protocol",
            "service-kit",
            "ingestion",
            "fleet",
            "tenancy",
            "rollouts",
            "segments",
            "tiering",
            "tls-kit",
        ],
    ),
    ("archive-parquet", &["plant-model", "protocol", "segments", "tiering"]),
    ("mqtt-endpoint", &["plant-model", "protocol", "service-kit", "ingestion", "tls-kit"]),
    ("mqtt-broker-client", &["plant-model", "protocol", "service-kit", "ingestion"]),
    (
        "http-api",
        &[
            "plant-model",
            "protocol",
            "segments",
            "tiering",
            "history",
            "fleet",
            "tenancy",
            "rollouts",
            "service-kit",
        ],
    ),
    ("pki", &["plant-model", "service-kit", "tls-kit"]),
    ("gateway-api", &["plant-model", "protocol", "tenancy", "rollouts", "service-kit", "tls-kit"]),
    // L4: composition roots
    (
        "edge-agent",
        &[
            "plant-model",
            "protocol",
            "service-kit",
            "tls-kit",
            "alarm-engine",
            "alarm-output",
            "alarm-output-driver",
            "acquisition",
            "delivery",
            "edge-config",
            "edge-store",
            "driver-modbus",
            "driver-opcua",
            "gateway-identity",
            "remote-configuration",
            "agent-update",
            "uplink-mqtt",
        ],
    ),
    (
        "cloud-backend",
        &[
            "plant-model",
            "protocol",
            "service-kit",
            "tls-kit",
            "ingestion",
            "fleet",
            "tenancy",
            "rollouts",
            "store-sqlite",
            "store-postgres",
            "tiering",
            "history",
            "archive-parquet",
            "mqtt-endpoint",
            "mqtt-broker-client",
            "http-api",
            "gateway-api",
            "pki",
            "edge-config",
        ],
    ),
    ("simulators", &[]),
    // L5
    ("factory-tests", &["plant-model", "protocol"]),
    ("xtask", &[]),
];

/// Layers L0 to L2: nothing in them may reach a runtime, a socket, a store or a clock library.
const PURE: [&str; 15] = [
    "plant-model",
    "protocol",
    "alarm-engine",
    "alarm-output",
    "acquisition",
    "delivery",
    "remote-configuration",
    "agent-update",
    "ingestion",
    "segments",
    "tiering",
    "history",
    "tenancy",
    "fleet",
    "rollouts",
];

/// What a pure crate must not reach, at any depth.
const IMPURE: [&str; 16] = [
    "tokio",
    "rusqlite",
    "rumqttc",
    "reqwest",
    "rustls",
    "async-opcua",
    "tokio-modbus",
    "object_store",
    "axum",
    "hyper",
    "tokio-postgres",
    "tracing",
    "rand",
    "chrono",
    "jiff",
    "mio",
];

/// What cargo knows, for this platform alone: packages of other systems need not be on this machine.
fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--locked".to_owned(), platform];
    MetadataCommand::new().manifest_path(manifest).other_options(options).exec().expect("cargo metadata")
}

/// Normal and build dependencies of each workspace crate on other workspace crates.
fn edges(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    metadata
        .workspace_packages()
        .iter()
        .map(|package| {
            let to = package
                .dependencies
                .iter()
                .filter(|d| d.kind != DependencyKind::Development && ours.contains(d.name.as_str()))
                .map(|d| d.name.clone())
                .collect();
            (package.name.to_string(), to)
        })
        .collect()
}

#[test]
fn crates_depend_only_along_the_edges_of_the_table() {
    let mut violations = Vec::new();
    for (from, to) in edges(&metadata()) {
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == from) else {
            violations.push(format!("{from} is not in the table: give it a layer"));
            continue;
        };
        for target in to.iter().filter(|t| !allowed.contains(&t.as_str())) {
            violations.push(format!("{from} may not depend on {target}"));
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn the_table_names_only_crates_that_exist() {
    let known = edges(&metadata());
    let stale: Vec<&str> = EDGES.iter().map(|(name, _)| *name).filter(|n| !known.contains_key(*n)).collect();
    assert!(stale.is_empty(), "{stale:?}");
}

#[test]
fn decisions_reach_no_runtime_no_socket_no_store_and_no_clock() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("resolved");
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let next: BTreeMap<_, Vec<_>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal =
                |d: &&cargo_metadata::NodeDep| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            (&node.id, node.deps.iter().filter(normal).map(|d| &d.pkg).collect())
        })
        .collect();
    for package in metadata.workspace_packages() {
        if !PURE.contains(&package.name.as_str()) {
            continue;
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(next.get(id).into_iter().flatten().copied());
            }
        }
        let reached: Vec<&str> = seen.iter().map(|id| names[*id]).filter(|n| IMPURE.contains(n)).collect();
        assert!(reached.is_empty(), "{} reaches {reached:?}", package.name);
    }
}

/// Files longer than this are split; see `ARCHITECTURE.md`, section "House rules".
const LINES_MAX: usize = 600;

#[test]
fn source_files_stay_readable_and_open_with_what_they_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut violations = Vec::new();
    for folder in ["protocol", "edge-agent", "cloud-backend", "simulators", "packaging", "tests"] {
        visit(&root.join(folder), &mut |file, text| {
            let lines = text.lines().count();
            if lines > LINES_MAX {
                violations.push(format!("{} has {lines} lines; at most {LINES_MAX}", file.display()));
            }
            let is_test = file.ends_with("tests.rs") || file.components().any(|c| c.as_os_str() == "tests");
            if !is_test && !text.starts_with("//!") {
                violations.push(format!("{} does not open with //!", file.display()));
            }
        });
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("node_modules") && !path.ends_with("dist") {
                visit(&path, look);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            look(&path, &std::fs::read_to_string(&path).expect("text"));
        }
    }
}
