//! Builds an expression from its words, and says where and why one is wrong.

use super::lex::{Token, TokenKind, number, tokens};
use super::{Field, Kind, Literal, MAX_LENGTH, Node, Op};

/// How deep parentheses and `not` may nest: the bound of every recursion over the expression.
const MAX_DEPTH: usize = 32;

/// Why an expression is none. Columns are counted in characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing but blanks.
    #[error("the filter is empty; write for example memory>=64GiB")]
    Empty,
    /// Longer than [`MAX_LENGTH`].
    #[error("the filter has {0} bytes; at most 1024 are read")]
    TooLong(usize),
    /// Nested deeper than anybody writes.
    #[error("column {column}: nested more than 32 levels deep; write it flatter")]
    TooDeep {
        /// Where.
        column: usize,
    },
    /// A character with no meaning here.
    #[error("column {column}: '{found}' means nothing here; {hint}")]
    Character {
        /// Where.
        column: usize,
        /// Which.
        found: char,
        /// What to do.
        hint: &'static str,
    },
    /// A quote that is not closed.
    #[error("column {column}: this {quote} is never closed")]
    Quote {
        /// Where.
        column: usize,
        /// Which.
        quote: char,
    },
    /// No such field.
    #[error("column {column}: there is no field \"{name}\"{}", suggestion(*.nearest))]
    Field {
        /// Where.
        column: usize,
        /// What was written.
        name: String,
        /// The field that may have been meant.
        nearest: Option<&'static str>,
    },
    /// Not what the field is compared with.
    #[error("column {column}: \"{text}\" cannot be used: {why}")]
    Number {
        /// Where.
        column: usize,
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An operator that the field has not.
    #[error("column {column}: {field} {why}")]
    Operator {
        /// Where.
        column: usize,
        /// The field.
        field: &'static str,
        /// What it takes.
        why: &'static str,
    },
    /// Something else should stand here.
    #[error("column {column}: expected {expected}, found {found}")]
    Expected {
        /// Where.
        column: usize,
        /// What should.
        expected: &'static str,
        /// What does.
        found: String,
    },
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(|| "; node list --help lists them".into(), |name| format!("; did you mean {name}?"))
}

/// Reads an expression over these fields.
pub(super) fn parse(text: &str, fields: &[Field]) -> Result<Node, FilterError> {
    if text.len() > MAX_LENGTH {
        return Err(FilterError::TooLong(text.len()));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(FilterError::Empty);
    }
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), fields, end };
    let node = parser.any(0)?;
    match parser.tokens.next() {
        None => Ok(node),
        Some(token) => Err(parser.expected("and, or, or the end", Some(token))),
    }
}

struct Parser<'a> {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    fields: &'a [Field],
    /// The column behind the last.
    end: usize,
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Node, FilterError> {
        let first = self.all(depth)?;
        let mut parts = vec![first];
        while self.keyword("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, FilterError> {
        let first = self.not(depth)?;
        let mut parts = vec![first];
        while self.keyword("and") {
            parts.push(self.not(depth)?);
        }
        Ok(one_or(parts, Node::All))
    }

    fn not(&mut self, depth: usize) -> Result<Node, FilterError> {
        let column = self.tokens.peek().map_or(self.end, |token| token.column);
        if depth >= MAX_DEPTH {
            return Err(FilterError::TooDeep { column });
        }
        if self.keyword("not") {
            return Ok(Node::Not(Box::new(self.not(depth + 1)?)));
        }
        match self.tokens.next() {
            Some(Token { kind: TokenKind::Open, .. }) => {
                let inner = self.any(depth + 1)?;
                match self.tokens.next() {
                    Some(Token { kind: TokenKind::Close, .. }) => Ok(inner),
                    other => Err(self.expected("a closing parenthesis", other)),
                }
            }
            Some(Token { kind: TokenKind::Word(name), column }) if !is_keyword(&name) => {
                let field = self.field(&name, column)?;
                self.comparison(field)
            }
            other => Err(self.expected("a field such as memory", other)),
        }
    }

    fn comparison(&mut self, field: Field) -> Result<Node, FilterError> {
        let Some((column, op)) = self.operator() else { return Ok(Node::Has(field.name.into())) };
        let ordered = matches!(op, Op::Less | Op::AtMost | Op::Greater | Op::AtLeast);
        let refused = match field.kind {
            Kind::Number if op == Op::Contains => Some("is a number: compare it with = != < <= > >="),
            Kind::Flag if ordered || op == Op::Contains => Some("is yes or no: compare it with = or !="),
            Kind::List if ordered => Some("is a list: compare it with = != or ~"),
            _ => None,
        };
        if let Some(why) = refused {
            return Err(FilterError::Operator { column, field: field.name, why });
        }
        let (column, text) = match self.tokens.next() {
            Some(Token { kind: TokenKind::Word(text), column }) if !is_keyword(&text) => {
                (column, self.with_unit(text))
            }
            Some(Token { kind: TokenKind::Quoted(text), column }) => (column, text),
            other => return Err(self.expected("a value (keywords in quotes)", other)),
        };
        let literal = match field.kind {
            Kind::Number => Literal::Number(number(&text, column)?),
            Kind::Flag => Literal::Text(yes_or_no(&text, column)?.into()),
            Kind::Text | Kind::List => Literal::Text(text.to_lowercase()),
        };
        Ok(Node::Compare { field: field.name.into(), op, literal })
    }

    /// Joins `64 GiB`.
    fn with_unit(&mut self, text: String) -> String {
        let numeric = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_unit = |token: &Token| {
            matches!(&token.kind, TokenKind::Word(word)
                if !is_keyword(word) && word.len() <= 3 && word.chars().all(|c| c.is_ascii_alphabetic()))
        };
        match self.tokens.next_if(|token| numeric && is_unit(token)) {
            Some(Token { kind: TokenKind::Word(unit), .. }) => text + &unit,
            _ => text,
        }
    }

    fn operator(&mut self) -> Option<(usize, Op)> {
        let token = self.tokens.next_if(|token| matches!(token.kind, TokenKind::Op(_)))?;
        match token.kind {
            TokenKind::Op(op) => Some((token.column, op)),
            _ => None,
        }
    }

    fn field(&self, name: &str, column: usize) -> Result<Field, FilterError> {
        let wanted = name.to_ascii_lowercase();
        if let Some(field) = self.fields.iter().find(|field| field.name == wanted) {
            return Ok(*field);
        }
        let nearest = self
            .fields
            .iter()
            .map(|field| (strsim::jaro_winkler(field.name, &wanted), field.name))
            .filter(|(likeness, _)| *likeness > 0.75)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, name)| name);
        Err(FilterError::Field { column, name: shown(name), nearest })
    }

    fn keyword(&mut self, wanted: &str) -> bool {
        let is =
            |token: &Token| matches!(&token.kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(wanted));
        self.tokens.next_if(is).is_some()
    }

    fn expected(&self, expected: &'static str, found: Option<Token>) -> FilterError {
        let column = found.as_ref().map_or(self.end, |token| token.column);
        let found = match found.map(|token| token.kind) {
            None => "the end".into(),
            Some(TokenKind::Open) => "(".into(),
            Some(TokenKind::Close) => ")".into(),
            Some(TokenKind::Op(_)) => "an operator".into(),
            Some(TokenKind::Word(word) | TokenKind::Quoted(word)) => format!("\"{}\"", shown(&word)),
        };
        FilterError::Expected { column, expected, found }
    }
}

fn one_or(mut parts: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            many(parts)
        }
    }
}

fn is_keyword(word: &str) -> bool {
    ["and", "or", "not"].iter().any(|keyword| word.eq_ignore_ascii_case(keyword))
}

fn yes_or_no(text: &str, column: usize) -> Result<&'static str, FilterError> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" => Ok("yes"),
        "no" | "false" | "off" => Ok("no"),
        _ => Err(FilterError::Number { column, text: shown(text), why: "write yes or no" }),
    }
}

/// So much of a text as a message shows.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}
