//! Byte planes: the n-th bytes of all numbers side by side, so that slowly changing high bytes compress.

/// Splits numbers of `WIDTH` big-endian bytes into planes, the most significant first.
pub(super) fn split<const WIDTH: usize>(numbers: &[[u8; WIDTH]]) -> Vec<u8> {
    (0..WIDTH).flat_map(|plane| numbers.iter().map(move |n| n[plane])).collect()
}

/// The inverse of [`split`]; `None` if the planes are of unequal length.
pub(super) fn join<const WIDTH: usize>(planes: &[u8]) -> Option<Vec<[u8; WIDTH]>> {
    if !planes.len().is_multiple_of(WIDTH) {
        return None;
    }
    let count = planes.len() / WIDTH;
    Some((0..count).map(|i| std::array::from_fn(|plane| planes[plane * count + i])).collect())
}
