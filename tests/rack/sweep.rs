//! Removal of namespaces: our own at the end, and those that killed test programs left behind.
//!
//! Everything the rack makes outside a namespace carries the name `fl-<pid>-…`, with the process id of the test
//! program that made it: the namespace, its folder in `/etc/netns` and a folder for temporary files. Interfaces live
//! inside the namespaces and go with them.

use super::process::run_words;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAMESPACES: &str = "/run/netns";

/// Folder whose files `ip netns exec` puts over those of `/etc`.
pub fn etc_folder(namespace: &str) -> PathBuf {
    Path::new("/etc/netns").join(namespace)
}

/// Kills what runs in a namespace (only our own children and theirs can) and removes it.
pub fn remove_namespace(name: &str) {
    for _ in 0..100 {
        let pids = pids_in(name);
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            let _ = kill(pid, Signal::SIGKILL); // may have ended meanwhile
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = run_words("ip", &format!("netns del {name}")); // not there: removed already
    let _ = fs::remove_dir_all(etc_folder(name));
}

/// Processes in a namespace, without ourselves; empty when there is no such namespace.
pub fn pids_in(name: &str) -> Vec<Pid> {
    let listed = run_words("ip", &format!("netns pids {name}")).unwrap_or_default();
    let pids = listed.lines().filter_map(|line| line.trim().parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| *pid != Pid::this()).collect()
}

/// Removes what test programs that no longer live have left.
pub fn sweep() {
    for name in stale_names(Path::new(NAMESPACES)) {
        remove_namespace(&name);
    }
    for folder in [Path::new("/etc/netns"), &std::env::temp_dir()] {
        for name in stale_names(folder) {
            let _ = fs::remove_dir_all(folder.join(name)); // another sweep may be at it
        }
    }
}

/// Entries `fl-<pid>-…` of a folder whose process is gone.
fn stale_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())).collect()
}

/// The process that made `fl-<pid>-…`.
pub fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("fl-")?.split_once('-')?.0.parse().ok()
}
