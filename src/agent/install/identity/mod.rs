//! Makes a freshly written system a certain node: name, address, keys, agent.
//!
//! Reading order: [`tree`] (how it is safe), [`network`], then this.

pub mod network;
pub mod tree;

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

pub use network::Network;
use tree::Tree;

use super::Error;

const AGENT: &str = "/usr/local/bin/firstlight";
const UNIT: &str = "firstlight-agent.service";
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// What cloud-init is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudInit {
    /// The user data, as the administrator wrote it.
    pub user_data: String,
}

/// Who a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its name, without its domain.
    pub hostname: String,
    /// Its domain; empty for none.
    pub domain: String,
    /// A fixed address; DHCP, or what the image does, without.
    pub network: Option<Network>,
    /// Who may log in as root.
    pub ssh_authorized_keys: Vec<String>,
    /// Further files of root's: absolute path, mode, content.
    pub files: Vec<(PathBuf, u32, Vec<u8>)>,
    /// For cloud-init, where the image has it.
    pub cloud_init: Option<CloudInit>,
    /// The program that becomes the agent.
    pub agent_binary: Option<PathBuf>,
    /// The agent's systemd unit.
    pub agent_unit: Option<String>,
}

/// Writes `identity` into the system at `root`. Returns what was done, in words for the log.
pub fn write(root: &Path, identity: &Identity) -> Result<Vec<String>, Error> {
    check(identity)?;
    let tree = Tree::open(root)?;
    if !tree.exists("/etc") {
        return Err(Error::Identity("there is no /etc on its root: name the root partition's number".into()));
    }
    let mut done = Vec::new();
    tree.write("/etc/hostname", 0o644, format!("{}\n", identity.hostname).as_bytes())?;
    tree.write("/etc/hosts", 0o644, hosts(&tree, identity)?.as_bytes())?;
    // machine-id(5): an empty file is filled at boot. A missing one would also mean "first boot", whose presets may
    // switch the agent off again.
    tree.write("/etc/machine-id", 0o444, b"")?;
    tree.remove("/var/lib/dbus/machine-id");
    done.push(format!("it is {}", identity.hostname));
    if !identity.ssh_authorized_keys.is_empty() {
        tree.set_mode("/root/.ssh", 0o700)?;
        let keys = identity.ssh_authorized_keys.join("\n") + "\n";
        tree.write("/root/.ssh/authorized_keys", 0o600, keys.as_bytes())?;
        done.push(format!("{} keys may log in as root", identity.ssh_authorized_keys.len()));
    }
    if tree.any(&["/usr/bin/cloud-init", "/etc/cloud/cloud.cfg"]) {
        seed(&tree, identity)?;
        done.push("cloud-init has its seed".into());
    } else if let Some(network) = &identity.network {
        let by = network::write(&tree, network, &identity.domain)?;
        done.push(format!("{} by {by}", network.address));
    }
    if let Some(binary) = &identity.agent_binary {
        let mut file = File::open(binary).map_err(Error::io(format!("opening {}", binary.display())))?;
        tree.write_from(Path::new(AGENT), 0o755, &mut file)?;
        done.push("the agent is in place".into());
    }
    if let Some(unit) = &identity.agent_unit {
        tree.write(format!("/etc/systemd/system/{UNIT}"), 0o644, unit.as_bytes())?;
        let wants = format!("/etc/systemd/system/multi-user.target.wants/{UNIT}");
        tree.link(&wants, &format!("/etc/systemd/system/{UNIT}"))?;
    }
    for (path, mode, bytes) in &identity.files {
        tree.write(path, *mode, bytes)?;
    }
    Ok(done)
}

fn check(identity: &Identity) -> Result<(), Error> {
    let label = |text: &str| {
        (1..=63).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    if !label(&identity.hostname) {
        return Err(Error::Identity(format!("{:?} is no host name (RFC 1123)", identity.hostname)));
    }
    let domain = &identity.domain;
    if !domain.is_empty() && (domain.len() > 253 || !domain.split('.').all(label)) {
        return Err(Error::Identity(format!("{:?} is no domain", identity.domain)));
    }
    if let Some(key) = identity.ssh_authorized_keys.iter().find(|key| key.chars().any(char::is_control)) {
        return Err(Error::Identity(format!("an SSH key is one line, {key:?} is not")));
    }
    Ok(())
}

/// The image's /etc/hosts with this node's line, and without an earlier one.
fn hosts(tree: &Tree, identity: &Identity) -> Result<String, Error> {
    let old =
        tree.read("/etc/hosts", 1 << 20)?.unwrap_or_else(|| b"127.0.0.1 localhost\n::1 localhost\n".to_vec());
    let names = match identity.domain.as_str() {
        "" => identity.hostname.clone(),
        domain => format!("{}.{domain} {}", identity.hostname, identity.hostname),
    };
    // Debian's way, which lets a host name resolve without a network.
    let address = identity.network.as_ref().map_or("127.0.1.1".into(), |network| network.address.to_string());
    let ours = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let first = words.next();
        first == Some("127.0.1.1")
            || first == Some(address.as_str())
            || words.any(|name| name == identity.hostname)
    };
    let mut text = String::new();
    for line in String::from_utf8_lossy(&old).lines().filter(|line| !ours(line)) {
        text.push_str(line);
        text.push('\n');
    }
    let _ = writeln!(text, "{address} {names}");
    Ok(text)
}

/// cloud-init's `NoCloud` seed: it takes name and network from there and asks no cloud.
fn seed(tree: &Tree, identity: &Identity) -> Result<(), Error> {
    let Identity { hostname, domain, .. } = identity;
    let mut meta = format!("instance-id: firstlight-{hostname}\nlocal-hostname: {hostname}\n");
    if !domain.is_empty() {
        meta = format!("instance-id: firstlight-{hostname}\nlocal-hostname: {hostname}.{domain}\n");
    }
    let user =
        identity.cloud_init.as_ref().map_or_else(|| user_data(identity), |given| given.user_data.clone());
    tree.write(format!("{SEED}/meta-data"), 0o600, meta.as_bytes())?;
    tree.write(format!("{SEED}/user-data"), 0o600, user.as_bytes())?;
    if let Some(network) = &identity.network {
        tree.write(format!("{SEED}/network-config"), 0o600, network.netplan(domain).as_bytes())?;
    }
    let sources = b"datasource_list: [NoCloud, None]\n";
    tree.write("/etc/cloud/cloud.cfg.d/99-firstlight.cfg", 0o644, sources)
}

/// User data for when the administrator gives none: the keys also for the image's own user.
fn user_data(identity: &Identity) -> String {
    let mut text = "#cloud-config\ndisable_root: false\n".to_owned();
    if !identity.ssh_authorized_keys.is_empty() {
        text.push_str("ssh_authorized_keys:\n");
    }
    for key in &identity.ssh_authorized_keys {
        // In a YAML string of single quotes only these are special.
        let _ = writeln!(text, "  - '{}'", key.replace('\'', "''"));
    }
    text
}
