//! Builds the ramdisk with the agent when what it is made of has changed, and takes it in as an image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::appliance::{
    Actor, AppError, Appliance, ArtifactRef, ManifestBuild, ManifestContent, RamdiskState,
};
use crate::config::Ramdisk;
use crate::model::{ImageRef, Sha256Digest};
use crate::ramdisk::{Built, Inputs, RamdiskError, build, fingerprint};

/// What the image is called; its version is the digest of what it is made of.
const NAME: &str = "firstlight-ramdisk";
/// Digits of that digest: enough to tell builds apart.
const DIGITS: usize = 12;
/// Bytes that are taken in at once.
const CHUNK: usize = 1 << 20;

/// Makes sure that there is a ramdisk; how it went is what the appliance says of it.
pub async fn provide(appliance: Arc<Appliance>, ramdisk: Ramdisk) {
    let state = match ready(&appliance, &ramdisk).await {
        Ok(image) => {
            tracing::info!(%image, "the ramdisk is there");
            RamdiskState::Ready { image }
        }
        Err(error) => {
            tracing::error!(%error, "there is no ramdisk");
            RamdiskState::Failed { reason: error.to_string() }
        }
    };
    appliance.set_ramdisk(state);
}

/// The image of the ramdisk, built when there is none of these inputs.
async fn ready(appliance: &Arc<Appliance>, ramdisk: &Ramdisk) -> Result<ImageRef, AppError> {
    let inputs = Inputs {
        kernel: ramdisk.kernel.clone(),
        firmware: ramdisk.firmware.clone(),
        agent: PathBuf::from("/proc/self/exe"),
        busybox: ramdisk.busybox.clone(),
        files: Vec::new(),
        links: Vec::new(),
    };
    let digest = blocking({
        let inputs = inputs.clone();
        move || fingerprint(&inputs)
    })
    .await?;
    let digest = Sha256Digest::of(format!("{digest} {}", ramdisk.cmdline).as_bytes()).to_string();
    let image: ImageRef = format!("{NAME}@{}", digest.get(..DIGITS).unwrap_or(&digest)).parse()?;
    if appliance.image(&image).is_ok() {
        return Ok(image);
    }
    let folder = appliance.config.state_dir.join("ramdisk.new");
    // What an earlier build left when it was cut off; when there is none, all the better.
    let _ = tokio::fs::remove_dir_all(&folder).await;
    let failed =
        |error: std::io::Error| AppError::Internal(format!("cannot use {}: {error}", folder.display()));
    tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
    let started = std::time::Instant::now();
    let built = blocking({
        let folder = folder.clone();
        move || build(&inputs, &folder, &mut |_| {})
    })
    .await?;
    tracing::info!(
        kernel = built.kernel_release,
        modules = built.modules,
        firmware = built.firmware,
        missing_firmware = built.missing_firmware.len(),
        bytes = built.initrd_bytes,
        elapsed_ms = started.elapsed().as_millis(),
        "ramdisk built"
    );
    take_in(appliance, &image, &built, &ramdisk.cmdline).await?;
    let _ = tokio::fs::remove_dir_all(&folder).await;
    forget_others(appliance, &image).await;
    Ok(image)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RamdiskError> + Send + 'static,
) -> Result<T, AppError> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked
        .map_err(|error| AppError::Internal(format!("building the ramdisk failed: {error}")))?
        .map_err(|error| AppError::Refused(error.to_string()))
}

async fn take_in(
    appliance: &Arc<Appliance>,
    image: &ImageRef,
    built: &Built,
    cmdline: &str,
) -> Result<(), AppError> {
    let kernel = artifact(appliance, &built.kernel, "vmlinuz").await?;
    let initrd = vec![artifact(appliance, &built.initrd, "initrd.img").await?];
    let content = ManifestContent::Netboot { kernel, initrd, cmdline: cmdline.to_owned() };
    let manifest = ManifestBuild { image: image.clone(), arch: built.arch, content };
    appliance.import_image(manifest, Actor("appliance".into())).await?;
    Ok(())
}

/// Stores a file under its digest.
async fn artifact(appliance: &Arc<Appliance>, path: &Path, name: &str) -> Result<ArtifactRef, AppError> {
    let failed =
        |error: std::io::Error| AppError::Internal(format!("cannot read {}: {error}", path.display()));
    let bytes = tokio::fs::read(path).await.map_err(failed)?;
    let sha256 = Sha256Digest::of(&bytes);
    let mut upload = appliance.blobs.create(bytes.len() as u64)?;
    for chunk in bytes.chunks(CHUNK) {
        upload.write(chunk).await?;
    }
    upload.finish(sha256).await?;
    Ok(ArtifactRef { name: name.into(), sha256 })
}

/// Earlier ramdisks are of no more use; one that somebody pinned stays.
async fn forget_others(appliance: &Arc<Appliance>, image: &ImageRef) {
    for view in appliance.images() {
        let other = view.image.image;
        if other.name.as_str() == NAME && other != *image {
            // It is refused where it is in use.
            let _ = appliance.remove_image(other, Actor("appliance".into())).await;
        }
    }
}
