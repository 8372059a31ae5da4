//! Query parameters: repeated names, unknown names, and messages that say what is allowed.

use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;

use crate::problem::Problem;

/// The query of a request, checked to hold only names that the route knows.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the query of `uri`.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let name: String = name.chars().take(80).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(Problem::invalid(name, format!("there is no such parameter; allowed: {known}")))
            }
            None => Ok(Self { pairs }),
        }
    }

    /// All values of a name, in order.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(known, _)| known.as_str() == name).map(|(_, value)| value.as_str())
    }

    /// The only value of a name, if it is given.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Problem::invalid(name, "given more than once; give it once")),
        }
    }

    /// The only value of a name, if it is given, as a number from `least` to `greatest`.
    pub(crate) fn number<T>(&self, name: &str, least: T, greatest: T) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.one(name)? else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if number >= least && number <= greatest => Ok(Some(number)),
            Ok(_) | Err(_) => {
                let shown: String = text.chars().take(40).collect();
                Err(Problem::invalid(
                    name,
                    format!("{shown:?} is not a whole number from {least} to {greatest}"),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, Problem> {
        Params::read(&format!("/x?{query}").parse().expect("an address"), &["tag", "n"])
    }

    #[test]
    fn repeated_names_keep_their_order() {
        let params = read("tag=b&tag=a%20c").expect("known");
        assert_eq!(params.all("tag").collect::<Vec<_>>(), ["b", "a c"]);
        assert!(params.one("tag").is_err(), "more than one");
        assert!(params.one("n").expect("none").is_none());
    }

    #[test]
    fn unknown_names_and_numbers_out_of_range_are_refused() {
        assert!(read("other=1").is_err());
        for bad in ["n=0", "n=11", "n=x", "n=", "n=1&n=2", "n=-1"] {
            assert!(read(bad).expect("known").number("n", 1_u32, 10).is_err(), "{bad}");
        }
        assert_eq!(read("n=10").expect("known").number("n", 1_u32, 10).ok().flatten(), Some(10));
    }
}
