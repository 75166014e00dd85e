//! An image's manifest: a TOML file that names its parts.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::config::syntax_error;
use crate::model::{Arch, ImageName, ImageRef, Sha256Digest};

/// Why a manifest cannot be used.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// It, or a file that it names, cannot be read.
    #[error("cannot read {path}, the {what}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// The system's error.
        cause: std::io::Error,
    },
    /// It is not TOML, or has a key or type that does not exist.
    #[error("{path}, line {line}: {message}")]
    Syntax {
        /// The manifest.
        path: PathBuf,
        /// The line at fault, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value makes no sense.
    #[error("{path}: {message}")]
    Value {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file is not what the manifest says.
    #[error(
        "{path} has SHA-256 {found}; {manifest} says {expected}: fetch the file again, or correct the manifest"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
        /// What it has.
        found: Sha256Digest,
        /// What it should have.
        expected: Sha256Digest,
    },
}

/// A manifest, checked; paths are those of the files, relative to the working folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Where it was read.
    pub path: PathBuf,
    /// Name and version.
    pub image: ImageRef,
    /// What machines it is for.
    pub arch: Arch,
    /// The kernel.
    pub kernel: Part,
    /// The ramdisks.
    pub initrd: Vec<Part>,
    /// The command line.
    pub cmdline: String,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// What it must be.
    pub sha256: Option<Sha256Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    name: ImageName,
    version: String,
    arch: Arch,
    #[serde(default)]
    kind: Option<String>,
    kernel: Part,
    #[serde(default)]
    initrd: Option<OneOrMany>,
    #[serde(default)]
    cmdline: String,
}

/// One part, or a list of them.
struct OneOrMany(Vec<Part>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartTable {
    path: PathBuf,
    sha256: Option<Sha256Digest>,
}

/// Reads a part from a text or a table, and, where `many`, several from a list. Written by hand, because serde's untagged
/// enums say of a mistake only that nothing matches, and not which key is wrong.
struct PartVisitor {
    many: bool,
}

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Vec<Part>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a path, or { path = \"…\", sha256 = \"…\" }")?;
        if self.many { f.write_str(", or a list of these") } else { Ok(()) }
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Vec<Part>, E> {
        Ok(vec![Part { path: path.into(), sha256: None }])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Part>, A::Error> {
        let PartTable { path, sha256 } = PartTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(vec![Part { path, sha256 }])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Part>, A::Error> {
        if !self.many {
            return Err(de::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut parts = Vec::new();
        while let Some(part) = list.next_element()? {
            parts.push(part);
        }
        Ok(parts)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = deserializer.deserialize_any(PartVisitor { many: false })?;
        parts.into_iter().next().ok_or_else(|| de::Error::custom("a part is missing"))
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor { many: true }).map(Self)
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it cannot be read, or does not parse.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path).map_err(|cause| ManifestError::Unreadable {
            path: path.to_owned(),
            what: "manifest".into(),
            cause,
        })?;
        Self::parse(&text, path)
    }

    /// Checks a manifest's text; files are relative to the folder of `path`.
    ///
    /// # Errors
    /// When it has an unknown key or a value that makes no sense.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        let wire: Wire = toml::from_str(text).map_err(|error| {
            let (line, message) = syntax_error(text, &error);
            ManifestError::Syntax { path: path.to_owned(), line, message }
        })?;
        let value = |message: String| ManifestError::Value { path: path.to_owned(), message };
        match wire.kind.as_deref() {
            None | Some("netboot") => {}
            Some(kind @ ("disk" | "uki")) => {
                return Err(value(format!(
                    "images of kind '{kind}' are not there yet in this version; use netboot"
                )));
            }
            Some(kind) => return Err(value(format!("'{kind}' is not a kind of image; use netboot"))),
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let placed = |part: Part| Part { path: folder.join(part.path), ..part };
        let initrd = wire.initrd.map_or_else(Vec::new, |list| list.0);
        Ok(Self {
            path: path.to_owned(),
            image: ImageRef::new(wire.name, &wire.version).map_err(|error| value(error.to_string()))?,
            arch: wire.arch,
            kernel: placed(wire.kernel),
            initrd: initrd.into_iter().map(placed).collect(),
            cmdline: wire.cmdline,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
name = "demo"
version = "1"
arch = "x86_64"
kind = "netboot"
kernel = { path = "vmlinuz" }
initrd = [{ path = "a.img" }, "b.img"]
cmdline = "quiet"
"#;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text, Path::new("images/demo.toml"))
    }

    #[test]
    fn the_ways_to_write_it() {
        let manifest = parse(GOOD).expect("a good manifest");
        assert_eq!(manifest.image.to_string(), "demo@1");
        assert_eq!(manifest.kernel.path, Path::new("images/vmlinuz"));
        let paths: Vec<&Path> = manifest.initrd.iter().map(|part| part.path.as_path()).collect();
        assert_eq!(paths, [Path::new("images/a.img"), Path::new("images/b.img")]);
        for (name, from, to, initrds) in [
            ("one initrd", r#"[{ path = "a.img" }, "b.img"]"#, r#""a.img""#, 1),
            ("one as a table", r#"[{ path = "a.img" }, "b.img"]"#, r#"{ path = "a.img" }"#, 1),
            ("no kind", "kind = \"netboot\"\n", "", 2),
        ] {
            let manifest = parse(&GOOD.replace(from, to)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(manifest.initrd.len(), initrds, "{name}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (name, from, to, message) in [
            (
                "unknown key",
                "cmdline",
                "comandline",
                "line 8: unknown key 'comandline'; did you mean 'cmdline'?",
            ),
            ("no kernel", "kernel = { path = \"vmlinuz\" }\n", "", "missing field `kernel`"),
            ("other kind", "netboot", "disk", "not there yet"),
            ("no kind at all", "netboot", "floppy", "not a kind of image"),
            ("architecture", "x86_64", "pdp11", "'pdp11' is not a known architecture"),
            ("name", "\"demo\"", "\"De mo\"", "not a valid image name"),
            ("version", "version = \"1\"", "version = \"../1\"", "not a valid version"),
            ("not TOML", "name = ", "name ", "line 2"),
            (
                "unknown key of a part",
                "{ path = \"vmlinuz\" }",
                "{ pth = \"v\" }",
                "line 6: unknown key 'pth'; did you mean 'path'?",
            ),
            (
                "of a part in a list",
                "{ path = \"a.img\" }",
                "{ path = \"a\", sha265 = \"\" }",
                "line 7: unknown key 'sha265'; did you mean 'sha256'?",
            ),
            ("no path", "{ path = \"vmlinuz\" }", "{}", "line 6: missing field `path`"),
            ("digest", "\"vmlinuz\" }", "\"v\", sha256 = \"12\" }", "line 6: '12' is not a SHA-256 digest"),
            (
                "number for a part",
                "{ path = \"vmlinuz\" }",
                "7",
                "line 6: invalid type: integer `7`, expected a path, or {",
            ),
            ("list of kernels", "{ path = \"vmlinuz\" }", "[\"a\"]", "expected a path, or {"),
        ] {
            let error = parse(&GOOD.replace(from, to)).expect_err(name).to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,200}") {
            let _ = parse(&text);
            let _ = parse(&format!("{GOOD}{text}"));
        }
    }
}
