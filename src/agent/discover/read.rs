//! Bounded reads of the small files that sysfs and procfs are made of. What cannot be read is absent.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// Longer than any text attribute of sysfs.
const TEXT: u64 = 4096;

/// The file's first `max` bytes.
pub(super) fn bytes(path: &Path, max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes));
    match read {
        Ok(_) => Some(bytes),
        Err(error) => {
            unread(path, &error);
            None
        }
    }
}

/// Much of what is looked for is only there on some machines: that is worth less than a failure.
fn unread(path: &Path, error: &io::Error) {
    if error.kind() == io::ErrorKind::NotFound {
        tracing::trace!(path = %path.display(), "not there");
    } else {
        tracing::debug!(path = %path.display(), %error, "not read");
    }
}

/// The file's text without the blanks around it; `None` when it cannot be read or is empty.
pub(super) fn text(path: &Path) -> Option<String> {
    let bytes = bytes(path, TEXT)?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The number that the file holds.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.parse().ok()
}

/// Whether the file holds `1`.
pub(super) fn flag(path: &Path) -> bool {
    text(path).as_deref() == Some("1")
}

/// The names in a folder, `max` at most, in order: digits compare as numbers ("eth2" before "eth10").
pub(super) fn names(folder: &Path, max: usize) -> Vec<String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            unread(folder, &error);
            return Vec::new();
        }
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(max)
        .collect();
    names.sort_by_key(|name| {
        (name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), name.len(), name.clone())
    });
    names
}

/// The last part of where a symbolic link points; the name of a driver, mostly.
pub(super) fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The first `N` bytes at `offset`.
pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}
