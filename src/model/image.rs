//! An image: an immutable `name@version`, built for one or more architectures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hardware::Arch;
use super::ids::{ImageRef, Sha256Digest};
use super::time::Timestamp;

/// An imported image. A build for another architecture may join it later; a build never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its name and version.
    pub image: ImageRef,
    /// When its first build was imported.
    pub imported: Timestamp,
    /// What a machine of each architecture boots.
    pub builds: BTreeMap<Arch, Build>,
}

impl Image {
    /// Every artifact of every build.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.builds.values().flat_map(Build::artifacts)
    }

    /// Bytes of all artifacts together; one that is shared by two builds counts once.
    pub fn size(&self) -> u64 {
        let distinct: BTreeMap<_, _> =
            self.artifacts().map(|artifact| (artifact.sha256, artifact.size)).collect();
        distinct.values().fold(0, |sum, size| sum.saturating_add(*size))
    }
}

/// An image's build for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Build {
    /// Booted over the network, and run from memory.
    Netboot(Netboot),
    /// Written to a disk, and booted from there.
    Disk(DiskBuild),
}

impl Build {
    /// Its files.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        let (netboot, disk) = match self {
            Self::Netboot(netboot) => (Some(netboot), None),
            Self::Disk(disk) => (None, Some(disk)),
        };
        netboot
            .into_iter()
            .flat_map(Netboot::artifacts)
            .chain(disk.into_iter().flat_map(DiskBuild::artifacts))
    }

    /// `netboot` or `disk`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Netboot(_) => "netboot",
            Self::Disk(_) => "disk",
        }
    }

    /// Whether two builds have the same bytes and settings; file names do not matter.
    pub fn same(&self, other: &Self) -> bool {
        let settings = match (self, other) {
            (Self::Netboot(a), Self::Netboot(b)) => a.cmdline == b.cmdline,
            (Self::Disk(a), Self::Disk(b)) => (a.raw_size, &a.plan) == (b.raw_size, &b.plan),
            _ => false,
        };
        settings && self.artifacts().map(|x| x.sha256).eq(other.artifacts().map(|x| x.sha256))
    }
}

/// A whole disk, packed: an index of chunks, and their bytes (see [`crate::diskimage`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskBuild {
    /// Which chunks there are, and their digests.
    pub index: Artifact,
    /// The chunks, each one compressed by itself.
    pub data: Artifact,
    /// Bytes of the disk that it was made of; a disk to install it on has no fewer.
    pub raw_size: u64,
    /// How it is laid out, and what is done to it on a node's disk.
    #[serde(default)]
    pub plan: DiskPlan,
}

impl DiskBuild {
    fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        [&self.index, &self.data].into_iter()
    }
}

/// What the installer does beside writing the bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskPlan {
    /// Which disk, in the words of the installer's rule; `only` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The number of the partition with the root file system; the last one unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<u32>,
    /// A partition that an upgrade leaves alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_partition: Option<DataPartition>,
    /// cloud-init's user data for each node, where the image has cloud-init.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
}

/// A partition behind the image's own, known by its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPartition {
    /// Its GPT name.
    pub label: String,
    /// Its size at the first installation, bytes.
    pub size: u64,
}

/// Kernel, ramdisks and command line of a machine that boots over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netboot {
    /// The kernel.
    pub kernel: Artifact,
    /// Its initial ramdisks, in the order in which they are laid into memory.
    pub initrd: Vec<Artifact>,
    /// The kernel's command line, before what the appliance adds.
    pub cmdline: String,
}

impl Netboot {
    /// The kernel and the ramdisks.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        std::iter::once(&self.kernel).chain(&self.initrd)
    }
}

/// One file of an image, stored under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The file name it was imported with; only for people.
    pub name: String,
    /// Digest of its bytes, and where they are stored.
    pub sha256: Sha256Digest,
    /// Bytes.
    pub size: u64,
}
