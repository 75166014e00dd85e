//! An image's manifest: a TOML file that names its parts.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::config::syntax_error;
use crate::model::{Arch, DataPartition, DiskPlan, ImageName, ImageRef, Sha256Digest};

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
    /// What it is made of.
    pub content: Content,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// What a machine boots over the network.
    Netboot {
        /// The kernel.
        kernel: Part,
        /// The ramdisks.
        initrd: Vec<Part>,
        /// The command line.
        cmdline: String,
    },
    /// What is written to its disk.
    Disk {
        /// The image of a whole disk: raw or qcow2, plain or compressed.
        disk: Part,
        /// What the installer does beside writing it.
        plan: DiskPlan,
    },
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
    kernel: Option<Part>,
    #[serde(default)]
    initrd: Option<OneOrMany>,
    #[serde(default)]
    cmdline: Option<String>,
    disk: Option<Part>,
    #[serde(default)]
    install: Option<WireInstall>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireInstall {
    disk: Option<String>,
    root: Option<u32>,
    data_partition: Option<WirePartition>,
    user_data: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePartition {
    label: String,
    size: bytesize::ByteSize,
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

/// What the installer does; the user data is read from its file.
fn plan(install: WireInstall, folder: &Path) -> Result<DiskPlan, ManifestError> {
    let user_data = install.user_data.map(|file| {
        let path = folder.join(file);
        std::fs::read_to_string(&path).map_err(|cause| ManifestError::Unreadable {
            path,
            what: "user data".into(),
            cause,
        })
    });
    let data = |data: WirePartition| DataPartition { label: data.label, size: data.size.as_u64() };
    Ok(DiskPlan {
        disk: install.disk,
        root: install.root,
        data_partition: install.data_partition.map(data),
        user_data: user_data.transpose()?,
    })
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
        let folder = path.parent().unwrap_or(Path::new(""));
        let placed = |part: Part| Part { path: folder.join(part.path), ..part };
        let none = |key: &str, there: bool, kind: &str| {
            if there {
                Err(value(format!("'{key}' makes no sense in an image of kind '{kind}'; remove it")))
            } else {
                Ok(())
            }
        };
        let content = match wire.kind.as_deref() {
            kind @ (None | Some("netboot")) => {
                none("disk", wire.disk.is_some(), "netboot")?;
                none("install", wire.install.is_some(), "netboot")?;
                let kernel = wire.kernel.ok_or_else(|| {
                    let hint = if kind.is_none() { "; or did you mean kind = \"disk\"?" } else { "" };
                    value(format!("missing field `kernel`{hint}"))
                })?;
                let initrd = wire.initrd.map_or_else(Vec::new, |list| list.0);
                Content::Netboot {
                    kernel: placed(kernel),
                    initrd: initrd.into_iter().map(placed).collect(),
                    cmdline: wire.cmdline.unwrap_or_default(),
                }
            }
            Some("disk") => {
                none("kernel", wire.kernel.is_some(), "disk")?;
                none("initrd", wire.initrd.is_some(), "disk")?;
                none("cmdline", wire.cmdline.is_some(), "disk")?;
                let disk = wire.disk.ok_or_else(|| value("missing field `disk`".into()))?;
                let plan = wire.install.map(|install| plan(install, folder)).transpose()?.unwrap_or_default();
                Content::Disk { disk: placed(disk), plan }
            }
            Some("uki") => {
                return Err(value(
                    "images of kind 'uki' are not there yet in this version; use netboot or disk".into(),
                ));
            }
            Some(kind) => return Err(value(format!("'{kind}' is not a kind of image; use netboot or disk"))),
        };
        Ok(Self {
            path: path.to_owned(),
            image: ImageRef::new(wire.name, &wire.version).map_err(|error| value(error.to_string()))?,
            arch: wire.arch,
            content,
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

    const DISK: &str = r#"name = "debian"
version = "12"
arch = "x86_64"
kind = "disk"
disk = "debian.qcow2"
[install]
disk = "smallest nvme"
data_partition = { label = "data", size = "10GiB" }
root = 2
"#;

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text, Path::new("images/demo.toml"))
    }

    #[test]
    fn the_ways_to_write_it() {
        let manifest = parse(GOOD).expect("a good manifest");
        assert_eq!(manifest.image.to_string(), "demo@1");
        let Content::Netboot { kernel, initrd, .. } = manifest.content else {
            panic!("it is a netboot image")
        };
        assert_eq!(kernel.path, Path::new("images/vmlinuz"));
        let paths: Vec<&Path> = initrd.iter().map(|part| part.path.as_path()).collect();
        assert_eq!(paths, [Path::new("images/a.img"), Path::new("images/b.img")]);
        for (name, from, to, initrds) in [
            ("one initrd", r#"[{ path = "a.img" }, "b.img"]"#, r#""a.img""#, 1),
            ("one as a table", r#"[{ path = "a.img" }, "b.img"]"#, r#"{ path = "a.img" }"#, 1),
            ("no kind", "kind = \"netboot\"\n", "", 2),
        ] {
            let manifest = parse(&GOOD.replace(from, to)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let Content::Netboot { initrd, .. } = manifest.content else { panic!("{name}") };
            assert_eq!(initrd.len(), initrds, "{name}");
        }
    }

    #[test]
    fn a_disk_and_its_plan() {
        let manifest = parse(DISK).expect("a good manifest");
        let Content::Disk { disk, plan } = manifest.content else { panic!("it is a disk image") };
        assert_eq!(disk.path, Path::new("images/debian.qcow2"));
        assert_eq!((plan.disk.as_deref(), plan.root), (Some("smallest nvme"), Some(2)));
        let data = plan.data_partition.expect("a data partition");
        assert_eq!((data.label.as_str(), data.size), ("data", 10 << 30));
        for (name, from, to, message) in [
            ("no disk", "disk = \"debian.qcow2\"\n", "", "missing field `disk`"),
            ("a kernel", "kind = ", "kernel = \"vmlinuz\"\nkind = ", "'kernel' makes no sense"),
            ("unknown key", "root = 2", "rot = 2", "did you mean 'root'?"),
            ("no size", "10GiB", "10 apples", "line 8"),
            ("a plan without a disk", "kind = \"disk\"", "kind = \"netboot\"", "makes no sense"),
        ] {
            let error = parse(&DISK.replace(from, to)).expect_err(name).to_string();
            assert!(error.contains(message), "{name}: {error}");
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
            ("other kind", "netboot", "uki", "not there yet"),
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
