//! Names that become parts of paths: suites, components, architectures and mirrors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest name, in bytes.
const LONGEST: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a name; use 1 to {LONGEST} letters, digits, '.', '_', '+' or '-', beginning with a letter or digit"
)]
pub struct NameError(pub String);

/// The name of a suite, component, architecture or mirror: safe as a path segment and within an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |c: u8| c.is_ascii_alphanumeric() || b"._+-".contains(&c);
        let fits = text.len() <= LONGEST
            && text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric())
            && text.bytes().all(inner);
        if fits { Ok(Self(text.to_owned())) } else { Err(NameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, good) in [
            ("bookworm", true),
            ("bookworm-updates", true),
            ("el9", true),
            ("9.4", true),
            ("", false),
            (".", false),
            ("..", false),
            (".hidden", false),
            ("-o", false),
            ("a/b", false),
            ("a b", false),
            ("a\n", false),
            ("ä", false),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(text.parse::<Name>().is_ok(), good, "{text:?}");
        }
    }
}
