//! Text to tokens.

use winnow::ascii::multispace0;
use winnow::combinator::{alt, eof, preceded};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location};
use winnow::token::take_while;

use super::ExpressionError;
use super::program::Comparison;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'t> {
    Or,
    And,
    Not,
    Open,
    Close,
    Compare(Comparison),
    Number(f64),
    Truth(bool),
    /// What should be a tag.
    Word(&'t str),
}

/// A token, the characters it stands for, and where it begins, in characters from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed<'t> {
    pub token: Token<'t>,
    pub text: &'t str,
    pub position: usize,
}

pub(super) fn tokens(text: &str) -> Result<Vec<Placed<'_>>, ExpressionError> {
    let mut input = LocatingSlice::new(text);
    let mut tokens = Vec::new();
    while space_then_end.parse_next(&mut input).is_err() {
        let (token, span) = preceded(multispace0, alt((symbol, word)).with_span())
            .parse_next(&mut input)
            .map_err(|()| foreign(text, input.current_token_start()))?;
        let position = position(text, span.start);
        tokens.push(Placed { token, text: &text[span], position });
    }
    Ok(tokens)
}

fn space_then_end(input: &mut LocatingSlice<&str>) -> Result<(), ()> {
    (multispace0, eof).void().parse_next(input)
}

fn symbol<'t>(input: &mut LocatingSlice<&'t str>) -> Result<Token<'t>, ()> {
    alt((
        comparison.map(Token::Compare),
        "||".value(Token::Or),
        "&&".value(Token::And),
        "!".value(Token::Not),
        "(".value(Token::Open),
        ")".value(Token::Close),
    ))
    .parse_next(input)
}

fn comparison(input: &mut LocatingSlice<&str>) -> Result<Comparison, ()> {
    alt((
        "<=".value(Comparison::LessOrEqual),
        ">=".value(Comparison::GreaterOrEqual),
        "==".value(Comparison::Equal),
        "!=".value(Comparison::Different),
        "<".value(Comparison::Less),
        ">".value(Comparison::Greater),
    ))
    .parse_next(input)
}

fn word<'t>(input: &mut LocatingSlice<&'t str>) -> Result<Token<'t>, ()> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    take_while(1.., in_word).map(meaning).parse_next(input)
}

fn meaning(word: &str) -> Token<'_> {
    let keyword = |name: &str| word.eq_ignore_ascii_case(name);
    match word {
        _ if keyword("or") => Token::Or,
        _ if keyword("and") => Token::And,
        _ if keyword("not") => Token::Not,
        _ if keyword("true") => Token::Truth(true),
        _ if keyword("false") => Token::Truth(false),
        _ => number(word).map_or(Token::Word(word), Token::Number),
    }
}

/// A word that begins like a number and is a finite one.
fn number(word: &str) -> Option<f64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    digits.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    word.parse().ok().filter(|n: &f64| n.is_finite())
}

/// The first character that belongs to no token.
fn foreign(text: &str, from: usize) -> ExpressionError {
    let rest = &text[from..];
    let start = from + rest.len() - rest.trim_start().len();
    let found = text[start..].chars().next().map_or_else(|| "the end".to_owned(), |c| format!("{c:?}"));
    let expected = match found.as_str() {
        "'='" => "a comparison with two signs, ==,",
        "'&'" => "&& or the word and",
        "'|'" => "|| or the word or",
        _ => "a tag, a number, an operator or a parenthesis",
    };
    ExpressionError::Syntax { position: position(text, start), found, expected }
}

fn position(text: &str, byte: usize) -> usize {
    text[..byte].chars().count() + 1
}
