//! Reading a table key by key: each getter checks one value, reports what is wrong with its line, and
//! remembers that the key is known.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use plant_model::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, Report};

/// A parsed file.
pub(crate) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    /// Where each line ends: a list of 10,000 tags asks for the line of each.
    line_ends: Vec<usize>,
    report: &'a Report,
    table: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses a file; syntax errors are reported, all of them.
    pub(crate) fn parse(file: &'a Path, text: &'a str, report: &'a Report) -> Option<Self> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line_ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        for error in &errors {
            report.push(Problem {
                file: file.to_owned(),
                line: error.span().map(|span| line_of(&line_ends, span.start)),
                key: String::new(),
                value: String::new(),
                message: format!("this is not TOML: {}", error.message()),
            });
        }
        errors.is_empty().then_some(Self { file, text, line_ends, report, table })
    }

    pub(crate) fn root(&self) -> Section<'_> {
        Section {
            document: self,
            path: String::new(),
            line: 1,
            table: self.table.get_ref(),
            known: BTreeSet::new(),
        }
    }
}

/// A table of the file.
pub(crate) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    line: usize,
    table: &'a DeTable<'a>,
    known: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, value)| value)
    }

    /// The line where the table begins, from 1.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The file it is in.
    pub(crate) fn file(&self) -> &'a Path {
        self.document.file
    }

    fn line_of(&self, value: &Spanned<DeValue<'_>>) -> usize {
        line_of(&self.document.line_ends, value.span().start)
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn push(&self, line: usize, key: &str, value: String, message: String) {
        let (file, key) = (self.document.file.to_owned(), self.full(key));
        self.document.report.push(Problem { file, line: Some(line), key, value, message });
    }

    /// Reports a problem with the value of `key`.
    pub(crate) fn problem(&mut self, key: &'static str, message: impl Into<String>) {
        let (line, value) = match self.find(key) {
            Some(value) => (self.line_of(value), self.written(value)),
            None => (self.line, String::new()),
        };
        self.push(line, key, value, message.into());
    }

    fn written(&self, value: &Spanned<DeValue<'_>>) -> String {
        let text = self.document.text.get(value.span()).unwrap_or_default();
        text.lines().next().unwrap_or_default().chars().take(80).collect()
    }

    /// Whether the key is there.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Whether the key is there and holds a table.
    pub(crate) fn is_table(&mut self, key: &'static str) -> bool {
        self.find(key).is_some_and(|value| value.get_ref().as_table().is_some())
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        get: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.find(key)?;
        let found = get(value.get_ref());
        if found.is_none() {
            self.problem(key, format!("{wanted} is needed, this is a {}", value.get_ref().type_str()));
        }
        found
    }

    fn required<T>(&mut self, key: &'static str, allowed: &str, found: Option<T>) -> Option<T> {
        if found.is_none() && !self.has(key) {
            self.problem(key, format!("is missing; {allowed} is needed"));
        }
        found
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.typed(key, "a text in quotes", |v| v.as_str())
    }

    /// A text that must be there and not be empty.
    pub(crate) fn required_text(&mut self, key: &'static str, allowed: &str) -> Option<&'a str> {
        let found = self.text(key);
        let found = self.required(key, allowed, found)?;
        if found.is_empty() {
            self.problem(key, format!("is empty; {allowed} is needed"));
            return None;
        }
        Some(found)
    }

    /// A text that must be there and parse.
    pub(crate) fn parsed<T: FromStr>(&mut self, key: &'static str, allowed: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.required_text(key, allowed)?;
        text.parse().map_err(|error: T::Err| self.problem(key, error.to_string())).ok()
    }

    /// A whole number within a range.
    pub(crate) fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.typed(key, "a whole number", |v| {
            let written = v.as_integer()?;
            i64::from_str_radix(&written.as_str().replace('_', ""), written.radix()).ok()
        })?;
        if range.contains(&number) {
            return Some(number);
        }
        self.problem(key, format!("is out of range; {} to {} are allowed", range.start(), range.end()));
        None
    }

    /// A whole number that must be there.
    pub(crate) fn required_integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        let found = self.integer(key, range);
        self.required(key, &allowed, found)
    }

    /// A time in milliseconds within a range; `default` when the key is not there.
    pub(crate) fn millis(&mut self, key: &'static str, range: RangeInclusive<i64>, default: i64) -> Duration {
        let millis = self.integer(key, range).unwrap_or(default);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// A finite number.
    pub(crate) fn number(&mut self, key: &'static str) -> Option<f64> {
        let number = self.typed(key, "a number", number_of)?;
        if !number.is_finite() {
            self.problem(key, "a finite number is needed");
            return None;
        }
        Some(number)
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", |v| v.as_bool())
    }

    /// Two numbers in brackets.
    pub(crate) fn pair(&mut self, key: &'static str) -> Option<(f64, f64)> {
        self.typed(key, "a pair of numbers such as [0, 150]", |v| {
            let mut numbers = v.as_array()?.iter().map(|n| number_of(n.get_ref()));
            match (numbers.next(), numbers.next(), numbers.next()) {
                (Some(low), Some(high), None) => Some((low?, high?)),
                _ => None,
            }
        })
    }

    /// One value or several in brackets: truth values, whole numbers and texts.
    pub(crate) fn values(&mut self, key: &'static str) -> Option<Vec<Value>> {
        self.typed(key, "true, false, a whole number, a text, or several of them in brackets", |v| {
            match v.as_array() {
                Some(array) => array.iter().map(|one| value_of(one.get_ref())).collect(),
                None => Some(vec![value_of(v)?]),
            }
        })
    }

    /// As [`Self::values`], and numbers with decimals.
    pub(crate) fn literals(&mut self, key: &'static str) -> Option<Vec<Value>> {
        let one = |v: &DeValue<'_>| {
            value_of(v).or_else(|| number_of(v).filter(|n| n.is_finite()).map(Value::Float))
        };
        self.typed(key, "true, false, a number, a text, or several of them in brackets", |v| {
            match v.as_array() {
                Some(array) => array.iter().map(|v| one(v.get_ref())).collect(),
                None => Some(vec![one(v)?]),
            }
        })
    }

    /// Texts in brackets.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<&'a str>> {
        self.typed(key, "a list of texts in brackets", |v| {
            v.as_array()?.iter().map(|one| one.get_ref().as_str()).collect()
        })
    }

    /// A table of texts whose keys are whole numbers; empty if it is not there, `None` if it is none.
    pub(crate) fn numbered_texts(&mut self, key: &'static str) -> Option<Vec<(i64, String)>> {
        if !self.has(key) {
            return Some(Vec::new());
        }
        let wanted = "a table of names such as { 0 = \"stopped\", 1 = \"running\" }";
        self.typed(key, wanted, |v| {
            let entries = v.as_table()?.iter();
            let entry = |(number, text): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                Some((number.get_ref().parse().ok()?, text.get_ref().as_str()?.to_owned()))
            };
            entries.map(entry).collect()
        })
    }

    /// A finite number that must be there.
    pub(crate) fn required_number(&mut self, key: &'static str) -> Option<f64> {
        let found = self.number(key);
        self.required(key, "a number", found)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let word = self.text(key)?;
        if let Some((_, found)) = words.iter().find(|(w, _)| *w == word) {
            return Some(*found);
        }
        let names: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        let hint = nearest(word, &names).map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
        self.problem(key, format!("is not known; allowed are {}{hint}", names.join(", ")));
        None
    }

    /// One of a few words that must be there.
    pub(crate) fn required_choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        let allowed = format!("one of {}", names.join(", "));
        let found = self.choice(key, words);
        self.required(key, &allowed, found)
    }

    /// Reads a table, if it is there.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.find(key)?;
        let table = self.typed(key, "a table", |v| v.as_table())?;
        let mut section = self.child(self.full(key), self.line_of(value), table);
        let built = read(&mut section);
        section.finish();
        built
    }

    /// Reads every table of an array of tables; those that cannot be read are left out (and reported).
    pub(crate) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(array) = self.typed(key, "an array of tables", |v| v.as_array()) else { return Vec::new() };
        let mut out = Vec::new();
        for (index, value) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.full(key));
            let Some(table) = value.get_ref().as_table() else {
                self.push(self.line_of(value), key, self.written(value), "a table is needed".to_owned());
                continue;
            };
            let mut section = self.child(path, self.line_of(value), table);
            out.extend(read(&mut section));
            section.finish();
        }
        out
    }

    fn child(&self, path: String, line: usize, table: &'a DeTable<'a>) -> Self {
        Section { document: self.document, path, line, table, known: BTreeSet::new() }
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(&self) {
        let known: Vec<&str> = self.known.iter().copied().collect();
        for (key, value) in self.table {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let hint = match nearest(name, &known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", known.join(", ")),
            };
            let line = line_of(&self.document.line_ends, key.span().start);
            self.push(line, name, self.written(value), format!("this key is not known; {hint}"));
        }
    }
}

fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let text = match (value.as_float(), value.as_integer()) {
        (Some(float), _) => float.as_str().to_owned(),
        (None, Some(integer)) if integer.radix() == 10 => integer.as_str().to_owned(),
        (None, _) => return None,
    };
    text.replace('_', "").parse().ok()
}

fn value_of(value: &DeValue<'_>) -> Option<Value> {
    let whole =
        |n: &toml::de::DeInteger<'_>| i64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok();
    let number = || value.as_integer().and_then(whole).map(Value::Int);
    value.as_bool().map(Value::Bool).or_else(number).or_else(|| value.as_str().map(|t| Value::Text(t.into())))
}

fn line_of(line_ends: &[usize], offset: usize) -> usize {
    line_ends.partition_point(|end| *end < offset) + 1
}

/// The word that differs least from `word`, if it differs by less than half.
pub(crate) fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    words
        .iter()
        .map(|w| (distance(word, w), *w))
        .filter(|(d, w)| *d * 2 < w.len().max(word.len()))
        .min_by_key(|(d, _)| *d)
        .map(|(_, w)| w)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
