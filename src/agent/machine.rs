//! The machine that the agent runs on: its boot, its kernel, its clock, and restarting it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::AgentError;
use crate::model::{OsRelease, Timestamp};

/// A clock that is off by less is left alone.
const CLOCK_OFF: Duration = Duration::from_secs(2);

/// The kernel's random id of this boot.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The kernel's release.
pub fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The operating system.
pub fn os_release() -> Option<OsRelease> {
    let read = |path| std::fs::read_to_string(path).ok();
    OsRelease::parse(&read("/etc/os-release").or_else(|| read("/usr/lib/os-release"))?)
}

/// The host's name.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The clock.
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Sets a clock that is off.
pub fn set_clock(time: Timestamp) {
    let now = clock();
    if time.since(now).max(now.since(time)) < CLOCK_OFF {
        return;
    }
    let seconds = i64::try_from(time.0 / 1000).unwrap_or(i64::MAX);
    if let Err(error) = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)) {
        tracing::warn!(%error, "the clock was not set");
    }
}

/// Restarts the machine at once; what was written is on the disks.
///
/// # Errors
/// When the kernel refuses.
pub fn restart() -> Result<(), AgentError> {
    nix::unistd::sync();
    match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => Err(AgentError::machine("restart", error)),
    }
}
