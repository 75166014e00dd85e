//! Paths below a mirror: what they may be, and what they say of the file.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::model::Sha256Digest;

/// Longest path, bytes.
const LONGEST: usize = 1024;
/// What RFC 3986 section 3.3 does not allow in a path segment.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// How long a file stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// For ever: a package, or metadata named by its digest, which is given when it is known from the name.
    Immutable(Option<Sha256Digest>),
    /// It may be another tomorrow.
    Mutable,
}

/// Decodes a path from a URL once. `None` when it is no plain relative path of a file: with `..`, an empty segment, a
/// control character, a backslash, or too long.
pub fn decoded(path: &str) -> Option<String> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    plain(&path).then(|| path.into_owned())
}

/// Whether the (decoded) path is plain.
pub fn plain(path: &str) -> bool {
    let segment = |segment: &str| !matches!(segment, "" | "." | "..");
    path.len() <= LONGEST
        && path.split('/').all(segment)
        && !path.chars().any(|c| c.is_control() || c == '\\')
}

/// Writes a plain path for a URL.
pub fn encoded(path: &str) -> String {
    utf8_percent_encode(path, UNSAFE).to_string()
}

/// How long the file at a plain path stays as it is.
pub fn class(path: &str) -> Class {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    // Debian's InRelease with `Acquire-By-Hash`; MD5Sum and SHA1 folders are named likewise.
    if let Some((_, kind)) = folder.rsplit_once("/by-hash/") {
        return Class::Immutable(name.parse().ok().filter(|_| kind == "SHA256"));
    }
    if folder == "repodata" || folder.ends_with("/repodata") {
        let digest = name.split_once('-').and_then(|(digest, _)| digest.parse().ok());
        return digest.map_or(Class::Mutable, |digest| Class::Immutable(Some(digest)));
    }
    let pool = path.starts_with("pool/") || path.contains("/pool/");
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    if pool || matches!(end, "rpm" | "deb" | "udeb" | "drpm") {
        return Class::Immutable(None);
    }
    Class::Mutable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expected) in [
            ("dists/bookworm/InRelease", Some("dists/bookworm/InRelease")),
            ("pool/g%2b%2b_1%3a2.deb", Some("pool/g++_1:2.deb")),
            ("pool/a%252e", Some("pool/a%2e")),
            ("..", None),
            ("a/../b", None),
            ("a/%2e%2e/b", None),
            ("a/%2E./b", None),
            ("a%2f..%2fb", None),
            ("a//b", None),
            ("/a", None),
            ("a/", None),
            ("", None),
            (".", None),
            ("a%00", None),
            ("a%0d%0aHost: b", None),
            ("a%5c..%5cb", None),
            ("a%ff", None),
        ] {
            assert_eq!(decoded(path).as_deref(), expected, "{path}");
        }
        assert_eq!(encoded("pool/g++_1:2 ?#%.deb"), "pool/g++_1:2%20%3F%23%25.deb");
        assert_eq!(decoded(&"a".repeat(1025)), None);
    }

    #[test]
    fn classes() {
        let digest = "ab".repeat(32);
        let known = Class::Immutable(digest.parse().ok());
        for (path, expected) in [
            ("dists/a/InRelease".to_owned(), Class::Mutable),
            ("dists/a/main/binary-amd64/Packages.xz".to_owned(), Class::Mutable),
            (format!("dists/a/main/binary-amd64/by-hash/SHA256/{digest}"), known),
            (format!("dists/a/main/binary-amd64/by-hash/MD5Sum/{digest}"), Class::Immutable(None)),
            ("dists/a/main/binary-amd64/by-hash/SHA256/x".to_owned(), Class::Immutable(None)),
            ("pool/main/a/a_1_all.deb".to_owned(), Class::Immutable(None)),
            ("9/BaseOS/repodata/repomd.xml".to_owned(), Class::Mutable),
            ("repodata/primary.xml.gz".to_owned(), Class::Mutable),
            (format!("9/BaseOS/repodata/{digest}-primary.xml.gz"), known),
            ("9/BaseOS/Packages/a.rpm".to_owned(), Class::Immutable(None)),
        ] {
            assert_eq!(class(&path), expected, "{path}");
        }
    }
}
