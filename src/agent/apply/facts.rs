//! What the file system says of a path, and what is put there.

use nix::sys::stat::{FileStat, SFlag};
use serde::{Deserialize, Serialize};

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A folder.
    Folder,
    /// A device, socket or pipe.
    Other,
}

/// What the file system says of a path; equal facts mean an untouched file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: i64,
    /// Last change of the content: seconds and nanoseconds since 1970.
    pub mtime: (i64, i64),
    /// Last change of content, mode or owner.
    pub ctime: (i64, i64),
    /// Permission bits.
    pub mode: u32,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

impl From<FileStat> for Facts {
    fn from(stat: FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFLNK => Kind::Link,
            SFlag::S_IFDIR => Kind::Folder,
            _ => Kind::Other,
        };
        Self {
            kind,
            inode: stat.st_ino,
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        }
    }
}

/// What is put at a path.
#[derive(Debug, Clone, Copy)]
pub enum New<'a> {
    /// A regular file with these bytes and permission bits.
    File(&'a [u8], u32),
    /// A symbolic link to there.
    Link(&'a str),
}
