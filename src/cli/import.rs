//! `firstlight image import`: uploads what the appliance lacks, then makes the image.

use std::io::{self, IsTerminal, Write};
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

use crate::appliance::{ArtifactRef, ImportedBuild, ManifestBuild, ManifestContent};
use crate::diskimage;
use crate::model::Sha256Digest;

use super::CliError;
use super::client::Client;
use super::manifest::{Content, Manifest, ManifestError, Part};
use super::show::bytes;

/// Bytes that are read and sent at once.
const CHUNK: usize = 1 << 20;

/// A file of an image that is there, and is what the manifest says.
struct Checked<'m> {
    part: &'m Part,
    name: String,
    size: u64,
    sha256: Sha256Digest,
}

/// Imports the image of one manifest. All its files are read before the first is sent; the image is made, in one
/// transaction, when all are there. So an import that breaks off leaves no image, at most files for `image gc`.
pub async fn import(client: &Client, manifest: Manifest, quiet: bool) -> Result<ImportedBuild, CliError> {
    let Manifest { path, image, arch, content } = manifest;
    let content = match content {
        Content::Netboot { kernel, initrd, cmdline } => {
            let mut parts = vec![check(&kernel, "kernel", &path, quiet).await?];
            for (number, initrd) in initrd.iter().enumerate() {
                parts.push(check(initrd, &format!("initrd {}", number + 1), &path, quiet).await?);
            }
            for part in &parts {
                upload(client, part, quiet).await?;
            }
            let mut artifacts = parts.into_iter().map(Checked::artifact);
            let Some(kernel) = artifacts.next() else { unreachable!("the kernel was put there first") };
            ManifestContent::Netboot { kernel, initrd: artifacts.collect(), cmdline }
        }
        Content::Disk { disk, plan } => {
            check(&disk, "disk", &path, quiet).await?;
            let packed = pack(&disk, quiet).await?;
            let (index, data) = (packed.part("disk.index"), packed.part("disk.data"));
            let index = check(&index, "disk's index", &path, quiet).await?;
            let data = check(&data, "disk's chunks", &path, quiet).await?;
            upload(client, &data, quiet).await?;
            upload(client, &index, quiet).await?;
            ManifestContent::Disk { index: index.artifact(), data: data.artifact(), plan }
        }
    };
    let build = ManifestBuild { image, arch, content };
    Ok(client.call(Method::POST, "/images", &build).await?)
}

/// Sends one file that no manifest names; its digest.
pub async fn send(client: &Client, path: &Path, what: &str, quiet: bool) -> Result<Sha256Digest, CliError> {
    let part = Part { path: path.to_owned(), sha256: None };
    let checked = check(&part, what, path, quiet).await?;
    upload(client, &checked, quiet).await?;
    Ok(checked.sha256)
}

impl Checked<'_> {
    fn artifact(self) -> ArtifactRef {
        ArtifactRef { name: self.name, sha256: self.sha256 }
    }
}

/// A disk image in the form in which it is kept, in a folder that goes with it.
struct PackedFiles(tempfile::TempDir);

impl PackedFiles {
    fn part(&self, name: &str) -> Part {
        Part { path: self.0.path().join(name), sha256: None }
    }
}

/// Packs a disk image beside it, where there is room for it, or in the folder for temporary files.
async fn pack(disk: &Part, quiet: bool) -> Result<PackedFiles, CliError> {
    let unpacked = unreadable(disk, "disk image");
    let beside = disk.path.parent().map(tempfile::tempdir_in);
    let folder = match beside {
        Some(Ok(folder)) => folder,
        _ => tempfile::tempdir().map_err(&unpacked)?,
    };
    let (source, into) = (disk.path.clone(), folder.path().to_owned());
    let name = disk.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let bar = progress(0, &format!("packing {name}"), quiet);
    let counter = bar.clone();
    let packing = tokio::task::spawn_blocking(move || {
        diskimage::pack_files(
            &source,
            &into.join("disk.index"),
            &into.join("disk.data"),
            &mut |done, total| {
                counter.set_length(total);
                counter.set_position(done);
            },
        )
    });
    let packed = packing.await.map_err(|error| CliError::Local(format!("packing {name} failed: {error}")))?;
    bar.finish_and_clear();
    packed.map_err(|error| CliError::Local(format!("cannot pack {}: {error}", disk.path.display())))?;
    Ok(PackedFiles(folder))
}

/// Reads a file and compares it with what the manifest says of it.
async fn check<'m>(
    part: &'m Part,
    what: &str,
    manifest: &Path,
    quiet: bool,
) -> Result<Checked<'m>, CliError> {
    let unreadable = unreadable(part, &format!("{what} of {}", manifest.display()));
    let name = part.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let metadata = tokio::fs::metadata(&part.path).await.map_err(&unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")).into());
    }
    let bar = progress(metadata.len(), &format!("hashing {name}"), quiet);
    let (size, sha256) = digest(&part.path, &bar).await.map_err(&unreadable)?;
    bar.finish_and_clear();
    if let Some(expected) = part.sha256.filter(|expected| *expected != sha256) {
        let manifest = manifest.to_owned();
        return Err(
            ManifestError::Digest { path: part.path.clone(), manifest, found: sha256, expected }.into()
        );
    }
    Ok(Checked { part, name, size, sha256 })
}

fn unreadable(part: &Part, what: &str) -> impl Fn(io::Error) -> ManifestError + use<> {
    let (path, what) = (part.path.clone(), what.to_owned());
    move |cause| ManifestError::Unreadable { path: path.clone(), what: what.clone(), cause }
}

/// Sends a file unless the appliance has one of the same bytes.
async fn upload(client: &Client, part: &Checked<'_>, quiet: bool) -> Result<(), CliError> {
    let Checked { part, name, size, sha256 } = part;
    let url = format!("/blobs/{sha256}");
    if client.exists(&url).await? {
        tell(quiet, &format!("{name}: the appliance has it, {}", bytes(*size)));
        return Ok(());
    }
    let bar = progress(*size, &format!("sending {name}"), quiet);
    let file = File::open(&part.path).await.map_err(unreadable(part, "file to send"))?;
    let counter = bar.clone();
    // A file that grows while it is sent would not fit the length that was announced.
    let stream = ReaderStream::with_capacity(file.take(*size), CHUNK).map_ok(move |bytes| {
        counter.inc(bytes.len() as u64);
        Frame::data(bytes)
    });
    let sent = client.upload(&url, *size, StreamBody::new(stream).boxed(), || bar.position()).await;
    bar.finish_and_clear();
    sent?;
    tell(quiet, &format!("{name}: sent {}", bytes(*size)));
    Ok(())
}

/// A line of progress where no bar is shown.
fn tell(quiet: bool, line: &str) {
    if !quiet && !io::stderr().is_terminal() {
        // Nobody reads it: the import goes on all the same.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

async fn digest(path: &Path, bar: &ProgressBar) -> io::Result<(u64, Sha256Digest)> {
    let mut file = File::open(path).await?;
    let (mut size, mut hasher, mut buffer) = (0, Sha256::new(), vec![0; CHUNK]);
    loop {
        let read = file.read(&mut buffer).await?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
            _ => return Ok((size, Sha256Digest(hasher.finalize().into()))),
        }
        size += read as u64;
        bar.inc(read as u64);
    }
}

/// A bar that counts to `total` on a terminal; nothing elsewhere.
pub fn counter(total: usize, message: &str, quiet: bool) -> ProgressBar {
    let bar = progress(total as u64, message, quiet);
    let style = ProgressStyle::with_template("{msg} [{wide_bar}] {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// A bar on a terminal; nothing elsewhere (see [`tell`]).
fn progress(size: u64, message: &str, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(size);
    if quiet || !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style =
        ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(message.to_owned());
    bar
}
