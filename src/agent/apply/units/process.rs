//! Processes of the supervisor: started, found again, and ended.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::super::error::{Error, Result};
use super::super::process::TOLD;

/// Marks the processes of a unit, in their environment: what a control group is to systemd.
pub(super) const MARK: &str = "FIRSTLIGHT_UNIT";
/// A unit's log begins anew beyond so many bytes.
const LOG: u64 = 1 << 20;
/// How long a process has to end when asked to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it did.
const LOOK: Duration = Duration::from_millis(20);

/// When a process started, in clock ticks since boot (proc(5), `stat`, field 22): with its id it is unique. None: it is gone.
pub(super) fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes that carry the mark.
pub(super) fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
            && started(*pid).is_some()
    })
    .collect()
}

/// Ends all processes that carry the mark; `child` is reaped when it is ours.
pub(super) fn end(mark: &str, mut child: Option<&mut Child>) -> Result<()> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        if let Some(child) = child.as_deref_mut() {
            let _ended = child.try_wait();
        }
        let left = marked(mark);
        if left.is_empty() {
            return Ok(());
        }
        let late = begun.elapsed() > PATIENCE;
        if late || !told {
            told = true;
            let signal = if late { Signal::SIGKILL } else { Signal::SIGTERM };
            for pid in left.iter().map(|pid| Pid::from_raw(*pid)) {
                let _no_leader = killpg(pid, signal);
                let _gone = kill(pid, signal);
            }
        }
        if begun.elapsed() > PATIENCE * 2 {
            return Err(Error::Plain(format!(
                "process {left:?} does not end, not even when killed; restart the host"
            )));
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets `command` write to the log at `path`.
pub(super) fn logged(command: &mut Command, path: &Path) -> Result<()> {
    let said = path.display().to_string();
    let large = std::fs::metadata(path).is_ok_and(|about| about.len() > LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    if large {
        let _gone = std::fs::remove_file(path);
    }
    let log = options.open(path).map_err(Error::file(&said, "open the unit's log"))?;
    command.stdout(log.try_clone().map_err(Error::file(&said, "open the unit's log"))?).stderr(log);
    Ok(())
}

/// The last lines of a log.
pub(super) fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut log = File::open(path)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(8192)))?;
        let mut text = Vec::new();
        log.take(8192).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(TOLD)).map(|line| (*line).to_owned()).collect()
}

/// Waits for a command that was started; none when it took longer than `limit` (then it was ended).
pub(super) fn wait(child: &mut Child, limit: Duration) -> Option<bool> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(LOOK),
            _ => {
                let _gone = i32::try_from(child.id()).map(|pid| killpg(Pid::from_raw(pid), Signal::SIGKILL));
                let _reaped = child.wait();
                return None;
            }
        }
    }
}
