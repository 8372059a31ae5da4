use super::*;

fn tenant(id: &str) -> TenantId {
    TenantId::new(id).expect("valid")
}

fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_wrapped_key_opens_for_its_tenant_and_number_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = FileRoot::read_or_create(&folder.path().join("root.key")).expect("made");
    let (acme, key) = (tenant("acme"), DataKey::generate());
    let wrapped = root.wrap(&acme, KeyId(1), &key).expect("wrapped");
    assert!(!wrapped.wrapped.windows(8).any(|part| key.0.windows(8).any(|other| other == part)));
    assert_eq!(root.unwrap(&acme, &wrapped).expect("unwrapped").0, key.0);
    root.unwrap(&tenant("beta"), &wrapped).expect_err("another tenant");
    root.unwrap(&acme, &SealedKey { id: KeyId(2), ..wrapped.clone() }).expect_err("another number");
    for at in 0..wrapped.wrapped.len() {
        let mut damaged = wrapped.clone();
        damaged.wrapped[at] ^= 1;
        root.unwrap(&acme, &damaged).expect_err("damaged");
        damaged.wrapped.truncate(at);
        root.unwrap(&acme, &damaged).expect_err("cut");
    }
}

#[test]
fn the_file_is_made_once_by_whoever_comes_first_and_nobody_else_may_read_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("root.key");
    let texts: Vec<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    FileRoot::read_or_create(&path).expect("made or read");
                    std::fs::read_to_string(&path).expect("read")
                })
            })
            .collect();
        makers.into_iter().map(|maker| maker.join().expect("no panic")).collect()
    });
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "all have the first one's key");
    assert_eq!(mode_of(&path), 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1, "no scratch files are left");
}

#[test]
fn a_new_root_key_wraps_and_the_old_one_unwraps_until_it_is_retired() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("root.key");
    let (old, acme) = (FileRoot::read_or_create(&path).expect("made"), tenant("acme"));
    let wrapped = old.wrap(&acme, KeyId(1), &DataKey::generate()).expect("wrapped");
    let both = FileRoot::add_new(&path).expect("added");
    assert_ne!(both.current(), old.current());
    let key = both.unwrap(&acme, &wrapped).expect("the old one is still there");
    let again = both.wrap(&acme, KeyId(1), &key).expect("wrapped anew");
    assert_eq!(again.root, both.current());
    let one = FileRoot::retire_old(&path).expect("retired");
    assert_eq!(one.names().collect::<Vec<_>>(), [&both.current()]);
    assert_eq!(one.unwrap(&acme, &again).expect("unwrapped").0, key.0);
    let error = one.unwrap(&acme, &wrapped).expect_err("gone").to_string();
    assert!(error.contains("root-1") && error.contains("put its line back"), "{error}");
    assert_eq!(
        FileRoot::add_new(&path).expect("added").current().as_str(),
        "root-3",
        "no name is used again"
    );
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_file_that_others_may_read_or_that_is_none_is_refused_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("root.key");
    FileRoot::read_or_create(&path).expect("made");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
    let error = FileRoot::read(&path).expect_err("exposed").to_string();
    assert!(error.contains("640") && error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    let good = std::fs::read_to_string(&path).expect("read");
    let twice = format!("{good}{good}");
    for (text, line) in [("", 1), ("secret", 1), ("Root 00", 1), (twice.as_str(), 2)] {
        std::fs::write(&path, text).expect("written");
        let error = FileRoot::read(&path).expect_err("no key").to_string();
        assert!(error.contains(&format!("line {line}")) && !error.contains("secret"), "{error}");
    }
    assert!(matches!(FileRoot::read(&folder.path().join("none")), Err(KeyError::File { .. })));
}
