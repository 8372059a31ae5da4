//! The version of this program: that of its package, to the letter, so that an installer can tell which one runs.

/// It is there once in the program, between two marks, so that tests can make another version of it.
static STAMP: &str = concat!("\u{1}edge-agent version ", env!("CARGO_PKG_VERSION"), "\u{2}");

/// The version that runs.
pub(crate) fn running() -> &'static str {
    // Not known to the compiler: no other copy of the text is made.
    let stamp = std::hint::black_box(STAMP);
    stamp.rsplit(' ').next().unwrap_or_default().trim_end_matches('\u{2}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_package_and_a_rollout_can_name_it() {
        assert_eq!(running(), env!("CARGO_PKG_VERSION"));
        let version = protocol::AgentVersion::new(running()).expect("a version");
        assert!(version.as_str().ends_with(|last: char| last.is_ascii_alphanumeric()));
    }
}
