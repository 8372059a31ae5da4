//! The language of alarm expressions: a boolean combination of the tags of one machine.
//!
//! ```text
//! or      = and { ("or" | "||") and }
//! and     = not { ("and" | "&&") not }
//! not     = ("not" | "!") not | test
//! test    = "(" or ")" | operand [ ("<" | "<=" | ">" | ">=" | "==" | "!=") operand ]
//! operand = number | "true" | "false" | tag
//! ```
//!
//! A tag stands under its id; a tag alone is true unless it is zero. Words are told from words by what
//! lies between them, so a `-` within a word is part of it: `a-b` is one tag. Keywords are read in
//! either case and win over a tag of the same name, as numbers do.
//!
//! A tag without a good value is unknown, and so is what depends on it (three-valued logic: `false and
//! unknown` is false, `true and unknown` is unknown).
//!
//! A text is parsed once, into a program over a small stack; running it allocates nothing. Text,
//! nesting, tags and thereby steps are bounded.

mod lexer;
mod parser;
mod program;

use plant_model::{AlarmCondition, AlarmDefinition, Setpoint, TagId};
use thiserror::Error;

pub(crate) use program::Program;

/// Why a text is no expression. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpressionError {
    /// Something stands where something else belongs.
    #[error("at character {position}: {found} where {expected} is needed")]
    Syntax {
        /// Where.
        position: usize,
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// It is too long to be read by people, too.
    #[error("the expression has {bytes} bytes; at most {allowed} are allowed", allowed = Expression::BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Parentheses and negations within each other.
    #[error("at character {position}: nested deeper than {allowed} levels", allowed = Expression::DEPTH_MAX)]
    TooDeep {
        /// Where the allowed depth ends.
        position: usize,
    },
    /// Too many different tags.
    #[error("at character {position}: more than {allowed} different tags", allowed = Expression::TAGS_MAX)]
    TooManyTags {
        /// Where the first tag too many stands.
        position: usize,
    },
}

/// An expression that was understood; its tags are not looked up yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    program: Program,
    tags: Vec<TagId>,
}

impl Expression {
    /// The longest text: six lines of a screen.
    pub const BYTES_MAX: usize = 512;
    /// How deep parentheses and negations may be nested: the parser's stack is bounded by it.
    pub const DEPTH_MAX: usize = 16;
    /// How many different tags may be named: each is looked up when it changes.
    pub const TAGS_MAX: usize = 32;

    /// Reads a text.
    ///
    /// # Errors
    /// The text is no expression or over a bound; the error names the place.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > Self::BYTES_MAX {
            return Err(ExpressionError::TooLong { bytes: text.len() });
        }
        let tokens = lexer::tokens(text)?;
        let (program, tags) = parser::parse(&tokens, text.chars().count() + 1)?;
        Ok(Self { program, tags })
    }

    /// The tags it names, each once, in the order of their first mention.
    #[must_use]
    pub fn tags(&self) -> &[TagId] {
        &self.tags
    }

    /// The tags that decide an alarm, each once: those of its condition and of its gate. An expression
    /// that cannot be read names none.
    #[must_use]
    pub fn tags_of(definition: &AlarmDefinition) -> Vec<TagId> {
        let condition = &definition.condition;
        let mut tags: Vec<TagId> = condition.tag().into_iter().cloned().collect();
        if let AlarmCondition::Deviation { from: Setpoint::Tag(tag), .. } = condition {
            tags.push(tag.clone());
        }
        let text = if let AlarmCondition::Expression { text } = condition { Some(text) } else { None };
        let expressions = text.into_iter().chain(&definition.suppress_while);
        tags.extend(expressions.filter_map(|text| Self::parse(text).ok()).flat_map(|parsed| parsed.tags));
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// The program over positions in a tag list.
    ///
    /// # Errors
    /// `position` does not know a tag.
    pub(crate) fn bind<E>(&self, position: impl Fn(&TagId) -> Result<usize, E>) -> Result<Program, E> {
        let positions = self.tags.iter().map(position).collect::<Result<Vec<_>, _>>()?;
        Ok(self.program.relocate(&positions))
    }
}

#[cfg(test)]
mod tests;
