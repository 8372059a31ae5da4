//! Reproducible randomness: pure functions of numbers, no generator with a state.

/// Mixes two numbers into one whose bits look independent of both (the SplitMix64 finaliser over their sum).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_add(b.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number for a name (64-bit FNV-1a), so that a tag's noise depends on its id and not on its position.
pub(crate) fn name_salt(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Maps a mixed number evenly to `[0, 1)`, using the 53 bits a double holds exactly.
pub(crate) fn unit(mixed: u64) -> f64 {
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Maps a mixed number evenly to `[-1, 1)`.
pub(crate) fn symmetric(mixed: u64) -> f64 {
    unit(mixed) * 2.0 - 1.0
}

/// Replaces bytes by reproducible random ones.
pub(crate) fn garble(bytes: &mut [u8], seed: u64) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = mix(seed, index as u64) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_is_reproducible_and_spreads_neighbours() {
        assert_eq!(mix(7, 11), mix(7, 11));
        let close = (mix(7, 11) ^ mix(7, 12)).count_ones();
        assert!((10..=54).contains(&close), "only {close} bits differ");
    }

    #[test]
    fn the_mean_of_many_draws_is_near_zero() {
        let sum: f64 = (0..10_000).map(|i| symmetric(mix(42, i))).sum();
        assert!((sum / 10_000.0).abs() < 0.05);
    }

    #[test]
    fn names_have_different_salts() {
        assert_ne!(name_salt("spindle_speed"), name_salt("spindle_load"));
    }
}
