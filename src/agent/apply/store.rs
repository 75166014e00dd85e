//! What the agent keeps of bundles between its starts: the current generation, former ones, and the last outcome.
//!
//! `current.json` is the truth: a generation is current in the moment that file is renamed into its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::desired::{Desired, Outcome};
use super::error::{Error, Result};
use super::fault::step;
use super::journal::Former;
use super::mask::Place;
use super::root::Facts;
use super::units::UnitState;

/// Generations kept, the current one included.
const KEPT: usize = 3;
/// Largest file of the state that is read, bytes.
const LARGEST: u64 = 768 << 20;

/// The generation a host has, and what is needed to take it away again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Counts transactions; tells whether one was finished.
    pub serial: u64,
    /// Counts generations, from 1.
    pub number: u64,
    /// The appliance's digest of it.
    pub digest: String,
    /// The generation itself.
    pub desired: Desired,
    /// Where its secrets stand in its files; they themselves are kept nowhere else.
    #[serde(default)]
    pub masks: Vec<Place>,
    /// Each file as it was put, for cheap comparison.
    pub facts: BTreeMap<String, Facts>,
    /// What was at the paths before any bundle brought a file there.
    pub originals: BTreeMap<String, Former>,
    /// Folders that were made for files.
    pub folders: BTreeSet<String>,
    /// Packages that came with bundles, those that others needed included.
    pub brought: BTreeSet<String>,
    /// How units stood before any bundle named them.
    pub units: BTreeMap<String, UnitState>,
}

/// The folder of all this, private to the superuser.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Opens, and makes, the folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let said = folder.display().to_string();
        for path in [folder.to_owned(), folder.join("originals"), folder.join("generations")] {
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(Error::file(&said, "make the folder"))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder, or something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The generation the host has; none yet is the empty one.
    pub fn current(&self) -> Result<Current> {
        Ok(read_json(&self.path("current.json"))?.unwrap_or_default())
    }

    /// Makes a generation the current one: the point of no return.
    pub fn commit(&self, current: &Current) -> Result<()> {
        let generation = self.path("generations").join(format!("{}.json", current.number));
        write_json(&generation, current)?;
        step();
        write_json(&self.path("current.json"), current)?;
        step();
        Ok(())
    }

    /// Nothing of bundles is on the host any more.
    pub fn forget(&self) -> Result<()> {
        for path in [self.path("current.json"), self.path("last.json")] {
            gone(std::fs::remove_file(&path), &path)?;
        }
        for path in [self.path("generations"), self.path("originals")] {
            gone(std::fs::remove_dir_all(&path), &path)?;
        }
        sync_folder(&self.folder)?;
        Self::open(&self.folder).map(drop)
    }

    /// How the last attempt went.
    pub fn last(&self) -> Result<Option<Outcome>> {
        read_json(&self.path("last.json"))
    }

    /// Keeps how an attempt went.
    pub fn set_last(&self, outcome: &Outcome) -> Result<()> {
        write_json(&self.path("last.json"), outcome)
    }

    /// Former generations, newest first.
    pub fn generations(&self) -> Result<Vec<u64>> {
        let path = self.path("generations");
        let said = path.display().to_string();
        let entries = std::fs::read_dir(&path).map_err(Error::file(&said, "read the folder"))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut numbers: Vec<u64> =
            names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    /// A generation by its number; none when it is not kept any more.
    pub fn generation(&self, number: u64) -> Result<Option<Current>> {
        read_json(&self.path("generations").join(format!("{number}.json")))
    }

    /// Clears out what nothing needs any more: old generations, originals of paths that no bundle has, half-written files.
    pub fn tidy(&self, current: &Current) -> Result<()> {
        for number in
            self.generations()?.into_iter().filter(|number| *number > current.number).collect::<Vec<_>>()
        {
            let path = self.path("generations").join(format!("{number}.json"));
            gone(std::fs::remove_file(&path), &path)?;
        }
        for number in self.generations()?.into_iter().skip(KEPT) {
            let path = self.path("generations").join(format!("{number}.json"));
            gone(std::fs::remove_file(&path), &path)?;
        }
        let needed: BTreeSet<_> = current.originals.values().filter_map(Former::blob).collect();
        let originals = self.path("originals");
        for entry in std::fs::read_dir(&originals).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !needed.contains(name)) {
                gone(std::fs::remove_file(entry.path()), &entry.path())?;
            }
        }
        Ok(())
    }
}

/// Not being there is as good as being taken away.
fn gone(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(&path.display().to_string(), "take it away")(error))
        }
        _ => Ok(()),
    }
}

/// Reads JSON; none where there is no file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let said = path.display().to_string();
    let large = match std::fs::metadata(path) {
        Ok(about) => about.len() > LARGEST,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(&said, "look at it")(error)),
    };
    if large {
        return Err(Error::State { path: said, why: "it is larger than anything written here".into() });
    }
    let text = std::fs::read(path).map_err(Error::file(&said, "read it"))?;
    // The reader's own words may quote a secret.
    let bad = |error: serde_json::Error| {
        format!("it makes no sense in line {}, column {}", error.line(), error.column())
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| Error::State { path: said, why: bad(error) })
}

/// Writes JSON, private, whole or not at all, and on disk when this returns.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|_| Error::State {
        path: path.display().to_string(),
        why: "it can't be written as JSON".into(),
    })?;
    write(path, &text)
}

/// Writes a private file, whole or not at all, and on disk when this returns.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let said = path.display().to_string();
    let beside = path.with_extension("new");
    gone(std::fs::remove_file(&beside), &beside)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&beside).map_err(Error::file(&said, "make it"))?;
    file.write_all(content).map_err(Error::file(&said, "write it"))?;
    file.sync_all().map_err(Error::file(&said, "bring it to disk"))?;
    std::fs::rename(&beside, path).map_err(Error::file(&said, "put it into its place"))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Brings a folder's entries to disk.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let said = path.display().to_string();
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file(&said, "bring the folder to disk"))
}
