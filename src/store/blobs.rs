//! Artifacts of images: files under `STATE/blobs/sha256/ab/cd…`, named by the SHA-256 of their bytes.
//!
//! A file is written under a temporary name, hashed on the way, synced, and renamed; so what lies under a
//! digest is whole, and is what the digest says. Names elsewhere point to digests.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::model::Sha256Digest;

/// Bytes of the file system that are left free, so that the state can still be written when images fill it.
const RESERVED_BYTES: u64 = 64 << 20;
/// Bytes between two looks at the free space.
const SPACE_CHECK: u64 = 4 << 20;

/// Why an artifact cannot be stored or read.
#[derive(Debug, Error)]
pub enum BlobError {
    /// Not enough room.
    #[error(
        "the disk that holds {path} is full ({free} bytes free, {RESERVED_BYTES} are kept for the state); remove images with `firstlight image remove` and `firstlight image gc`, or grow the disk"
    )]
    DiskFull {
        /// Where the artifacts lie.
        path: PathBuf,
        /// Bytes free.
        free: u64,
    },
    /// The bytes are not what was announced.
    #[error(
        "the artifact's SHA-256 is {found}, not {expected}; it was changed on the way or the manifest is wrong"
    )]
    Mismatch {
        /// The digest that was announced.
        expected: Sha256Digest,
        /// The digest of the bytes.
        found: Sha256Digest,
    },
    /// Nothing lies under this digest.
    #[error("no artifact with SHA-256 {0} is stored")]
    Missing(Sha256Digest),
    /// The file system failed.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// The folder of artifacts.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Opens the folder below `state_dir`, makes it when there is none, and clears what broken-off uploads left.
    pub async fn open(state_dir: &Path) -> Result<Self, BlobError> {
        let blobs = Self { root: state_dir.join("blobs") };
        let uploads = blobs.uploads();
        match fs::remove_dir_all(&uploads).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("clear", &uploads)(error));
            }
            _ => {}
        }
        for folder in [uploads, blobs.root.join("sha256")] {
            fs::create_dir_all(&folder).await.map_err(failed("make", &folder))?;
        }
        Ok(blobs)
    }

    fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Where the artifact of this digest lies, if it does.
    pub fn path(&self, digest: Sha256Digest) -> PathBuf {
        let text = digest.to_string();
        let (shard, rest) = text.split_at(2);
        self.root.join("sha256").join(shard).join(rest)
    }

    /// Bytes of the artifact of this digest.
    pub async fn size(&self, digest: Sha256Digest) -> Result<u64, BlobError> {
        let path = self.path(digest);
        match fs::metadata(&path).await {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(digest)),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// The bytes of a file that is known to be small.
    ///
    /// # Errors
    /// When there is no such file, or it cannot be read.
    pub async fn read(&self, digest: Sha256Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        match fs::read(&path).await {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(digest)),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// Reads the artifact again and compares.
    pub async fn verify(&self, digest: Sha256Digest) -> Result<u64, BlobError> {
        let path = self.path(digest);
        self.size(digest).await?;
        let mut file = File::open(&path).await.map_err(failed("open", &path))?;
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 20]);
        loop {
            let read = file.read(&mut buffer).await.map_err(failed("read", &path))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            hasher.update(bytes);
            size = size.saturating_add(read as u64);
        }
        let found = Sha256Digest(hasher.finalize().into());
        if found == digest { Ok(size) } else { Err(BlobError::Mismatch { expected: digest, found }) }
    }

    /// Removes every artifact that `keep` does not ask for; returns how many and how many bytes.
    pub async fn collect_garbage(
        &self,
        keep: impl Fn(Sha256Digest) -> bool,
    ) -> Result<(usize, u64), BlobError> {
        let root = self.root.join("sha256");
        let (mut files, mut bytes) = (0, 0_u64);
        let mut shards = fs::read_dir(&root).await.map_err(failed("read", &root))?;
        while let Some(shard) = shards.next_entry().await.map_err(failed("read", &root))? {
            let folder = shard.path();
            let mut entries = fs::read_dir(&folder).await.map_err(failed("read", &folder))?;
            while let Some(entry) = entries.next_entry().await.map_err(failed("read", &folder))? {
                let name = format!("{}{}", shard.file_name().display(), entry.file_name().display());
                let Ok(digest) = name.parse() else { continue };
                if !keep(digest) {
                    let path = entry.path();
                    bytes = bytes.saturating_add(self.size(digest).await?);
                    fs::remove_file(&path).await.map_err(failed("remove", &path))?;
                    files += 1;
                }
            }
        }
        Ok((files, bytes))
    }

    /// Removes an artifact that nobody needs; it need not be there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn remove(&self, digest: Sha256Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Begins an artifact. `size` is what the sender announced, 0 when it did not.
    pub fn create(&self, size: u64) -> Result<Upload, BlobError> {
        self.check_space(size)?;
        let file = tempfile::Builder::new()
            .prefix("upload-")
            .tempfile_in(self.uploads())
            .map_err(failed("write in", &self.uploads()))?;
        let (file, path) = file.into_parts();
        Ok(Upload {
            blobs: self.clone(),
            file: File::from_std(file),
            path,
            hasher: Sha256::new(),
            written: 0,
        })
    }

    /// Refuses when `more` bytes would eat into the reserve.
    fn check_space(&self, more: u64) -> Result<(), BlobError> {
        let stat = nix::sys::statvfs::statvfs(&self.root)
            .map_err(|errno| failed("ask for the free space of", &self.root)(errno.into()))?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        if free < more.saturating_add(RESERVED_BYTES) {
            return Err(BlobError::DiskFull { path: self.root.clone(), free });
        }
        Ok(())
    }
}

/// An artifact on its way in; dropped unfinished, it leaves nothing.
pub struct Upload {
    blobs: Blobs,
    file: File,
    path: tempfile::TempPath,
    hasher: Sha256,
    written: u64,
}

impl Upload {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let before = self.written / SPACE_CHECK;
        self.written = self.written.saturating_add(bytes.len() as u64);
        if self.written / SPACE_CHECK != before {
            self.blobs.check_space(bytes.len() as u64)?;
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).await.map_err(|error| self.write_error(error))
    }

    /// Makes the artifact durable under its digest, which must be `expected`; returns its bytes.
    pub async fn finish(mut self, expected: Sha256Digest) -> Result<u64, BlobError> {
        let found = Sha256Digest(std::mem::take(&mut self.hasher).finalize().into());
        if found != expected {
            return Err(BlobError::Mismatch { expected, found });
        }
        self.file.flush().await.map_err(|error| self.write_error(error))?;
        self.file.sync_all().await.map_err(|error| self.write_error(error))?;
        let target = self.blobs.path(expected);
        let folder = target.parent().unwrap_or(&self.blobs.root).to_owned();
        fs::create_dir_all(&folder).await.map_err(failed("make", &folder))?;
        self.path.persist(&target).map_err(|error| failed("move an artifact to", &target)(error.error))?;
        for folder in [folder.as_path(), &self.blobs.root.join("sha256")] {
            let opened = File::open(folder).await.map_err(failed("open", folder))?;
            opened.sync_all().await.map_err(failed("sync", folder))?;
        }
        Ok(self.written)
    }

    fn write_error(&self, error: io::Error) -> BlobError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                BlobError::DiskFull { path: self.blobs.root.clone(), free: 0 }
            }
            _ => failed("write", &self.path)(error),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.to_owned();
    move |cause| BlobError::Io { action, path, cause }
}
