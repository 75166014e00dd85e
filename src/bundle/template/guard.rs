//! How much may stand between the braces of one tag, before the engine parses it.
//!
//! The engine bounds how deep brackets and blocks nest, but not signs (`----1`), chains (`a ~ b ~ c`, `a.b.c`,
//! `a | f | g`) and `elif`, which it walks by recursion too: a long enough one would end the whole program.
//! Tags are found here as the engine finds them: strings, comments, `raw` blocks and balanced brackets.

/// The most tokens of one tag, or of one expression.
const MOST_TOKENS: usize = 600;
/// The most `elif` of a template.
const MOST_ELIF: usize = 100;

/// The longest line, bytes, and the most lines. The engine counts both in 16 bits, and one more overflows.
const LONGEST: usize = 60_000;

/// What is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    /// Where the tag starts, bytes.
    pub at: usize,
    pub message: &'static str,
}

/// Checks a template.
pub(super) fn template(text: &str) -> Result<(), TooLong> {
    lines(text)?;
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut elifs = 0;
    while let Some(start) = bytes.get(at..).and_then(|rest| rest.windows(2).position(is_start)) {
        let tag = at + start;
        let rest = bytes.get(tag + 2..).unwrap_or_default();
        at = match bytes.get(tag + 1) {
            Some(b'#') => {
                tag + 2 + rest.windows(2).position(|two| two == b"#}").map_or(rest.len(), |end| end + 2)
            }
            Some(b'%') if basic(after_sign(rest), b"raw").is_some() => tag + 2 + raw(rest),
            kind => {
                let end = if kind == Some(&b'%') { b"%}" } else { b"}}" };
                let body = after_sign(rest);
                if body.trim_ascii_start().starts_with(b"elif") {
                    elifs += 1;
                }
                if elifs > MOST_ELIF {
                    return Err(TooLong {
                        at: tag,
                        message: "it has more than 100 elif; take a map instead",
                    });
                }
                let length = tag_length(body, Some(end)).ok_or(TooLong { at: tag, message: LONG })?;
                tag + 2 + (rest.len() - body.len()) + length
            }
        };
    }
    Ok(())
}

/// Checks an expression.
pub(super) fn expression(text: &str) -> Result<(), TooLong> {
    lines(text)?;
    tag_length(text.as_bytes(), None).map(drop).ok_or(TooLong { at: 0, message: LONG })
}

fn lines(text: &str) -> Result<(), TooLong> {
    let mut at = 0;
    for (number, line) in text.split('\n').enumerate() {
        if number >= LONGEST {
            return Err(TooLong {
                at,
                message: "a template has 60000 lines at most; take the .j2 off, or divide it",
            });
        }
        if line.len() > LONGEST {
            return Err(TooLong { at, message: "a template's line has 60000 bytes at most; break it" });
        }
        at += line.len() + 1;
    }
    Ok(())
}

const LONG: &str = "it has more than 600 words and signs in one tag; divide it with {% set %}";

fn is_start(two: &[u8]) -> bool {
    matches!(two, b"{{" | b"{%" | b"{#")
}

/// What follows the sign of `{{-` or `{%+`.
fn after_sign(rest: &[u8]) -> &[u8] {
    rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b"+")).unwrap_or(rest)
}

/// The length of `NAME %}` at the start, when that is what stands there.
fn basic(rest: &[u8], name: &[u8]) -> Option<usize> {
    let after = rest.trim_ascii_start().strip_prefix(name)?;
    let after = after_sign(after.trim_ascii_start()).strip_prefix(b"%}")?;
    Some(rest.len() - after.len())
}

/// The length from behind `{%` of a raw block to behind its end.
fn raw(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(start) = rest.get(at..).and_then(|rest| rest.windows(2).position(|two| two == b"{%")) {
        at += start + 2;
        let end = after_sign(rest.get(at..).unwrap_or_default());
        if let Some(length) = basic(end, b"endraw") {
            return rest.len() - end.len() + length;
        }
    }
    rest.len()
}

/// The length of a tag to behind its end, or of all when it has none; nothing when it has too many tokens.
fn tag_length(body: &[u8], end: Option<&[u8]>) -> Option<usize> {
    let mut brackets = 0_i64;
    let mut tokens = 0;
    let mut at = 0;
    while let Some(byte) = body.get(at).copied() {
        let rest = body.get(at..).unwrap_or_default();
        if brackets == 0 && end.is_some_and(|end| rest.starts_with(end)) {
            return Some(at + 2);
        }
        let length = match byte {
            b'"' | b'\'' => string_length(rest),
            _ if is_word(byte) => rest.iter().take_while(|byte| is_word(**byte)).count(),
            _ => 1,
        };
        match byte {
            b'(' | b'[' | b'{' => brackets += 1,
            b')' | b']' | b'}' => brackets -= 1,
            _ => {}
        }
        at += length;
        tokens += usize::from(!byte.is_ascii_whitespace());
        if tokens > MOST_TOKENS {
            return None;
        }
    }
    Some(body.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of a text in quotes, with both.
fn string_length(rest: &[u8]) -> usize {
    let quote = rest.first();
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            _ if Some(byte) == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tags_are_found_wherever_they_hide() {
        let long = "-".repeat(MOST_TOKENS + 1);
        for (name, text, fine) in [
            ("plain text", long.clone(), true),
            ("a comment", format!("{{# {long} ' #}}"), true),
            ("a raw block", format!("{{% raw -%}}{{{{ ' {long} }}}}{{%- endraw %}}"), true),
            ("a string", format!("{{{{ '{long}' }}}}"), true),
            ("behind a tag", format!("{{{{ a }}}} {long}"), true),
            ("as long as may be", format!("{{{{{}}}}}", "-".repeat(MOST_TOKENS)), true),
            ("a tag", format!("{{{{ {long}1 }}}}"), false),
            ("a tag without end", format!("{{{{ {long}"), false),
            ("a block", format!("{{% if {long}1 %}}"), false),
            ("behind a closing in a string", format!("{{{{ '}}}}' ~ {long}1 }}}}"), false),
            ("behind a closing in brackets", format!("{{{{ {{'a': {{}}}} ~ {long}1 }}}}"), false),
            ("behind the other closing", format!("{{{{ %}} {long}1 }}}}"), false),
            ("behind a quote in a raw block", format!("{{% raw %}}'{{% endraw %}}{{{{ {long} }}}}"), false),
            ("behind a comment", format!("{{# ' {{{{ #}}{{{{ {long} }}}}"), false),
            ("behind an escape", format!("{{{{ '\\'}}}}' {long} }}}}"), false),
            ("behind a sign", format!("{{{{- {long} -}}}}"), false),
            ("not raw", format!("{{% rawx %}}{{{{ {long} }}}}{{% endraw %}}"), false),
            ("raw with a sign", format!("{{%- raw %}}{{% endraw %}}{{{{ {long} }}}}"), false),
            ("a long line", "x".repeat(LONGEST + 1), false),
            ("many lines", "\n".repeat(LONGEST), false),
            ("many elif", "{%- elif x %}".repeat(MOST_ELIF + 1), false),
        ] {
            assert_eq!(template(&text).is_ok(), fine, "{name}");
        }
        assert!(expression(&long).is_err() && expression("a }} b").is_ok());
    }
}
