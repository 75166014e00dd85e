//! Where packages and the state are kept: a trait, and a folder that does it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::state::State;
use crate::model::Sha256Digest;

/// How the names of packages and of the state begin while they are written.
const INCOMING: &str = ".incoming-";
const SAVING: &str = ".state-";

/// Keeps packages by digest, and the state. Its functions block.
pub trait Backing: Send + Sync {
    /// Where the package of this digest lies, if it does.
    fn path(&self, digest: Sha256Digest) -> PathBuf;

    /// Keeps the file's bytes durably, which must have this digest.
    ///
    /// # Errors
    /// When they have another, or cannot be written.
    fn put(&self, file: &mut File, digest: Sha256Digest) -> io::Result<()>;

    /// Deletes packages that are not to be kept, and what an interrupted `put` or `save` left; none is under way. Returns
    /// how many files, and their bytes.
    ///
    /// # Errors
    /// When they cannot be read or deleted.
    fn sweep(&self, keep: &dyn Fn(Sha256Digest) -> bool) -> io::Result<(usize, u64)>;

    /// Keeps the state durably.
    ///
    /// # Errors
    /// When it cannot be written; then the old one must still be there.
    fn save(&self, state: &State) -> io::Result<()>;
}

/// Packages below `FOLDER/sha256/ab/cd…`, the state in `FOLDER/packages.json`.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder; made when there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("sha256"))?;
        Ok(Self { root: root.to_owned() })
    }

    /// The state that was saved last; an empty one when there is none.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(&self) -> io::Result<State> {
        match fs::read(self.root.join("packages.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error),
        }
    }

    fn persist(&self, file: tempfile::NamedTempFile, target: &Path) -> io::Result<()> {
        file.as_file().sync_all()?;
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        file.persist(target).map_err(|error| error.error)?;
        for folder in [folder, &self.root.join("sha256")] {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

impl Backing for Folder {
    fn path(&self, digest: Sha256Digest) -> PathBuf {
        let text = digest.to_string();
        let (shard, rest) = text.split_at(2);
        self.root.join("sha256").join(shard).join(rest)
    }

    fn put(&self, file: &mut File, digest: Sha256Digest) -> io::Result<()> {
        let mut copy = tempfile::Builder::new().prefix(INCOMING).tempfile_in(&self.root)?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
        loop {
            let read = file.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            hasher.update(bytes);
            copy.write_all(bytes)?;
        }
        if Sha256Digest(hasher.finalize().into()) != digest {
            return Err(io::Error::other("the file changed while it was read; push it again"));
        }
        self.persist(copy, &self.path(digest))
    }

    fn sweep(&self, keep: &dyn Fn(Sha256Digest) -> bool) -> io::Result<(usize, u64)> {
        let (mut files, mut bytes) = (0, 0_u64);
        let mut delete = |entry: &fs::DirEntry| {
            bytes = bytes.saturating_add(entry.metadata()?.len());
            files += 1;
            fs::remove_file(entry.path())
        };
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            if [INCOMING, SAVING].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
            {
                delete(&entry)?;
            }
        }
        for shard in fs::read_dir(self.root.join("sha256"))? {
            let shard = shard?;
            for entry in fs::read_dir(shard.path())? {
                let entry = entry?;
                let name = format!("{}{}", shard.file_name().display(), entry.file_name().display());
                if name.parse().is_ok_and(|digest| !keep(digest)) {
                    delete(&entry)?;
                }
            }
        }
        Ok((files, bytes))
    }

    fn save(&self, state: &State) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(SAVING).tempfile_in(&self.root)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        self.persist(file, &self.root.join("packages.json"))
    }
}
