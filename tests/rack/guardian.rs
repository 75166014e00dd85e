//! Cleans up after a test program that was killed.
//!
//! A destructor does not run on SIGKILL, and the kernel's parent-death signal misses grandchildren and programs that
//! change their credentials (dnsmasq, nginx's workers). So each rack has a small shell beside it that waits for the
//! end of a pipe which only this process holds open.

use super::error::{IoContext, Result};
use super::process::fork_from_lasting_thread;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Kills what runs in the namespace `$1` and in those of its hosts, removes them, then the folder `$2`.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    read -r _
    for path in "/run/netns/$1" "/run/netns/$1".*; do
        [ -e "$path" ] || continue
        namespace=${path##*/}
        for try in 1 2 3 4 5 6 7 8 9 10; do
            pids=$(ip netns pids "$namespace")
            [ -n "$pids" ] || break
            kill -KILL $pids
            sleep 0.05
        done
        ip netns del "$namespace"
        rm -rf "/etc/netns/$namespace"
    done
    [ -n "$FIRSTLIGHT_RACK_KEEP" ] || rm -rf "$2"
"#;

/// The shell beside a rack. Dropping it lets it do its work, and waits for that.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
}

impl Guardian {
    /// Guards a namespace, those whose names continue it after a dot, and a folder.
    pub fn new(namespace: &str, dir: &Path) -> Result<Guardian> {
        let mut command = Command::new("setsid"); // a session of its own: Ctrl-C does not reach it
        command.args(["sh", "-c", SCRIPT, "sh", namespace]).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let child = fork_from_lasting_thread(command).while_doing(|| "start the rack's guardian".into())?;
        Ok(Guardian { child })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        let _ = self.child.wait(); // closes the pipe first
    }
}
