//! Writes into the root of a system that does not run, whose symbolic links may lead anywhere: every path is resolved
//! by the kernel inside that root (openat2(2), `RESOLVE_IN_ROOT`), no mount point is crossed, and files are put in
//! place by rename, so that a link in a file's place is replaced and never followed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat};

use crate::agent::install::Error;

const TEMPORARY: &str = ".firstlight.new";

/// `SELinux` types of what we write; everything else gets its folder's, as the kernel would do it.
const LABELS: &[(&str, &str)] = &[
    ("/etc/hostname", "hostname_etc_t"),
    ("/etc/hosts", "net_conf_t"),
    ("/etc/machine-id", "machineid_t"),
    ("/etc/systemd/system/", "systemd_unit_file_t"),
    ("/etc/NetworkManager/", "NetworkManager_etc_rw_t"),
    ("/root/.ssh", "ssh_home_t"),
    ("/usr/local/bin/", "bin_t"),
];

/// An opened root.
pub struct Tree {
    root: OwnedFd,
    selinux: bool,
}

impl Tree {
    /// Opens the root at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root =
            open(path, flags, Mode::empty()).map_err(|error| failed("opening the root", path)(error))?;
        let mut tree = Self { root, selinux: false };
        tree.selinux = tree.read("/etc/selinux/config", 1 << 16)?.is_some_and(|config| {
            String::from_utf8_lossy(&config)
                .lines()
                .any(|line| matches!(line.trim(), "SELINUX=enforcing" | "SELINUX=permissive"))
        });
        Ok(tree)
    }

    fn at(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        openat2(&self.root, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
    }

    /// Whether something is there, inside the root, after all links.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path.as_ref(), OFlag::O_PATH).is_ok()
    }

    /// Whether one of `paths` is there.
    pub fn any(&self, paths: &[&str]) -> bool {
        paths.iter().any(|path| self.exists(path))
    }

    /// A regular file's content, at most `limit` bytes; `None` when there is none.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let path = path.as_ref();
        // O_NONBLOCK: a FIFO must not hang us.
        let file = match self.at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(fd) => File::from(fd),
            Err(_) => return Ok(None),
        };
        let read = || -> std::io::Result<Option<Vec<u8>>> {
            if !file.metadata()?.is_file() {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            (&file).take(limit).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        read().map_err(Error::io(format!("reading {} of the new system", path.display())))
    }

    /// The opened parent of `path`, made where it is missing, and the last name.
    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a str), Error> {
        let refuse = || Error::Identity(format!("{} is no path in the new system", path.display()));
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(refuse)?;
        let parent = path.parent().ok_or_else(refuse)?;
        if !path.is_absolute() || path.components().any(|part| matches!(part, Component::ParentDir)) {
            return Err(refuse());
        }
        self.folder(parent, 0o755).map(|fd| (fd, name))
    }

    /// Opens a folder; makes it, and what is missing above it, with mode `mode`.
    pub fn folder(&self, path: &Path, mode: u32) -> Result<OwnedFd, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        match self.at(path, flags) {
            Ok(fd) => return Ok(fd),
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(failed("opening", path)(error)),
        }
        let (parent, name) = self.parent(path)?;
        mkdirat(&parent, name, Mode::from_bits_truncate(mode)).map_err(failed("making", path))?;
        let fd = self.at(path, flags).map_err(failed("opening", path))?;
        fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(failed("making", path))?;
        self.label(&fd, path);
        Ok(fd)
    }

    /// Writes a file of root's with mode `mode`; what was there is replaced, a link too.
    pub fn write(&self, path: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> Result<(), Error> {
        self.write_from(path.as_ref(), mode, &mut &*bytes)
    }

    /// [`Tree::write`] of what `from` gives.
    pub fn write_from(&self, path: &Path, mode: u32, from: &mut impl Read) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        let writing = || failed("writing", path);
        let _ = unlinkat(&parent, TEMPORARY, UnlinkatFlags::NoRemoveDir);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::openat(&parent, TEMPORARY, flags, Mode::from_bits_truncate(0o600))
            .map_err(writing())?;
        fchown(&fd, Some(Uid::from_raw(0)), Some(Gid::from_raw(0))).map_err(writing())?;
        fchmod(&fd, Mode::from_bits_truncate(mode & 0o7777)).map_err(writing())?;
        self.label(&fd, path);
        let mut file = File::from(fd);
        let done = std::io::copy(from, &mut file).and_then(|_| file.flush()).and_then(|()| file.sync_all());
        done.map_err(Error::io(format!("writing {} of the new system", path.display())))?;
        renameat(&parent, TEMPORARY, &parent, name).map_err(writing())
    }

    /// Makes a symbolic link to `to`; what was there is replaced, unless it is a folder.
    pub fn link(&self, path: &str, to: &str) -> Result<(), Error> {
        let path = Path::new(path);
        let (parent, name) = self.parent(path)?;
        let _ = unlinkat(&parent, TEMPORARY, UnlinkatFlags::NoRemoveDir);
        symlinkat(to, &parent, TEMPORARY).map_err(failed("linking", path))?;
        renameat(&parent, TEMPORARY, &parent, name).map_err(failed("linking", path))
    }

    /// Removes a regular file, if there is one.
    pub fn remove(&self, path: &str) {
        let path = Path::new(path);
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return };
        let Ok(parent) = self.at(parent, OFlag::O_RDONLY | OFlag::O_DIRECTORY) else { return };
        let is_file = |stat: &FileStat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        if fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| is_file(&stat)) {
            let _ = unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Sets a folder's mode.
    pub fn set_mode(&self, path: &str, mode: u32) -> Result<(), Error> {
        let path = Path::new(path);
        let fd = self.folder(path, mode)?;
        fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(failed("changing", path))
    }

    /// Labels for `SELinux`, when the system uses it: without, its policy would keep sshd from the keys. Best effort.
    fn label(&self, fd: &OwnedFd, path: &Path) {
        let text = path.to_string_lossy();
        let kind = LABELS.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, kind)| *kind);
        let Some(kind) = kind.filter(|_| self.selinux) else { return };
        let value = format!("system_u:object_r:{kind}:s0\0");
        #[expect(unsafe_code, reason = "name and value are read during the call only")]
        unsafe {
            let name = c"security.selinux".as_ptr();
            nix::libc::fsetxattr(fd.as_raw_fd(), name, value.as_ptr().cast(), value.len(), 0);
        }
    }
}

fn failed(what: &str, path: &Path) -> impl FnOnce(Errno) -> Error + use<> {
    let what = format!("{what} {} of the new system", path.display());
    move |error| Error::io(what)(error.into())
}
