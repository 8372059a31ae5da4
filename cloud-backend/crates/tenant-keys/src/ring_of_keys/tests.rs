use proptest::prelude::*;

use super::*;

fn ring(keys: &[(u32, &DataKey)]) -> KeyRing {
    KeyRing::new(keys.iter().map(|(id, key)| (KeyId(*id), (*key).clone())))
}

#[test]
fn a_block_shows_nothing_and_opens_at_its_place_for_its_purpose_and_tenant_only() {
    let (ours, theirs) = (DataKey::generate(), DataKey::generate());
    let (mine, other) = (ring(&[(1, &ours)]), ring(&[(1, &theirs)]));
    let block = b"what a machine did in a minute";
    let sealed = mine.seal(Purpose::Blocks, b"batch 7", block).expect("sealed");
    assert_eq!(sealed.len(), block.len() + SEALED_BYTES);
    assert!(!sealed.windows(5).any(|part| block.windows(5).any(|other| other == part)));
    assert_ne!(
        sealed,
        mine.seal(Purpose::Blocks, b"batch 7", block).expect("sealed"),
        "each has its own nonce"
    );
    let open = |ring: &KeyRing, purpose, place: &[u8]| ring.open(purpose, place, sealed.clone());
    assert_eq!(open(&mine, Purpose::Blocks, b"batch 7").expect("opened"), block);
    assert!(matches!(open(&mine, Purpose::Blocks, b"batch 8"), Err(KeyError::Damaged)), "another place");
    assert!(matches!(open(&mine, Purpose::Backups, b"batch 7"), Err(KeyError::Damaged)), "another purpose");
    assert!(matches!(open(&other, Purpose::Blocks, b"batch 7"), Err(KeyError::Damaged)), "another tenant");
}

#[test]
fn the_newest_key_seals_each_opens_its_own_and_a_destroyed_one_is_named() {
    let (first, second) = (DataKey::generate(), DataKey::generate());
    let old = ring(&[(1, &first)]).seal(Purpose::Blocks, b"p", b"block").expect("sealed");
    let both = ring(&[(2, &second), (1, &first)]);
    assert_eq!(both.newest(), Some(KeyId(2)));
    let new = both.seal(Purpose::Blocks, b"p", b"block").expect("sealed");
    assert_eq!(both.open(Purpose::Blocks, b"p", old.clone()).expect("opened"), b"block");
    assert_eq!(both.open(Purpose::Blocks, b"p", new.clone()).expect("opened"), b"block");
    let later = ring(&[(2, &second)]);
    assert_eq!(later.open(Purpose::Blocks, b"p", new).expect("opened"), b"block");
    assert!(matches!(later.open(Purpose::Blocks, b"p", old), Err(KeyError::UnknownKey { key: KeyId(1) })));
    assert!(matches!(KeyRing::default().seal(Purpose::Blocks, b"p", b"block"), Err(KeyError::NoKey)));
}

#[test]
fn what_is_not_sealed_stays_as_it_is() {
    let key = DataKey::generate();
    for plain in [&b""[..], &[1, 2, 3], &[0x53, 1]] {
        assert_eq!(ring(&[(1, &key)]).open(Purpose::Blocks, b"p", plain.to_vec()).expect("as it is"), plain);
    }
    assert_eq!(format!("{key:?}"), "DataKey(…)");
}

proptest! {
    #[test]
    fn whatever_was_sealed_opens_and_no_damage_goes_unnoticed(
        block in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let key = DataKey::generate();
        let ring = ring(&[(9, &key)]);
        let sealed = ring.seal(Purpose::Objects, b"place", &block).expect("sealed");
        prop_assert_eq!(&ring.open(Purpose::Objects, b"place", sealed.clone()).expect("opened"), &block);
        let mut damaged = sealed;
        let at = at.index(damaged.len() - 1) + 1;
        damaged[at] ^= 1 << bit;
        prop_assert!(ring.open(Purpose::Objects, b"place", damaged.clone()).is_err());
        damaged.truncate(at);
        prop_assert!(ring.open(Purpose::Objects, b"place", damaged).is_err());
    }

    #[test]
    fn garbage_is_refused_or_left_alone_and_nothing_panics(stored in proptest::collection::vec(any::<u8>(), 0..80)) {
        let key = DataKey::generate();
        let opened = ring(&[(1, &key)]).open(Purpose::Blocks, b"p", stored.clone());
        prop_assert_eq!(opened.ok(), (!is_sealed(&stored)).then_some(stored));
    }
}
