//! What a transaction is about to do, and all that is needed to undo it, on disk before it does.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::FILE_BYTES;
use super::error::{Error, Result};
use super::fault::step;
use super::root::{Kind, New, Root};
use super::store::{Store, read_json, sync_folder, write, write_json};
use super::units::UnitState;

/// What was at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Former {
    /// Nothing.
    Absent,
    /// A file; its bytes lie beside, under this name.
    File {
        /// The name.
        blob: String,
        /// Permission bits.
        mode: u32,
        /// Owning user.
        uid: u32,
        /// Owning group.
        gid: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: String,
        /// Owning user.
        uid: u32,
        /// Owning group.
        gid: u32,
    },
}

impl Former {
    /// Under which name its bytes lie, if it has any.
    pub fn blob(&self) -> Option<&str> {
        if let Self::File { blob, .. } = self { Some(blob) } else { None }
    }

    /// Keeps what is at `path` in `folder` under the name `blob`; on disk when this returns.
    pub fn keep(root: &Root, path: &str, folder: &Path, blob: &str) -> Result<Self> {
        let Some(facts) = root.look(path)? else { return Ok(Self::Absent) };
        let vanished = || Error::place(path, "it changes while it is read; try again");
        match facts.kind {
            Kind::File => {
                let content = root.read(path, FILE_BYTES)?.ok_or_else(vanished)?;
                write(&folder.join(blob), &content)?;
                Ok(Self::File { blob: blob.to_owned(), mode: facts.mode, uid: facts.uid, gid: facts.gid })
            }
            Kind::Link => {
                let target = root.read_link(path)?.ok_or_else(vanished)?;
                Ok(Self::Link { target, uid: facts.uid, gid: facts.gid })
            }
            Kind::Folder => {
                Err(Error::place(path, "it is a folder, and a bundle brings a file there; move it away"))
            }
            Kind::Other => {
                Err(Error::place(path, "it is a device, socket or pipe, and a bundle brings a file there"))
            }
        }
    }

    /// Whether just that is at `path`.
    pub fn is_at(&self, root: &Root, path: &str, folder: &Path) -> Result<bool> {
        let now = root.look(path)?;
        Ok(match (self, now) {
            (Self::Absent, now) => now.is_none(),
            (_, None) => false,
            (Self::Link { target, .. }, Some(now)) => {
                now.kind == Kind::Link && root.read_link(path)?.as_ref() == Some(target)
            }
            (Self::File { blob, mode, uid, gid }, Some(now)) => {
                let kept = folder.join(blob);
                let content = std::fs::read(&kept)
                    .map_err(Error::file(&kept.display().to_string(), "read the backup"))?;
                now.kind == Kind::File
                    && (now.mode, now.uid, now.gid) == (*mode, *uid, *gid)
                    && root.read(path, FILE_BYTES)?.is_some_and(|now| now == content)
            }
        })
    }

    /// Puts it back; whatever is there now goes.
    pub fn restore(&self, root: &Root, path: &str, folder: &Path) -> Result<()> {
        root.unstage(path)?;
        match self {
            Self::Absent => root.remove(path),
            Self::Link { target, uid, gid } => root.put(path, New::Link(target), *uid, *gid),
            Self::File { blob, mode, uid, gid } => {
                let kept = folder.join(blob);
                let content = std::fs::read(&kept)
                    .map_err(Error::file(&kept.display().to_string(), "read the backup"))?;
                let same = root.look(path)?.is_some_and(|now| {
                    now.kind == Kind::File && (now.mode, now.uid, now.gid) == (*mode, *uid, *gid)
                });
                if same && root.read(path, FILE_BYTES)?.is_some_and(|now| now == content) {
                    return Ok(());
                }
                root.put(path, New::File(&content, *mode), *uid, *gid)
            }
        }
    }
}

/// One file that the transaction changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStep {
    /// Where.
    pub path: String,
    /// What was there.
    pub former: Former,
    /// Whether packages need it.
    pub early: bool,
}

/// What the package manager is about to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageStep {
    /// Everything that was installed before.
    pub before: BTreeMap<String, String>,
    /// What it touches; none: whatever differs afterwards.
    pub touched: Option<BTreeSet<String>>,
}

/// The journal of one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The serial that is current once the transaction is done.
    pub serial: u64,
    /// The generation that is tried, by its digest.
    pub digest: String,
    /// Files, in the order they are switched.
    pub files: Vec<FileStep>,
    /// Folders that it makes.
    pub folders: Vec<String>,
    /// How the units stood that it may touch.
    pub units: BTreeMap<String, UnitState>,
    /// Packages, once it comes to them.
    pub packages: Option<PackageStep>,
    /// What was at the place of policy-rc.d(8), once ours is there.
    pub policy: Option<Former>,
    /// Whether it came to the units: from then on services may run with what is new.
    #[serde(default)]
    pub turned: bool,
    /// Whether a roll-back did all it could; not kept on disk.
    #[serde(skip)]
    pub done_with: bool,
    /// Bundles whose `drain` or `leave` hook began.
    pub left: Vec<String>,
}

/// A journal with its folder.
#[derive(Debug)]
pub struct Opened {
    /// What is on disk; after a change, [`Self::keep`] it.
    pub journal: Journal,
    folder: PathBuf,
}

impl Opened {
    /// Begins: `fill` keeps what it needs in the folder it gets; only then the journal becomes visible.
    pub fn begin(store: &Store, fill: impl FnOnce(&Path) -> Result<Journal>) -> Result<Self> {
        let (beside, folder) = (store.path("transaction.new"), store.path("transaction"));
        let said = folder.display().to_string();
        clear(&beside)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).create(&beside).map_err(Error::file(&said, "make the folder"))?;
        step();
        let journal = fill(&beside)?;
        write_json(&beside.join("journal.json"), &journal)?;
        step();
        std::fs::rename(&beside, &folder).map_err(Error::file(&said, "begin the transaction"))?;
        sync_folder(&store.path(""))?;
        step();
        Ok(Self { journal, folder })
    }

    /// What a crash left, if anything.
    pub fn left(store: &Store) -> Result<Option<Self>> {
        clear(&store.path("transaction.new"))?;
        clear(&store.path("transaction.old"))?;
        let folder = store.path("transaction");
        let journal = read_json(&folder.join("journal.json"))?;
        Ok(journal.map(|journal| Self { journal, folder }))
    }

    /// Where backups are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings the journal to disk after a change.
    pub fn keep(&self) -> Result<()> {
        write_json(&self.folder.join("journal.json"), &self.journal)?;
        step();
        Ok(())
    }

    /// Ends it: there is nothing to undo any more.
    pub fn end(self, store: &Store) -> Result<()> {
        let old = store.path("transaction.old");
        clear(&old)?;
        std::fs::rename(&self.folder, &old)
            .map_err(Error::file(&old.display().to_string(), "end the transaction"))?;
        sync_folder(&store.path(""))?;
        step();
        clear(&old)
    }
}

fn clear(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(&folder.display().to_string(), "take it away")(error))
        }
        _ => Ok(()),
    }
}
