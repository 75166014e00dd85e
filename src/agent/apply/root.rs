//! The host's file tree: every path is walked from its root, folder by folder, and never leaves it.
//!
//! A symbolic link among the parent folders (`/bin`, `/var/run`) is followed as the host itself would follow it, within
//! the root, and only if it belongs to the superuser: another user's link could lead a write anywhere.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, fsync, geteuid, symlinkat, unlinkat};

use super::error::{Error, Result};
pub use super::facts::{Facts, Kind, New};
use super::fault::step;

/// Links followed on one path (Linux: `MAXSYMLINKS`).
const LINKS: usize = 40;
/// The ends of the names of files that are not yet in their place.
const STAGED: &str = ".firstlight-new";

/// A host's file tree.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    folder: Arc<OwnedFd>,
}

impl Root {
    /// The tree below `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let said = path.display().to_string();
        let folder = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(Error::file(&said, "open the root"))?;
        Ok(Self { path: path.to_owned(), folder: Arc::new(folder) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is the root of this very program.
    pub fn is_own(&self) -> bool {
        self.path == Path::new("/")
    }

    /// What the file system says of `path` itself (a link is not followed); none where nothing is.
    pub fn look(&self, path: &str) -> Result<Option<Facts>> {
        let Some((folder, name)) = self.parent(path, false)? else { return Ok(None) };
        match fstatat(&folder, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(Error::file(path, "look at it")(error)),
        }
    }

    /// The bytes of a regular file of at most `limit` bytes; none where there is no regular file.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((folder, name)) = self.parent(path, false)? else { return Ok(None) };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&folder, name.as_os_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
            Err(error) => return Err(Error::file(path, "open it")(error)),
        };
        let about = file.metadata().map_err(Error::file(path, "look at it"))?;
        if !about.is_file() {
            return Ok(None);
        }
        let mut content = Vec::new();
        let more = limit.saturating_add(1);
        file.take(more).read_to_end(&mut content).map_err(Error::file(path, "read it"))?;
        if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
            return Err(Error::place(path, format!("it has more than {limit} bytes; move it away first")));
        }
        Ok(Some(content))
    }

    /// Where the link `path` leads; none where there is no link.
    pub fn read_link(&self, path: &str) -> Result<Option<String>> {
        let Some((folder, name)) = self.parent(path, false)? else { return Ok(None) };
        match readlinkat(&folder, name.as_os_str()) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::ENOENT | Errno::EINVAL) => Ok(None),
            Err(error) => Err(Error::file(path, "read the link")(error)),
        }
    }

    /// Which folders above `path` are not there yet, outermost first.
    pub fn missing_folders(&self, path: &str) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut above = Path::new(path).parent();
        while let Some(folder) = above.filter(|folder| folder.parent().is_some()) {
            let text = folder.to_string_lossy().into_owned();
            if self.look(&text)?.is_some() {
                break;
            }
            missing.push(text);
            above = folder.parent();
        }
        missing.reverse();
        Ok(missing)
    }

    /// Writes `new` beside its place, with its owner and mode, on disk; nothing reads it there.
    pub fn stage(&self, path: &str, new: New<'_>, uid: u32, gid: u32) -> Result<()> {
        let (folder, name) = self.parent_made(path)?;
        let staged = beside(&name);
        step();
        match unlinkat(&folder, staged.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(Error::file(path, "clear the place beside it")(error)),
        }
        match new {
            New::Link(target) => {
                symlinkat(target, &folder, staged.as_os_str()).map_err(Error::file(path, "make the link"))?;
                let own = AtFlags::AT_SYMLINK_NOFOLLOW;
                fchownat(&folder, staged.as_os_str(), Some(uid.into()), Some(gid.into()), own)
                    .map_err(Error::file(path, "give it to its owner"))?;
            }
            New::File(content, mode) => {
                let flags =
                    OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let private = Mode::from_bits_truncate(0o600);
                let file = openat(&folder, staged.as_os_str(), flags, private)
                    .map_err(Error::file(path, "make the file beside it"))?;
                let mut file = File::from(file);
                file.write_all(content).map_err(Error::file(path, "write the file beside it"))?;
                fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(Error::file(path, "give it to its owner"))?;
                fchmod(&file, Mode::from_bits_truncate(mode)).map_err(Error::file(path, "set its mode"))?;
                file.sync_all().map_err(Error::file(path, "bring it to disk"))?;
            }
        }
        step();
        Ok(())
    }

    /// Puts what was staged into its place, in one motion.
    pub fn switch(&self, path: &str) -> Result<()> {
        let (folder, name) = self.parent_made(path)?;
        renameat(&folder, beside(&name).as_os_str(), &folder, name.as_os_str())
            .map_err(Error::file(path, "put it into its place"))?;
        step();
        fsync(&folder).map_err(Error::file(path, "bring its folder to disk"))
    }

    /// [`Self::stage`] and [`Self::switch`].
    pub fn put(&self, path: &str, new: New<'_>, uid: u32, gid: u32) -> Result<()> {
        self.stage(path, new, uid, gid)?;
        self.switch(path)
    }

    /// Takes away what was staged for `path` and never switched.
    pub fn unstage(&self, path: &str) -> Result<()> {
        self.unlink(path, true)
    }

    /// Takes a file or link away; it may be gone already.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.unlink(path, false)
    }

    fn unlink(&self, path: &str, staged: bool) -> Result<()> {
        let Some((folder, name)) = self.parent(path, false)? else { return Ok(()) };
        let name = if staged { beside(&name) } else { name };
        match unlinkat(&folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => step(),
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(Error::file(path, "take it away")(error)),
        }
        fsync(&folder).map_err(Error::file(path, "bring its folder to disk"))
    }

    /// Takes a folder away if it is empty; tells whether it is gone.
    pub fn remove_folder(&self, path: &str) -> Result<bool> {
        let Some((folder, name)) = self.parent(path, false)? else { return Ok(true) };
        match unlinkat(&folder, name.as_os_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) => step(),
            Err(Errno::ENOENT) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY | Errno::ENOTDIR) => return Ok(false),
            Err(error) => return Err(Error::file(path, "take the folder away")(error)),
        }
        Ok(true)
    }

    /// Gives a folder to its owner.
    pub fn own_folder(&self, path: &str, uid: u32, gid: u32) -> Result<()> {
        let Some((folder, name)) = self.parent(path, false)? else { return Ok(()) };
        let own = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(&folder, name.as_os_str(), Some(uid.into()), Some(gid.into()), own)
            .map_err(Error::file(path, "give the folder to its owner"))
    }

    fn parent_made(&self, path: &str) -> Result<(OwnedFd, OsString)> {
        self.parent(path, true)?.ok_or_else(|| Error::place(path, "its folder vanished meanwhile; try again"))
    }

    /// The folder that `path` lies in, opened, and its last name; none when a folder is missing and not to be made.
    fn parent(&self, path: &str, make: bool) -> Result<Option<(OwnedFd, OsString)>> {
        let mut left: Vec<OsString> = names(Path::new(path)).rev().collect();
        let name = if left.is_empty() { None } else { Some(left.remove(0)) };
        let name = name.ok_or_else(|| Error::place(path, "it names no file"))?;
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut here = self.folder.try_clone().map_err(Error::file(path, "open the root"))?;
        let mut links = 0;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        while let Some(part) = left.pop() {
            if part == ".." {
                here = above
                    .pop()
                    .map_or_else(|| self.folder.try_clone(), Ok)
                    .map_err(Error::file(path, "open the root"))?;
                continue;
            }
            let next = match openat(&here, part.as_os_str(), flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::ENOENT) if make => {
                    match mkdirat(&here, part.as_os_str(), Mode::from_bits_truncate(0o755)) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(error) => return Err(Error::file(path, "make the folder for it")(error)),
                    }
                    fsync(&here).map_err(Error::file(path, "bring its folder to disk"))?;
                    step();
                    openat(&here, part.as_os_str(), flags, Mode::empty())
                        .map_err(Error::file(path, "open the folder made for it"))?
                }
                Err(Errno::ENOENT) => return Ok(None),
                Err(Errno::ELOOP | Errno::ENOTDIR) => {
                    let target = followed(path, &here, &part)?;
                    links += 1;
                    if links > LINKS {
                        return Err(Error::place(path, "too many links lead there"));
                    }
                    if target.is_absolute() {
                        above.clear();
                        here = self.folder.try_clone().map_err(Error::file(path, "open the root"))?;
                    }
                    left.extend(names(&target).rev());
                    continue;
                }
                Err(error) => return Err(Error::file(path, "open the folder it lies in")(error)),
            };
            above.push(std::mem::replace(&mut here, next));
        }
        Ok(Some((here, name)))
    }
}

/// Where the link `part` leads, if it is one that may be followed.
fn followed(path: &str, folder: &OwnedFd, part: &OsString) -> Result<PathBuf> {
    let said = part.to_string_lossy();
    let about = fstatat(folder, part.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(Error::file(path, "look at a folder above it"))?;
    if Facts::from(about).kind != Kind::Link {
        return Err(Error::place(
            path,
            format!("`{said}` above it is not a folder; move it away or change the path"),
        ));
    }
    if about.st_uid != 0 && about.st_uid != geteuid().as_raw() {
        return Err(Error::place(
            path,
            format!("`{said}` above it is a link that a user made: it is not followed"),
        ));
    }
    let target = readlinkat(folder, part.as_os_str()).map_err(Error::file(path, "read a link above it"))?;
    Ok(PathBuf::from(target))
}

/// The names in a path, `..` included.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    use std::path::Component;
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// The name of a file that is not yet in its place; hidden, and short enough.
fn beside(name: &OsString) -> OsString {
    let mut staged = OsString::from(".");
    let bytes = name.as_bytes();
    staged.push(std::ffi::OsStr::from_bytes(bytes.get(..200).unwrap_or(bytes)));
    staged.push(STAGED);
    staged
}
