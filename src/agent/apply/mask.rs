//! Takes secrets out of whatever programs write, in each form that programs write them in.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::check::Checked;
use super::desired::Masks;

/// What stands in place of a secret.
const MASKED: &str = "••••••";
/// Shorter pieces would mask half of any text: they go only where they stand alone.
const SHORTEST: usize = 6;
/// So many pieces are looked for at most.
const PIECES: usize = 16_384;
/// Longest line that is told, bytes; the rest of it is dropped, after the secrets in it.
const TOLD: usize = 4096;

/// Takes secrets out of text that goes to a log or into a reason.
#[derive(Default, Clone)]
pub struct Mask {
    /// Longest first.
    pieces: Vec<String>,
}

impl Mask {
    /// Of all secrets of `generations`, and of what else stands in their secret files: each line, and what stands behind the
    /// first `=` or `:` of it.
    pub fn of<'a>(generations: impl IntoIterator<Item = &'a Checked>) -> Self {
        let mut pieces = BTreeSet::new();
        let generations: Vec<&Checked> = generations.into_iter().collect();
        for secret in generations.iter().flat_map(|one| one.masks.iter()) {
            forms(secret, &mut pieces);
        }
        let files = generations.iter().flat_map(|one| one.files.iter()).filter(|file| file.secret);
        for file in files {
            let text = String::from_utf8_lossy(&file.content);
            for line in text.lines() {
                let quotes: &[_] = &['"', '\'', ' ', '\t', ',', ';'];
                let value = line.split_once(['=', ':']).map_or("", |(_, value)| value);
                for piece in [line.trim(), value.trim_matches(quotes)] {
                    if piece.len() >= SHORTEST && pieces.len() < PIECES {
                        pieces.insert(piece.to_owned());
                    }
                }
            }
        }
        let mut pieces: Vec<_> = pieces.into_iter().collect();
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        Self { pieces }
    }

    /// `text` without what is secret, no line of it longer than is told.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for piece in &self.pieces {
            if piece.len() < SHORTEST {
                text = alone(&text, piece);
            } else if text.contains(piece.as_str()) {
                text = text.replace(piece.as_str(), MASKED);
            }
        }
        if text.len() <= TOLD {
            return text;
        }
        text.split('\n').map(cut).collect::<Vec<_>>().join("\n")
    }
}

fn cut(line: &str) -> String {
    if line.len() <= TOLD {
        return line.to_owned();
    }
    let end = (0..=TOLD).rev().find(|at| line.is_char_boundary(*at)).unwrap_or_default();
    format!("{}…", line.get(..end).unwrap_or_default())
}

/// `text` with a mask wherever `piece` is no part of a longer word.
fn alone(text: &str, piece: &str) -> String {
    let (mut out, mut rest, mut before) = (String::new(), text, None);
    while let Some((head, tail)) = rest.split_once(piece) {
        out.push_str(head);
        before = head.chars().next_back().or(before);
        let after = tail.chars().next();
        let part = [before, after].into_iter().flatten().any(char::is_alphanumeric);
        out.push_str(if part { piece } else { MASKED });
        before = piece.chars().next_back();
        rest = tail;
    }
    out + rest
}

/// Everything that a secret may be written as: plain, line by line, quoted for a shell, in JSON, in an address, in base64.
fn forms(secret: &str, pieces: &mut BTreeSet<String>) {
    let mut add = |piece: &str, shortest: usize| {
        if piece.len() >= shortest && pieces.len() < PIECES {
            pieces.insert(piece.to_owned());
        }
    };
    for text in [secret, secret.trim()] {
        add(text, 1);
        add(&text.replace('\'', r"'\''"), 1);
        add(&text.replace('\'', "'\"'\"'"), 1);
        add(&escaped(text, |c| "\\\"$`".contains(c)), 1);
        add(&escaped(text, |c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-./:,@%+=".contains(c)), 1);
        // Written as JSON, a text is one in quotes.
        let json = serde_json::to_string(text).unwrap_or_default();
        let json = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
        add(json, 1);
        add(&json.replace('/', r"\/"), 1);
        add(&ascii(json), 1);
        add(&percent(text, false), 1);
        add(&percent(text, true), 1);
        for engine in [STANDARD, URL_SAFE] {
            let whole = engine.encode(text);
            add(&whole, SHORTEST);
            add(&engine.encode(format!("{text}\n")), SHORTEST);
            // As base64(1) and PEM break their lines.
            for width in [76, 64] {
                for at in (0..whole.len()).step_by(width) {
                    let line = whole.get(at..whole.len().min(at + width)).unwrap_or_default();
                    add(line, SHORTEST * 2);
                }
            }
        }
        // Within a longer text, whose bytes before it shift it by none, one or two.
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for (shift, start) in [(0, 0), (1, 2), (2, 3)] {
                let bytes = [&[0; 2][..shift], text.as_bytes()].concat();
                let full = bytes.len() * 8 / 6;
                add(engine.encode(&bytes).get(start..full).unwrap_or_default(), SHORTEST);
            }
        }
    }
    for line in secret.lines() {
        add(line.trim(), SHORTEST);
    }
}

/// With a `\` before each character that `special` names.
fn escaped(text: &str, special: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if special(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// JSON of ASCII only: all else as `\u` and UTF-16 (RFC 8259 section 7).
fn ascii(json: &str) -> String {
    let mut out = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// As it stands in an address (RFC 3986 section 2.1): all but unreserved characters as `%` and two digits.
fn percent(text: &str, small: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let _ = match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => write!(out, "{}", char::from(b)),
            b if small => write!(out, "%{b:02x}"),
            b => write!(out, "%{b:02X}"),
        };
    }
    out
}

/// Where a secret stands in a file of a generation: what is kept of it beside the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    path: String,
    /// Its first byte.
    at: usize,
    /// Its length, bytes.
    length: usize,
}

/// Where the secrets of a generation stand in its files. What stands in none is not kept.
pub(super) fn places(generation: &Checked) -> Vec<Place> {
    let mut found = Vec::new();
    for secret in generation.masks.iter() {
        let place = generation.files.iter().filter(|file| file.secret).find_map(|file| {
            let text = std::str::from_utf8(&file.content).ok()?;
            let mut forms = BTreeSet::new();
            self::forms(secret, &mut forms);
            let found = |form: &str| text.find(form).map(|at| (at, form.len()));
            let (at, length) = found(secret).or_else(|| forms.iter().rev().find_map(|form| found(form)))?;
            Some(Place { path: file.path.clone(), at, length })
        });
        found.extend(place);
    }
    found
}

/// The secrets at these places.
pub(super) fn at(places: &[Place], generation: &Checked) -> Masks {
    let files = generation.by_path();
    let mut masks = Masks::default();
    for Place { path, at, length } in places {
        let Some(file) = files.get(path.as_str()) else { continue };
        let text = at.checked_add(*length).and_then(|end| file.content.get(*at..end));
        if let Some(text) = text.and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            masks.add(text);
        }
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let mut generation = Checked::default();
        for secret in secrets {
            generation.masks.add(secret);
        }
        Mask::of([&generation])
    }

    #[test]
    fn secrets_are_found_in_every_form() {
        let secret = "p'ss \"wörd\"/1\\";
        let mask = mask(&[secret, "line one\nline two", "x7"]);
        let base64 = |text: &str| STANDARD.encode(text);
        for (name, text) in [
            ("plain", format!("key={secret} other")),
            ("twice in a line", format!("{secret} {secret}")),
            ("JSON in a line", serde_json::json!({ "k": secret, "n": 1 }).to_string()),
            ("JSON in ASCII", r#"{"k": "p'ss \"w\u00f6rd\"/1\\"}"#.into()),
            ("JSON as PHP writes it", r#"{"k": "p'ss \"wörd\"\/1\\"}"#.into()),
            ("single quotes of a shell", "+ login 'p'\\''ss \"wörd\"/1\\'".into()),
            ("double quotes of a shell", "+ login \"p'ss \\\"wörd\\\"/1\\\\\"".into()),
            ("an address", "http://root:p%27ss%20%22w%C3%B6rd%22%2F1%5C@127.0.0.1/".into()),
            ("an address in small letters", "http://root:p%27ss%20%22w%c3%b6rd%22%2f1%5c@127.0.0.1/".into()),
            ("base64", base64(secret)),
            ("base64 of a line", base64(&format!("{secret}\n"))),
            ("basic authentication", format!("Authorization: Basic {}", base64(&format!("root:{secret}")))),
            ("the same, shifted", format!("Authorization: Basic {}", base64(&format!("admin:{secret}:x")))),
            ("the same, shifted again", format!("Authorization: Basic {}", base64(&format!("ab:{secret}")))),
            ("a line of it", "it says line two here".into()),
            ("all of its lines in JSON", r#"["line one\nline two"]"#.into()),
            ("a short one that stands alone", "pin=x7;".into()),
        ] {
            let clean = mask.clean(&text);
            assert!(clean.contains(MASKED), "{name}: {clean}");
            for piece in ["ss ", "rd", "27ss", "line two", "x7", &base64(secret)[4..12]] {
                assert!(!clean.replace("shifted", "").contains(piece), "{name}: {clean}");
            }
        }
        assert_eq!(mask.clean("a box7 of x78"), "a box7 of x78", "a short one within a word is none");
        let long = format!("{}{secret}", "y".repeat(TOLD - 3));
        assert!(!mask.clean(&long).contains("p'"), "a line is cut behind its secrets");
        assert!(mask.clean(&long).len() <= TOLD + '…'.len_utf8());
    }
}
