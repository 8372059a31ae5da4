//! Tokens to a program, by recursive descent. The grammar is in the module above.

use plant_model::TagId;

use super::lexer::{Placed, Token};
use super::program::{Op, Operand, Program};
use super::{Expression, ExpressionError};

const OPERAND: &str = "a tag, a number, \"not\" or \"(\"";

/// Parses all tokens; `end` is the position behind the last character.
pub(super) fn parse(tokens: &[Placed<'_>], end: usize) -> Result<(Program, Vec<TagId>), ExpressionError> {
    let mut parser = Parser { tokens, end, ops: Vec::new(), tags: Vec::new() };
    parser.either(0)?;
    if parser.peek().is_some() {
        return Err(parser.unexpected("\"and\", \"or\" or the end"));
    }
    Ok((Program::new(parser.ops), parser.tags))
}

struct Parser<'t> {
    /// What is left.
    tokens: &'t [Placed<'t>],
    end: usize,
    ops: Vec<Op>,
    tags: Vec<TagId>,
}

impl<'t> Parser<'t> {
    fn either(&mut self, depth: usize) -> Result<(), ExpressionError> {
        self.both(depth)?;
        while self.takes(Token::Or) {
            self.both(depth)?;
            self.ops.push(Op::Or);
        }
        Ok(())
    }

    fn both(&mut self, depth: usize) -> Result<(), ExpressionError> {
        self.negation(depth)?;
        while self.takes(Token::And) {
            self.negation(depth)?;
            self.ops.push(Op::And);
        }
        Ok(())
    }

    fn negation(&mut self, depth: usize) -> Result<(), ExpressionError> {
        if depth > Expression::DEPTH_MAX {
            return Err(ExpressionError::TooDeep { position: self.position() });
        }
        if self.takes(Token::Not) {
            self.negation(depth + 1)?;
            self.ops.push(Op::Not);
            return Ok(());
        }
        if self.takes(Token::Open) {
            self.either(depth + 1)?;
            return if self.takes(Token::Close) {
                Ok(())
            } else {
                Err(self.unexpected("\"and\", \"or\" or \")\""))
            };
        }
        self.test()
    }

    fn test(&mut self) -> Result<(), ExpressionError> {
        let (left, alone) = self.operand(OPERAND)?;
        let Some(Token::Compare(comparison)) = self.peek() else {
            if !alone {
                return Err(self.unexpected("a comparison of the number before it"));
            }
            self.ops.push(Op::Truth(left));
            return Ok(());
        };
        self.tokens = &self.tokens[1..];
        let (right, _) = self.operand("a tag or a number")?;
        self.ops.push(Op::Compare(left, comparison, right));
        Ok(())
    }

    /// An operand, and whether it can stand alone.
    fn operand(&mut self, expected: &'static str) -> Result<(Operand, bool), ExpressionError> {
        let operand = match self.peek() {
            Some(Token::Number(number)) => (Operand::Number(number), false),
            Some(Token::Truth(truth)) => (Operand::Number(f64::from(u8::from(truth))), true),
            Some(Token::Word(word)) => match TagId::new(word) {
                Ok(tag) => (Operand::Tag(self.slot(tag)?), true),
                Err(_) => return Err(self.unexpected(expected)),
            },
            Some(Token::Or | Token::And | Token::Not | Token::Open | Token::Close | Token::Compare(_))
            | None => return Err(self.unexpected(expected)),
        };
        self.tokens = &self.tokens[1..];
        Ok(operand)
    }

    /// The tag's place in the list of tags.
    fn slot(&mut self, tag: TagId) -> Result<usize, ExpressionError> {
        if let Some(known) = self.tags.iter().position(|t| *t == tag) {
            return Ok(known);
        }
        if self.tags.len() == Expression::TAGS_MAX {
            return Err(ExpressionError::TooManyTags { position: self.position() });
        }
        self.tags.push(tag);
        Ok(self.tags.len() - 1)
    }

    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.first().map(|placed| placed.token)
    }

    fn takes(&mut self, token: Token<'_>) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn position(&self) -> usize {
        self.tokens.first().map_or(self.end, |placed| placed.position)
    }

    fn unexpected(&self, expected: &'static str) -> ExpressionError {
        let found =
            self.tokens.first().map_or_else(|| "the end".to_owned(), |placed| format!("{:?}", placed.text));
        ExpressionError::Syntax { position: self.position(), found, expected }
    }
}
