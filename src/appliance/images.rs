//! What an administrator does with images.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{Arch, Artifact, Change, EventKind, Image, ImageRef, Netboot, Sha256Digest, World};
use crate::store::blobs::BlobError;

use super::views::{GcView, ImageView, VerifyView, image_view};
use super::{Actor, AppError, Appliance, now};

/// Longest kernel command line that is taken; x86's `COMMAND_LINE_SIZE` is 2,048, and the appliance adds to it.
const CMDLINE_BYTES: usize = 1_500;
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
#[serde(deny_unknown_fields)]
pub struct ManifestBuild {
    /// Name and version.
    pub image: ImageRef,
    /// What machines it is for.
    pub arch: Arch,
    /// The kernel.
    pub kernel: ArtifactRef,
    /// The ramdisks.
    #[serde(default)]
    pub initrd: Vec<ArtifactRef>,
    /// The command line.
    #[serde(default)]
    pub cmdline: String,
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
        let kernel = self.artifact(build.kernel).await?;
        let mut initrd = Vec::with_capacity(build.initrd.len());
        for artifact in build.initrd {
            initrd.push(self.artifact(artifact).await?);
        }
        let netboot = Netboot { kernel, initrd, cmdline: build.cmdline };
        let (name, arch, at) = (build.image, build.arch, now());
        self.store
            .transact(move |tx| {
                let mut image = tx.world().image(&name).cloned().unwrap_or_else(|| Image {
                    image: name.clone(),
                    imported: at,
                    builds: BTreeMap::new(),
                });
                match image.builds.get(&arch) {
                    Some(there) if same(there, &netboot) => {
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
                let bytes = netboot.artifacts().fold(0_u64, |sum, artifact| sum.saturating_add(artifact.size));
                image.builds.insert(arch, netboot);
                tx.put(Change::PutImage(image.clone()));
                tx.append(at, None, Some(&actor.0), EventKind::ImageImported { image: name, bytes });
                Ok(ImportedBuild { image: image_view(tx.world(), &image), unchanged: false })
            })
            .await
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
        if self.discovery_image() == Some(&image) {
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

    /// Removes artifacts that no image names. One that was just uploaded for an import which has not
    /// happened yet goes too; that import then says so, and uploads again.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub async fn collect_garbage(&self) -> Result<GcView, AppError> {
        let _artifacts = self.artifacts.write().await;
        let used: BTreeSet<Sha256Digest> = digests(&self.view());
        let (removed, bytes) = self.blobs.collect_garbage(|digest| used.contains(&digest)).await?;
        Ok(GcView { removed, bytes })
    }
}

fn digests(world: &World) -> BTreeSet<Sha256Digest> {
    world.images().flat_map(Image::artifacts).map(|artifact| artifact.sha256).collect()
}

/// Whether two builds have the same bytes and command line; file names do not matter.
fn same(a: &Netboot, b: &Netboot) -> bool {
    a.cmdline == b.cmdline && a.artifacts().map(|x| x.sha256).eq(b.artifacts().map(|x| x.sha256))
}

/// What every manifest must hold to, whoever sent it.
fn check(build: &ManifestBuild) -> Result<(), AppError> {
    let invalid = |message: String| Err(AppError::Invalid(message));
    if build.cmdline.len() > CMDLINE_BYTES {
        return invalid(format!("the command line has {} bytes; {CMDLINE_BYTES} fit", build.cmdline.len()));
    }
    // It becomes a line of an iPXE script, where these would end it, or be expanded.
    if let Some(c) = build.cmdline.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ') || *c == '$') {
        return invalid(format!("the command line holds {c:?}, which a boot script cannot carry"));
    }
    if build.cmdline.contains("||") || build.cmdline.contains("&&") {
        return invalid("the command line holds '||' or '&&', which end a command in a boot script".into());
    }
    if build.initrd.len() > INITRDS {
        return invalid(format!(
            "{} ramdisks are more than the {INITRDS} that a build may have",
            build.initrd.len()
        ));
    }
    let names = std::iter::once(&build.kernel).chain(&build.initrd).map(|artifact| &artifact.name);
    for name in names {
        if name.is_empty() || name.len() > 255 || name.contains('/') || name.chars().any(char::is_control) {
            return invalid(format!("'{}' is not a file name", name.escape_debug()));
        }
    }
    Ok(())
}

fn no_image(image: &ImageRef) -> AppError {
    AppError::NotFound(format!("image {image} is not imported; `firstlight image list` shows what there is"))
}
