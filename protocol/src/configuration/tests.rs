use proptest::prelude::*;
use serde_json::json;

use super::*;

fn configuration() -> Configuration {
    let files = [("filler.toml", "id = \"filler\"\n"), ("press-1.toml", "id = \"press-1\"\n# Größe\n")];
    Configuration {
        tenant: TenantId::new("acme").expect("an id"),
        gateway: GatewayId::new("hall-3").expect("an id"),
        version: ConfigurationVersion::new(7).expect("above 0"),
        files: ConfigurationFiles::new(files.map(|(name, text)| (name, text.to_owned()))).expect("fits"),
        accept_drift: None,
    }
}

fn signed() -> SignedConfiguration {
    SignedConfiguration {
        configuration: configuration(),
        signer: "PEM".to_owned(),
        signature: vec![0x30, 0x45, 0xff],
    }
}

fn report() -> ConfigurationReport {
    ConfigurationReport {
        state: ConfigurationState::RolledBack,
        version: ConfigurationVersion::new(7),
        applied: ConfigurationVersion::new(6),
        detail: "press-1 did not come back".to_owned(),
        drift: vec![DriftedFile { file: "filler.toml".to_owned(), change: DriftChange::Changed }],
        files_digest: FilesDigest([1; 32]),
        agent_version: "0.1.0".to_owned(),
    }
}

#[test]
fn what_is_signed_stays_as_the_first_release_signed_it() {
    let text = "mfp configuration 1\ntenant acme\ngateway hall-3\nversion 7\n\
        files 9375768de897c390a35df9956faea662d50e4f7f9c2c236b1603dc0ab3372f5a\naccept_drift -\n";
    assert_eq!(configuration().signed_text(), text);
    let accepting = Configuration { accept_drift: Some(FilesDigest([0xab; 32])), ..configuration() };
    assert!(accepting.signed_text().ends_with(&format!("\naccept_drift {}\n", "ab".repeat(32))));
}

#[test]
fn a_digest_tells_where_a_file_ends() {
    let of = |files: &[(&str, &str)]| {
        FilesDigest::of_set(files.iter().map(|(name, text)| (*name, text.as_bytes())))
    };
    let sets: [&[_]; 5] = [&[], &[("a", "b")], &[("ab", "")], &[("a", ""), ("b", "")], &[("a", "bb")]];
    let digests: std::collections::HashSet<_> = sets.iter().map(|set| of(set)).collect();
    assert_eq!(digests.len(), sets.len());
}

#[test]
fn a_name_leads_to_no_other_folder_and_ends_as_a_machine_file() {
    let longest = format!("{}.toml", "a".repeat(64));
    for name in ["press.toml", "7.toml", "hall-3_press.1.toml", &longest] {
        assert_eq!(name.parse::<FileName>().map(|name| name.to_string()).as_deref(), Ok(name));
    }
    let too_long = format!("a{longest}");
    let names =
        ["", ".toml", "a", "a.csv", "A.toml", "../a.toml", "a/b.toml", ".a.toml", "-a.toml", "ä.toml"];
    for name in names.into_iter().chain(["a.toml\n", "a\0.toml", "a .toml", &too_long]) {
        let refused = name.parse::<FileName>();
        assert!(matches!(refused, Err(ConfigurationError::Name { .. })), "{name:?}: {refused:?}");
    }
}

#[test]
fn what_is_no_set_of_machine_files_is_refused_with_its_reason() {
    let refused = |files: Vec<(String, String)>| ConfigurationFiles::new(files).expect_err("no set of files");
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let name: FileName = "a.toml".parse().expect("a name");
    let twice = vec![file("a.toml", ""), file("a.toml", "")];
    assert_eq!(refused(twice), ConfigurationError::Order { name: name.clone() });
    let descending = vec![file("b.toml", ""), file("a.toml", "")];
    assert_eq!(refused(descending), ConfigurationError::Order { name: name.clone() });
    let control = ConfigurationError::Control { name, character: 27 };
    assert_eq!(refused(vec![file("a.toml", "x\t\r\n\u{1b}")]), control);
    let large = "x".repeat(CONFIGURATION_BYTES_MAX);
    let found = CONFIGURATION_BYTES_MAX + 1;
    let limit = |what, found, allowed| ConfigurationError::Limit { what, found, allowed };
    let size = limit("bytes of all files", found, CONFIGURATION_BYTES_MAX);
    assert_eq!(refused(vec![file("a.toml", &large), file("b.toml", "x")]), size);
    let many = (0..=CONFIGURATION_FILES_MAX).map(|n| file(&format!("{n:05}.toml"), "")).collect();
    assert_eq!(refused(many), limit("files", CONFIGURATION_FILES_MAX + 1, CONFIGURATION_FILES_MAX));
}

#[test]
fn the_largest_configuration_fits_into_the_limit_of_its_json() {
    let share = CONFIGURATION_BYTES_MAX / CONFIGURATION_FILES_MAX;
    let name = |n| format!("{n:0>64}.toml");
    let files = (0..CONFIGURATION_FILES_MAX).map(|n| (name(n), "\"".repeat(share)));
    let mut signed = signed();
    signed.configuration.files = ConfigurationFiles::new(files).expect("fits");
    signed.signer = "\n".repeat(SIGNER_CHAIN_BYTES_MAX);
    let json = serde_json::to_vec(&signed).expect("serialises");
    assert!(json.len() <= crate::limits::SIGNED_CONFIGURATION_BYTES_MAX, "{} bytes", json.len());
}

#[test]
fn a_signed_configuration_is_written_as_the_specification_says() {
    let json = json!({
        "tenant": "acme", "gateway": "hall-3", "version": 7,
        "files": [
            { "name": "filler.toml", "text": "id = \"filler\"\n" },
            { "name": "press-1.toml", "text": "id = \"press-1\"\n# Größe\n" },
        ],
        "signer": "PEM", "signature": "3045ff",
    });
    assert_eq!(serde_json::to_value(signed()).expect("serialises"), json);
    assert_eq!(serde_json::from_value::<SignedConfiguration>(json).expect("reads"), signed());
}

#[test]
fn a_signed_configuration_with_anything_wrong_is_refused_with_its_reason() {
    let good = serde_json::to_value(signed()).expect("serialises");
    for (key, value, reason) in [
        ("tenant", json!("Acme"), "Acme"),
        ("gateway", json!(""), "id"),
        ("version", json!(0), "nonzero"),
        ("accept_drift", json!("ab"), "64 lower-case"),
        ("files", json!([{ "name": "../a.toml", "text": "" }]), "../a.toml"),
        ("signer", json!("x".repeat(SIGNER_CHAIN_BYTES_MAX + 1)), "16385, at most 16384"),
        ("signature", json!("30F0"), "hexadecimal"),
        ("signature", json!("300"), "hexadecimal"),
        ("signature", json!("00".repeat(73)), "146, at most 144"),
        ("unknown", json!(1), "unknown field"),
    ] {
        let mut wrong = good.clone();
        wrong[key] = value;
        let error = serde_json::from_value::<SignedConfiguration>(wrong).expect_err(key).to_string();
        assert!(error.contains(reason), "{key}: {error}");
    }
}

#[test]
fn a_report_comes_back_as_it_was_and_an_unknown_field_is_left_out() {
    let mut json = serde_json::to_value(report()).expect("serialises");
    assert_eq!((&json["state"], &json["drift"][0]["change"]), (&json!("rolled_back"), &json!("changed")));
    json["of_the_future"] = json!(1);
    assert_eq!(serde_json::from_value::<ConfigurationReport>(json).expect("reads"), report());
    for state in ConfigurationState::ALL {
        assert_eq!(serde_json::to_value(state).expect("serialises"), json!(state.as_str()));
    }
}

#[test]
fn a_report_is_cut_to_what_the_backend_takes() {
    let file = DriftedFile { file: "ä".repeat(200), change: DriftChange::Added };
    let drift = vec![file; CONFIGURATION_FILES_MAX + 1];
    let long = ConfigurationReport { detail: "€".repeat(REPORT_DETAIL_BYTES_MAX), drift, ..report() };
    let json = |report: &ConfigurationReport| serde_json::to_string(report).expect("serialises");
    assert!(serde_json::from_str::<ConfigurationReport>(&json(&long)).is_err());
    let clipped = long.clipped();
    assert!(clipped.detail.ends_with('…') && clipped.detail.len() > REPORT_DETAIL_BYTES_MAX - 4);
    assert_eq!(serde_json::from_str::<ConfigurationReport>(&json(&clipped)).expect("reads"), clipped);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in any::<Vec<u8>>(), text in ".{0,80}") {
        let _ = serde_json::from_slice::<SignedConfiguration>(&bytes);
        let _ = serde_json::from_slice::<ConfigurationReport>(&bytes);
        let _ = (text.parse::<FileName>(), text.parse::<FilesDigest>(), bytes_of(&text));
    }

    /// Cut, doubled or changed anywhere: refused, or read as something that is written the same way again.
    #[test]
    fn a_damaged_configuration_is_refused_or_read_for_what_it_is(at in any::<prop::sample::Index>(), with in any::<Vec<u8>>()) {
        let mut bytes = serde_json::to_vec(&signed()).expect("serialises");
        let at = at.index(bytes.len());
        bytes.splice(at..(at + with.len() / 2).min(bytes.len()), with);
        if let Ok(read) = serde_json::from_slice::<SignedConfiguration>(&bytes) {
            let again = serde_json::to_vec(&read).expect("serialises");
            prop_assert_eq!(serde_json::from_slice::<SignedConfiguration>(&again).expect("reads"), read);
        }
    }

    #[test]
    fn whatever_changes_changes_what_is_signed(name in "[a-z0-9]{1,8}", text in "[ -~]{0,20}", version in 1_u32..100) {
        let name = format!("{name}.toml");
        let files = ConfigurationFiles::new([(&name, text.clone())]).expect("fits");
        prop_assert_eq!(files.get(&name), Some(text.as_str()));
        let version = ConfigurationVersion::new(version).expect("above 0");
        let one = Configuration { files, version, ..configuration() };
        let longer = ConfigurationFiles::new([(&name, format!("{text} "))]).expect("fits");
        let others = [
            Configuration { files: longer, ..one.clone() },
            Configuration { version: version.saturating_add(1), ..one.clone() },
            Configuration { accept_drift: Some(one.files.digest()), ..one.clone() },
            Configuration { tenant: TenantId::new("other").expect("an id"), ..one.clone() },
            Configuration { gateway: GatewayId::new("other").expect("an id"), ..one.clone() },
        ];
        for other in others {
            prop_assert_ne!(other.signed_text(), one.signed_text());
        }
    }
}
