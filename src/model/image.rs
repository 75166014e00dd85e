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
    pub builds: BTreeMap<Arch, Netboot>,
}

impl Image {
    /// Every artifact of every build.
    pub fn artifacts(&self) -> impl Iterator<Item = &Artifact> {
        self.builds.values().flat_map(Netboot::artifacts)
    }

    /// Bytes of all artifacts together; one that is shared by two builds counts once.
    pub fn size(&self) -> u64 {
        let distinct: BTreeMap<_, _> =
            self.artifacts().map(|artifact| (artifact.sha256, artifact.size)).collect();
        distinct.values().fold(0, |sum, size| sum.saturating_add(*size))
    }
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
