//! The expressions of `node list --where 'memory>=64GiB and disk.nvme>0'`.
//!
//! ```text
//! expression = and-part { "or" and-part }
//! and-part   = not-part { "and" not-part }
//! not-part   = "not" not-part | "(" expression ")" | field [ operator value ]
//! operator   = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "~"
//! ```
//! A field alone asks whether it is there (and neither 0 nor empty nor "no"). Field names, the kind of each value and
//! the units are checked when the expression is parsed, so that a typing error never reads as "no node matches".

mod lex;
mod parse;

use std::cmp::Ordering;

pub use parse::FilterError;

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// What a field can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count, or a size in bytes.
    Number,
    /// A text; compared without regard to case, and by its numbers where it has some ("1.9" is before "1.10").
    Text,
    /// Yes or no, looked up as the texts `yes` and `no`.
    Flag,
    /// Texts, of which any may match.
    List,
}

/// A field that expressions can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// One line of help.
    pub help: &'static str,
}

/// What was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`Kind::Number`].
    Number(u64),
    /// See [`Kind::Text`] and [`Kind::Flag`].
    Text(String),
    /// See [`Kind::List`].
    List(Vec<String>),
}

/// A checked expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Node);

/// One node of the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// The field is there.
    Has(String),
    Compare {
        field: String,
        op: Op,
        literal: Literal,
    },
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
}

/// What a field is compared with; a number exactly for the number fields.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Literal {
    Number(u64),
    /// In lower case.
    Text(String),
}

impl Filter {
    /// Reads an expression over these fields.
    pub fn parse(text: &str, fields: &[Field]) -> Result<Self, FilterError> {
        parse::parse(text, fields).map(Self)
    }

    /// Whether what `lookup` knows matches. A field it does not know makes every comparison false, but `!=` true.
    pub fn matches(&self, lookup: &dyn Fn(&str) -> Option<Value>) -> bool {
        self.0.matches(lookup)
    }
}

impl Node {
    fn matches(&self, lookup: &dyn Fn(&str) -> Option<Value>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(lookup)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(lookup)),
            Self::Not(part) => !part.matches(lookup),
            Self::Has(field) => match lookup(field) {
                None => false,
                Some(Value::Number(number)) => number > 0,
                Some(Value::Text(text)) => !text.is_empty() && text != "no",
                Some(Value::List(list)) => !list.is_empty(),
            },
            Self::Compare { field, op, literal } => {
                lookup(field).map_or(*op == Op::Unequal, |value| op.holds(&value, literal))
            }
        }
    }
}

impl Op {
    fn holds(self, value: &Value, literal: &Literal) -> bool {
        match (value, literal) {
            (Value::Number(number), Literal::Number(literal)) => self.orders(number.cmp(literal)),
            (Value::Text(text), Literal::Text(literal)) => self.holds_text(text, literal),
            (Value::List(list), Literal::Text(literal)) => match self {
                Self::Unequal => list.iter().all(|text| self.holds_text(text, literal)),
                _ => list.iter().any(|text| self.holds_text(text, literal)),
            },
            _ => self == Self::Unequal,
        }
    }

    fn holds_text(self, text: &str, literal: &str) -> bool {
        let text = text.to_lowercase();
        match self {
            Self::Contains => text.contains(literal),
            Self::Equal => text == literal,
            Self::Unequal => text != literal,
            _ => self.orders(natural(&text, literal)),
        }
    }

    fn orders(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Contains => false,
        }
    }
}

/// Compares as versions are compared: runs of digits as numbers, all else by character.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (Some(a), Some(b)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len());
        };
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let (number, rest) = digits(left);
            let (other, other_rest) = digits(right);
            // Without leading zeros the longer number is the larger, whatever its length.
            let order = number.len().cmp(&other.len()).then_with(|| number.cmp(other));
            if order.is_ne() {
                return order;
            }
            (left, right) = (rest, other_rest);
        } else if a == b {
            left = left.strip_prefix(a).unwrap_or_default();
            right = right.strip_prefix(b).unwrap_or_default();
        } else {
            return a.cmp(&b);
        }
    }
}

/// The digits at the start, without leading zeros, and what follows them.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    (number.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests;
