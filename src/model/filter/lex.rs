//! Cuts an expression into its words, and reads numbers with units.

use super::Op;
use super::parse::FilterError;

/// A word of the expression and the column where it starts, counted in characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) column: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Op(Op),
    /// A bare word: a keyword, a field or a value.
    Word(String),
    /// A value in quotes.
    Quoted(String),
}

/// All words of the expression.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut tokens = Vec::new();
    let mut chars = (1..).zip(text.chars()).peekable();
    while let Some((column, c)) = chars.next() {
        let mut follows = |wanted: char| chars.next_if(|(_, next)| *next == wanted).is_some();
        let kind = match c {
            _ if c.is_whitespace() => continue,
            '(' => TokenKind::Open,
            ')' => TokenKind::Close,
            '~' => TokenKind::Op(Op::Contains),
            '=' => {
                follows('=');
                TokenKind::Op(Op::Equal)
            }
            '!' if follows('=') => TokenKind::Op(Op::Unequal),
            '!' => return Err(FilterError::Character { column, found: '!', hint: "write != or not" }),
            '<' if follows('=') => TokenKind::Op(Op::AtMost),
            '<' => TokenKind::Op(Op::Less),
            '>' if follows('=') => TokenKind::Op(Op::AtLeast),
            '>' => TokenKind::Op(Op::Greater),
            '"' | '\'' => {
                let mut value = String::new();
                loop {
                    match chars.next() {
                        Some((_, end)) if end == c => break TokenKind::Quoted(value),
                        Some((_, inner)) => value.push(inner),
                        None => return Err(FilterError::Quote { column, quote: c }),
                    }
                }
            }
            '&' => return Err(FilterError::Character { column, found: c, hint: "write and" }),
            '|' => return Err(FilterError::Character { column, found: c, hint: "write or" }),
            _ if c.is_control() => {
                return Err(FilterError::Character { column, found: '\u{fffd}', hint: "remove it" });
            }
            _ => {
                let mut word = String::from(c);
                while let Some((_, next)) = chars.next_if(|(_, next)| is_word(*next)) {
                    word.push(next);
                }
                TokenKind::Word(word)
            }
        };
        tokens.push(Token { column, kind });
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"()=!<>~\"'&|".contains(c)
}

/// What a unit multiplies with.
const UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads `64GiB`, `1.92TB` or `8`; fractions of a byte are dropped.
pub(super) fn number(text: &str, column: usize) -> Result<u64, FilterError> {
    let cannot =
        |why: &'static str| FilterError::Number { column, text: text.chars().take(40).collect(), why };
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end).ok_or_else(|| cannot("it is not a number"))?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.contains('.') || (digits.ends_with('.')) {
        return Err(cannot("write a number such as 8, or a size such as 64GiB"));
    }
    if fraction.len() > 6 {
        return Err(cannot("at most six decimals"));
    }
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match (unit.as_str(), UNITS.iter().find(|(name, _)| *name == unit)) {
        (_, Some((_, factor))) => *factor,
        ("k" | "m" | "g" | "t", None) => {
            return Err(cannot("say which unit: GiB counts by 1024, GB by 1000 (so do KiB, MiB and TiB)"));
        }
        _ => return Err(cannot("the units are KiB, MiB, GiB, TiB, PiB, KB, MB, GB and TB")),
    };
    let too_large = || cannot("it is too large");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut value = u128::from(whole) * u128::from(factor);
    let mut place = u128::from(factor);
    let mut tail = 0u128;
    for digit in fraction.chars().filter_map(|c| c.to_digit(10)) {
        // Kept with six decimals, so that nothing is lost before the end.
        tail = tail * 10 + u128::from(digit);
        place *= 10;
    }
    if tail > 0 {
        let scale = place / u128::from(factor);
        if factor == 1 {
            return Err(cannot("decimals need a unit such as TiB"));
        }
        value += tail * u128::from(factor) / scale;
    }
    u64::try_from(value).map_err(|_| too_large())
}
