//! `firstlight image import`: uploads what the appliance lacks, then makes the image.

use std::io::IsTerminal;
use std::path::Path;

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use crate::appliance::{ArtifactRef, ImportedBuild, ManifestBuild};
use crate::model::Sha256Digest;

use super::CliError;
use super::client::Client;
use super::manifest::{Manifest, ManifestError, Part};

/// Bytes that are read and sent at once.
const CHUNK: usize = 1 << 20;

/// Imports the image of one manifest.
pub async fn import(client: &Client, path: &Path, quiet: bool) -> Result<ImportedBuild, CliError> {
    let manifest = Manifest::read(path)?;
    let kernel = upload(client, &manifest.kernel, "kernel", quiet).await?;
    let mut initrd = Vec::with_capacity(manifest.initrd.len());
    for part in &manifest.initrd {
        initrd.push(upload(client, part, "initrd", quiet).await?);
    }
    let Manifest { image, arch, cmdline, .. } = manifest;
    let build = ManifestBuild { image, arch, kernel, initrd, cmdline };
    Ok(client.call(Method::POST, "/images", &build).await?)
}

/// Sends a file unless the appliance has one of the same bytes.
async fn upload(client: &Client, part: &Part, what: &str, quiet: bool) -> Result<ArtifactRef, CliError> {
    let unreadable =
        |cause| ManifestError::Unreadable { path: part.path.clone(), what: what.to_owned(), cause };
    let name = part.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let size = tokio::fs::metadata(&part.path).await.map_err(unreadable)?.len();
    let bar = progress(size, &format!("hashing {name}"), quiet);
    let sha256 = digest(&part.path, &bar).await.map_err(unreadable)?;
    if let Some(expected) = part.sha256.filter(|expected| *expected != sha256) {
        return Err(ManifestError::Digest { path: part.path.clone(), found: sha256, expected }.into());
    }
    let url = format!("/blobs/{sha256}");
    if !client.exists(&url).await? {
        bar.set_position(0);
        bar.set_message(format!("sending {name}"));
        let file = File::open(&part.path).await.map_err(unreadable)?;
        let counter = bar.clone();
        // A file that grows while it is sent would not fit the length that was announced.
        let stream = ReaderStream::with_capacity(file.take(size), CHUNK).map_ok(move |bytes| {
            counter.inc(bytes.len() as u64);
            Frame::data(bytes)
        });
        client.send(Method::PUT, &url, Some(size), StreamBody::new(stream).boxed()).await?;
    }
    bar.finish_and_clear();
    Ok(ArtifactRef { name, sha256 })
}

async fn digest(path: &Path, bar: &ProgressBar) -> std::io::Result<Sha256Digest> {
    let mut file = File::open(path).await?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let read = file.read(&mut buffer).await?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
            _ => return Ok(Sha256Digest(hasher.finalize().into())),
        }
        bar.inc(read as u64);
    }
}

/// A bar on a terminal; nothing elsewhere.
fn progress(size: u64, message: &str, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(size);
    if quiet || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style =
        ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(message.to_owned());
    bar
}
