//! Paragraphs of fields, as in Debian's control files (Debian Policy section 5.1, deb822(5)).

use thiserror::Error;

/// Fields of one paragraph; more is nonsense.
const FIELDS: usize = 256;

/// Why a text is not a paragraph.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ControlError {
    /// A line that is neither a field nor the continuation of one.
    #[error(
        "line {line} of the control file is no `Field: value` and no continuation; build the package again with dpkg-deb"
    )]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// A field twice.
    #[error("the field {0} is in the control file twice; remove one")]
    Twice(String),
    /// Not text.
    #[error("line {line} of the control file holds a control character; write plain UTF-8")]
    Character {
        /// Its number, from 1.
        line: usize,
    },
    /// Nothing, too much, or several paragraphs.
    #[error("the control file must be one paragraph of 1 to {FIELDS} fields")]
    Shape,
}

/// The fields of one paragraph, in the order of the file. Values keep their line breaks; a continuation line keeps
/// the blank it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paragraph(Vec<(String, String)>);

impl Paragraph {
    /// Reads a text that is one paragraph.
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut ended = false;
        for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
            if line.chars().any(|c| c.is_control() && c != '\t') {
                return Err(ControlError::Character { line: number });
            }
            if line.trim().is_empty() {
                ended = ended || !fields.is_empty();
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            if ended {
                return Err(ControlError::Shape);
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or(ControlError::Line { line: number })?;
                value.push('\n');
                value.push_str(line.trim_end());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(ControlError::Line { line: number })?;
            if !field_name(name) {
                return Err(ControlError::Line { line: number });
            }
            if fields.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(ControlError::Twice(name.to_owned()));
            }
            if fields.len() == FIELDS {
                return Err(ControlError::Shape);
            }
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
        if fields.is_empty() { Err(ControlError::Shape) } else { Ok(Self(fields)) }
    }

    /// The value of a field; names are compared without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Policy section 5.1: US-ASCII without control characters, space and colon; not beginning with `#` or `-`.
fn field_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with(['#', '-'])
        && name.bytes().all(|c| c.is_ascii_graphic() && c != b':')
}

/// A package name (Policy section 5.6.7), with upper case as dpkg allows it.
pub fn package_name(name: &str) -> bool {
    (2..=128).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"+.-".contains(&c))
}

/// A version (Policy section 5.6.12): an optional epoch of digits, and a part that begins with a digit or letter.
pub fn package_version(version: &str) -> bool {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    version.len() <= 128
        && !epoch.is_empty()
        && epoch.len() <= 9
        && epoch.bytes().all(|c| c.is_ascii_digit())
        && rest.starts_with(|c: char| c.is_ascii_alphanumeric())
        && rest.bytes().all(|c| c.is_ascii_alphanumeric() || b".+-~:".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs() {
        let error = |text: &str| Paragraph::parse(text).unwrap_err();
        let good = Paragraph::parse("Package: a\nDescription: short\n long\n .\n\tmore\n\n").unwrap();
        assert_eq!(good.get("package"), Some("a"));
        assert_eq!(good.get("Description"), Some("short\n long\n .\n\tmore"));
        for (name, text, expected) in [
            ("nothing", "", ControlError::Shape),
            ("two paragraphs", "A: 1\n\nB: 2\n", ControlError::Shape),
            ("continuation first", " a\n", ControlError::Line { line: 1 }),
            ("no colon", "A: 1\nB\n", ControlError::Line { line: 2 }),
            ("field twice", "A: 1\na: 2\n", ControlError::Twice("a".into())),
            ("escape sequence", "A: \u{1b}[2J\n", ControlError::Character { line: 1 }),
            ("bare carriage return", "A: 1\rB: 2\n", ControlError::Character { line: 1 }),
        ] {
            assert_eq!(error(text), expected, "{name}");
        }
    }

    #[test]
    fn versions() {
        for (version, good) in [
            ("1.0-1", true),
            ("1:2.3~rc1+dfsg-4", true),
            ("", false),
            (":1", false),
            ("1/../..", false),
            ("~1", false),
            ("1 2", false),
            ("x:1", false),
        ] {
            assert_eq!(package_version(version), good, "{version:?}");
        }
    }
}
