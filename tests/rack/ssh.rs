//! The OpenSSH client, as an administrator in the rack would use it.

use super::netns::Rack;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Makes a key pair in `dir`; the private key. Its public key has the ending `pub`.
pub fn key_pair(dir: &Path, name: &str) -> PathBuf {
    let key = dir.join(name);
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f"]).arg(&key);
    assert!(keygen.status().expect("run ssh-keygen").success(), "a key pair");
    key
}

/// `ssh` to root at `address`, with this key and no other.
pub fn ssh(rack: &Rack, key: &Path, address: &str, command: &str) -> Command {
    let mut ssh = rack.command("ssh");
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        // An emulated server that works takes its time.
        "ConnectTimeout=60",
    ] {
        ssh.args(["-o", option]);
    }
    ssh.args(["-l", "root", "-i"]).arg(key).arg(address).arg(command);
    ssh
}

/// Waits until root can log in.
pub fn wait_for_ssh(rack: &Rack, key: &Path, address: &str, limit: Duration) {
    let deadline = Instant::now() + limit;
    while !ssh(rack, key, address, "true").output().expect("run ssh").status.success() {
        assert!(Instant::now() < deadline, "no SSH at {address}");
        std::thread::sleep(Duration::from_secs(1));
    }
}
