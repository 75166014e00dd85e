//! What an administrator does with images.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::diskimage::Index;
use crate::model::disk_rule::Rule;
use crate::model::{
    Arch, Artifact, Build, Change, DiskBuild, DiskPlan, EventKind, Image, ImageRef, Netboot, Sha256Digest,
    World,
};
use crate::store::blobs::BlobError;

use super::views::{GcView, ImageView, VerifyView, image_view};
use super::{Actor, AppError, Appliance, now};

/// Longest kernel command line that is taken; x86's `COMMAND_LINE_SIZE` is 2,048, and the appliance adds to it.
const CMDLINE_BYTES: usize = 1_500;
/// Longest index of a disk image, bytes: some 8 TiB in chunks of 4 MiB.
const INDEX_BYTES: u64 = 256 << 20;
/// Longest cloud-init user data, bytes.
const USER_DATA_BYTES: usize = 64 << 10;
/// Ramdisks that one build may have.
const INITRDS: usize = 16;

/// An artifact that was uploaded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRef {
    /// Its file name, for people.
    pub name: String,
    /// Its digest.
    pub sha256: Sha256Digest,
}

/// A manifest, its files uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestBuild {
    /// Name and version.
    pub image: ImageRef,
    /// What machines it is for.
    pub arch: Arch,
    /// What it is.
    #[serde(flatten)]
    pub content: ManifestContent,
}

/// What a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ManifestContent {
    /// Booted over the network.
    Netboot {
        /// The kernel.
        kernel: ArtifactRef,
        /// The ramdisks.
        #[serde(default)]
        initrd: Vec<ArtifactRef>,
        /// The command line.
        #[serde(default)]
        cmdline: String,
    },
    /// Written to a disk.
    Disk {
        /// The index of its chunks.
        index: ArtifactRef,
        /// Their bytes.
        data: ArtifactRef,
        /// How it is laid out.
        #[serde(default)]
        plan: DiskPlan,
    },
}

impl ManifestContent {
    fn artifacts(&self) -> Vec<&ArtifactRef> {
        match self {
            Self::Netboot { kernel, initrd, .. } => std::iter::once(kernel).chain(initrd).collect(),
            Self::Disk { index, data, .. } => vec![index, data],
        }
    }
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedBuild {
    /// The image as it is now.
    #[serde(flatten)]
    pub image: ImageView,
    /// Whether it was there already, the same in every byte.
    pub unchanged: bool,
}

impl Appliance {
    /// All images, by name and version.
    pub fn images(&self) -> Vec<ImageView> {
        let world = self.view();
        world.images().map(|image| image_view(&world, image)).collect()
    }

    /// One image.
    ///
    /// # Errors
    /// When it is not imported.
    pub fn image(&self, image: &ImageRef) -> Result<ImageView, AppError> {
        let world = self.view();
        world.image(image).map(|image| image_view(&world, image)).ok_or_else(|| no_image(image))
    }

    /// Makes an image, or adds a build for another architecture, of artifacts that were uploaded before.
    ///
    /// # Errors
    /// When an artifact is missing, or the same image was imported with other content.
    pub async fn import_image(&self, build: ManifestBuild, actor: Actor) -> Result<ImportedBuild, AppError> {
        check(&build)?;
        let _artifacts = self.artifacts.read().await;
        let content = self.content(build.content).await?;
        let (name, arch, at) = (build.image, build.arch, now());
        self.store
            .transact(move |tx| {
                let mut image = tx.world().image(&name).cloned().unwrap_or_else(|| Image {
                    image: name.clone(),
                    imported: at,
                    builds: BTreeMap::new(),
                });
                match image.builds.get(&arch) {
                    Some(there) if there.same(&content) => {
                        return Ok(ImportedBuild { image: image_view(tx.world(), &image), unchanged: true });
                    }
                    Some(_) => {
                        return Err(AppError::Refused(format!(
                            "image {name} for {arch} was imported before with other content, and an image never \
                             changes; give it a new version"
                        )));
                    }
                    None => {}
                }
                let bytes = content.artifacts().fold(0_u64, |sum, artifact| sum.saturating_add(artifact.size));
                image.builds.insert(arch, content);
                tx.put(Change::PutImage(image.clone()));
                tx.append(at, None, Some(&actor.0), EventKind::ImageImported { image: name, bytes });
                Ok(ImportedBuild { image: image_view(tx.world(), &image), unchanged: false })
            })
            .await
    }

    async fn content(&self, content: ManifestContent) -> Result<Build, AppError> {
        match content {
            ManifestContent::Netboot { kernel, initrd, cmdline } => {
                let kernel = self.artifact(kernel).await?;
                let mut initrds = Vec::with_capacity(initrd.len());
                for artifact in initrd {
                    initrds.push(self.artifact(artifact).await?);
                }
                Ok(Build::Netboot(Netboot { kernel, initrd: initrds, cmdline }))
            }
            ManifestContent::Disk { index, data, plan } => {
                let (index, data) = (self.artifact(index).await?, self.artifact(data).await?);
                let raw_size = self.raw_size(&index, &data).await?;
                Ok(Build::Disk(DiskBuild { index, data, raw_size, plan }))
            }
        }
    }

    /// Bytes of the disk that an index is of; an index that is none, or of other data, is refused.
    async fn raw_size(&self, index: &Artifact, data: &Artifact) -> Result<u64, AppError> {
        if index.size > INDEX_BYTES {
            return Err(AppError::Invalid(format!(
                "the disk's index has {} bytes; {INDEX_BYTES} fit",
                index.size
            )));
        }
        let bytes = self.blobs.read(index.sha256).await?;
        let index = Index::parse(&bytes)
            .map_err(|error| AppError::Invalid(format!("the disk's index is wrong: {error}")))?;
        if index.stored_bytes() != data.size {
            return Err(AppError::Invalid("the disk's index is not of this data".into()));
        }
        Ok(index.raw_size())
    }

    async fn artifact(&self, artifact: ArtifactRef) -> Result<Artifact, AppError> {
        let size = self.blobs.size(artifact.sha256).await?;
        Ok(Artifact { name: artifact.name, sha256: artifact.sha256, size })
    }

    /// Removes an image that nobody is pinned to. Its artifacts go with the next garbage collection.
    ///
    /// # Errors
    /// When it is not imported, or a node or group is pinned to it, or it is the discovery image.
    pub async fn remove_image(&self, image: ImageRef, actor: Actor) -> Result<(), AppError> {
        if self.discovery_image().as_ref() == Some(&image) {
            return Err(AppError::Refused(format!(
                "image {image} is the discovery image of the configuration; name another one there first"
            )));
        }
        let at = now();
        self.store
            .transact(move |tx| {
                let view = tx.world().image(&image).map(|image| image_view(tx.world(), image));
                let view = view.ok_or_else(|| no_image(&image))?;
                let users: Vec<String> = (view.pinned_groups.iter().map(|group| format!("group {group}")))
                    .chain(view.pinned_nodes.iter().map(|node| format!("node {node}")))
                    .collect();
                if !users.is_empty() {
                    return Err(AppError::Refused(format!(
                        "image {image} is pinned by {}; pin another image there first",
                        users.join(", ")
                    )));
                }
                tx.put(Change::DeleteImage(image.clone()));
                tx.append(at, None, Some(&actor.0), EventKind::ImageRemoved { image });
                Ok(())
            })
            .await
    }

    /// Reads every artifact of an image again.
    ///
    /// # Errors
    /// When it is not imported, or the disk cannot be read.
    pub async fn verify_image(&self, image: &ImageRef) -> Result<VerifyView, AppError> {
        let found = self.image(image)?;
        let mut view = VerifyView { image: image.clone(), artifacts: 0, bytes: 0, problems: Vec::new() };
        for artifact in found.image.artifacts() {
            view.artifacts += 1;
            match self.blobs.verify(artifact.sha256).await {
                Ok(bytes) => view.bytes = view.bytes.saturating_add(bytes),
                Err(error @ (BlobError::Missing(_) | BlobError::Mismatch { .. })) => {
                    view.problems.push(format!("{}: {error}", artifact.name));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(view)
    }

    /// Removes packages that were taken out of the repositories a while ago, and artifacts that no image names. One that was just uploaded for an import which has not
    /// happened yet goes too; that import then says so, and uploads again.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn collect_garbage(&self) -> Result<GcView, AppError> {
        let _artifacts = self.artifacts.write().await;
        let used: BTreeSet<Sha256Digest> = digests(&self.view());
        let (removed, bytes) = self.blobs.collect_garbage(|digest| used.contains(&digest)).await?;
        let packages = self.collect_packages().await?;
        Ok(GcView { removed: removed.saturating_add(packages.0), bytes: bytes.saturating_add(packages.1) })
    }
}

pub(super) fn digests(world: &World) -> BTreeSet<Sha256Digest> {
    let images = world.images().flat_map(Image::artifacts).map(|artifact| artifact.sha256);
    images.chain(world.bundles().map(|bundle| bundle.archive.sha256)).collect()
}

/// What every manifest must hold to, whoever sent it.
fn check(build: &ManifestBuild) -> Result<(), AppError> {
    let invalid = |message: String| Err(AppError::Invalid(message));
    match &build.content {
        ManifestContent::Netboot { initrd, cmdline, .. } => check_netboot(initrd, cmdline)?,
        ManifestContent::Disk { plan, .. } => check_plan(plan)?,
    }
    let names = build.content.artifacts().into_iter().map(|artifact| &artifact.name);
    for name in names {
        if name.is_empty() || name.len() > 255 || name.contains('/') || name.chars().any(char::is_control) {
            return invalid(format!("'{}' is not a file name", name.escape_debug()));
        }
    }
    Ok(())
}

fn check_netboot(initrd: &[ArtifactRef], cmdline: &str) -> Result<(), AppError> {
    let invalid = |message: String| Err(AppError::Invalid(message));
    if cmdline.len() > CMDLINE_BYTES {
        return invalid(format!("the command line has {} bytes; {CMDLINE_BYTES} fit", cmdline.len()));
    }
    // It becomes a line of an iPXE script, where these would end it, or be expanded.
    if let Some(c) = cmdline.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ') || *c == '$') {
        return invalid(format!("the command line holds {c:?}, which a boot script cannot carry"));
    }
    if cmdline.contains("||") || cmdline.contains("&&") {
        return invalid("the command line holds '||' or '&&', which end a command in a boot script".into());
    }
    if initrd.len() > INITRDS {
        return invalid(format!(
            "{} ramdisks are more than the {INITRDS} that a build may have",
            initrd.len()
        ));
    }
    Ok(())
}

fn check_plan(plan: &DiskPlan) -> Result<(), AppError> {
    let invalid = |message: &str| Err(AppError::Invalid(message.into()));
    if let Some(data) = &plan.data_partition {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if data.label.is_empty() || data.label.len() > 36 || !data.label.chars().all(allowed) {
            return invalid(
                "a partition's label has 1 to 36 of A-Z, a-z, 0-9, '-', '_' and '.' (UEFI specification 5.3.3)",
            );
        }
        if data.size < 1 << 20 {
            return invalid("a data partition has 1 MiB at least");
        }
    }
    if plan.root == Some(0) || plan.root > Some(128) {
        return invalid("a partition's number is 1 to 128");
    }
    if plan.user_data.as_ref().is_some_and(|text| text.len() > USER_DATA_BYTES) {
        return invalid("the user data is too long; 64 KiB fit");
    }
    plan.disk.as_deref().map_or(Ok(()), check_disk_rule)
}

/// A rule that no installer could follow is refused before anybody depends on it.
pub(super) fn check_disk_rule(rule: &str) -> Result<(), AppError> {
    rule.parse::<Rule>().map(drop).map_err(|error| AppError::Invalid(error.to_string()))
}

fn no_image(image: &ImageRef) -> AppError {
    AppError::NotFound(format!("image {image} is not imported; `firstlight image list` shows what there is"))
}
