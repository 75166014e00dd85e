//! The output of jobs: one file each, bounded one by one and all together.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Longest output of one job, bytes.
const LOG_BYTES: u64 = 8 << 20;
/// Longest output of all jobs that is kept, bytes; that of the oldest goes first.
const ALL_BYTES: u64 = 1 << 30;
/// Longest line, characters.
pub const LINE: usize = 2_000;
/// Lines that are taken at once.
const LINES: usize = 2_000;
/// Bytes of output that one answer holds.
const PIECE: u64 = 1 << 20;

/// The folder of outputs.
#[derive(Debug)]
pub struct Logs {
    folder: PathBuf,
    most: u64,
    /// Bytes of all of them, once they were counted.
    total: Mutex<Option<u64>>,
}

impl Logs {
    /// In this folder, which is made when it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, most: ALL_BYTES, total: Mutex::default() }
    }

    fn path(&self, job: u64) -> PathBuf {
        self.folder.join(format!("{job}.log"))
    }

    /// Whole lines of a job's output from `offset` on, and where the next begin.
    pub fn read(&self, job: u64, offset: u64) -> Result<(String, u64)> {
        let mut bytes = Vec::new();
        let mut offset = offset;
        match File::open(self.path(job)) {
            Ok(mut file) => {
                offset = offset.min(file.metadata()?.len());
                file.seek(SeekFrom::Start(offset))?;
                file.take(PIECE).read_to_end(&mut bytes)?;
            }
            // It said nothing so far, or that is kept no more.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Not in the middle of a line, so not in the middle of a character.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        let next = offset.saturating_add(u64::try_from(whole).unwrap_or(u64::MAX));
        Ok((String::from_utf8_lossy(&bytes).into_owned(), next))
    }

    /// Adds lines to a job's output, as far as there is room.
    pub fn append(&self, job: u64, lines: &[String]) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = File::options().create(true).append(true).open(self.path(job))?;
        let mut room = LOG_BYTES.saturating_sub(file.metadata()?.len());
        let mut text = String::new();
        for line in lines.iter().take(LINES) {
            let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').take(LINE).collect();
            let length = u64::try_from(line.len()).unwrap_or(u64::MAX).saturating_add(1);
            if length > room {
                break;
            }
            room -= length;
            text.push_str(&line);
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        self.make_room(job, u64::try_from(text.len()).unwrap_or(u64::MAX))
    }

    /// Takes the output of a job away.
    pub fn remove(&self, job: u64) {
        // One that stays costs a file; the count is put right by the next one.
        let _ = std::fs::remove_file(self.path(job));
    }

    /// Takes the oldest outputs away when all together are too long. Looks at the folder only then.
    fn make_room(&self, current: u64, more: u64) -> Result<()> {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *total {
            *known = known.saturating_add(more);
            if *known <= self.most {
                return Ok(());
            }
        }
        let mut found = sizes(&self.folder)?;
        found.sort_unstable();
        let mut sum = found.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        // Somewhat more than needed, so that it is not done for each line.
        let enough = self.most - self.most / 8;
        for (job, size) in found.into_iter().filter(|_| sum > self.most).collect::<Vec<_>>() {
            if sum <= enough {
                break;
            }
            if job != current && std::fs::remove_file(self.path(job)).is_ok() {
                sum = sum.saturating_sub(size);
            }
        }
        *total = Some(sum);
        Ok(())
    }
}

/// Jobs that have output, and its length.
fn sizes(folder: &Path) -> Result<Vec<(u64, u64)>> {
    let entries = std::fs::read_dir(folder)?.flatten();
    let size = |entry: std::fs::DirEntry| {
        let job = entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()?;
        Some((job, entry.metadata().ok()?.len()))
    };
    Ok(entries.filter_map(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_output_goes_when_all_together_are_too_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = Logs { most: 4_000, ..Logs::new(folder.path().join("jobs")) };
        let lines: Vec<String> = (0..10).map(|_| "x".repeat(99)).collect();
        for job in 1..=9 {
            logs.append(job, &lines).expect("room");
        }
        let mut left: Vec<u64> =
            sizes(&folder.path().join("jobs")).expect("sizes").iter().map(|one| one.0).collect();
        left.sort_unstable();
        assert!(left.len() <= 4 && left.last() == Some(&9), "{left:?}");
        assert_eq!(logs.read(1, 0).expect("none"), (String::new(), 0), "gone, and no error");
        let (text, next) = logs.read(9, 0).expect("it");
        assert_eq!((text.len(), next), (1000, 1000));
        assert_eq!(logs.read(9, u64::MAX).expect("the end"), (String::new(), 1000));
    }

    #[test]
    fn a_piece_ends_with_a_line_and_a_line_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let logs = Logs::new(folder.path().to_owned());
        logs.append(1, &["ä".repeat(5_000), "\u{1b}[31mred\tx".into()]).expect("room");
        let (text, next) = logs.read(1, 0).expect("it");
        assert_eq!(text, format!("{}\n[31mred\tx\n", "ä".repeat(LINE)));
        std::fs::write(folder.path().join("1.log"), format!("{text}half")).expect("write");
        assert_eq!(logs.read(1, 0).expect("it"), (text, next), "not the half line");
    }
}
