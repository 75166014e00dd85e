//! A host: a namespace of its own with one network card, plugged into a bridge of the rack. For DHCP and TFTP clients
//! and anything else that is not a whole machine.

use super::error::{IoContext, Result};
use super::netns::{BRIDGE, Inner, Namespace, mac_from_name};
use super::process::{Process, run};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The card's name within the host.
pub const INTERFACE: &str = "eth0";

/// What a host is to be like.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Card's address; derived from the host's name unless given.
    pub mac: Option<String>,
    /// Bridge to plug into.
    pub bridge: String,
    /// Static address with prefix length.
    pub address: Option<String>,
}

impl Default for HostSpec {
    fn default() -> HostSpec {
        HostSpec { mac: None, bridge: BRIDGE.into(), address: None }
    }
}

/// A host in the rack; removed with everything that runs in it when dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
    mac: String,
    address: Option<String>,
    port: String,
    state: PathBuf,
    namespace: Namespace,
    rack: Arc<Inner>,
}

impl Host {
    pub(super) fn new(rack: &Arc<Inner>, port: u32, name: &str, spec: HostSpec) -> Result<Host> {
        let namespace = Namespace::new(&format!("{}.{name}", rack.namespace.name))?;
        let state = rack.dir.join(format!("host-{name}"));
        fs::create_dir_all(&state).while_doing(|| format!("make {}", state.display()))?;
        let port = format!("h{port}");
        let mac = spec.mac.unwrap_or_else(|| mac_from_name(name));
        rack.namespace.ip(&format!(
            "link add {port} type veth peer name {INTERFACE} address {mac} netns {}",
            namespace.name
        ))?;
        rack.plug(&port, &spec.bridge)?;
        namespace.ip(&format!("link set {INTERFACE} up"))?;
        if let Some(address) = &spec.address {
            namespace.ip(&format!("addr add {address} dev {INTERFACE}"))?;
        }
        let rack = Arc::clone(rack);
        Ok(Host { name: name.into(), mac, address: spec.address, port, state, namespace, rack })
    }

    /// Name of the network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// The card's address.
    pub fn mac(&self) -> &str {
        &self.mac
    }

    /// The static address with prefix length, if it was given one.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// A folder for the host's files, removed with the rack. What its commands write to `/run`, `/var/lib/dhcp` and
    /// `/var/lib/dhcpcd` lands here.
    pub fn dir(&self) -> &Path {
        &self.state
    }

    /// A command that runs on this host: own network, host name, `/run`, `/etc/resolv.conf` and DHCP client state,
    /// else the files of this computer. It is killed when the thread that starts it ends; see [`Host::spawn_logged`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        const PRIVATE: &str = r#"
            name=$1 state=$2; shift 2
            hostname "$name"
            for folder in /run /var/lib/dhcp /var/lib/dhcpcd; do
                if [ -d "$folder" ]; then
                    mkdir -p "$state$folder" && mount --bind "$state$folder" "$folder" || exit 125
                fi
            done
            exec "$@""#;
        let mut command = self.namespace.enter();
        // The mounts are seen by this command alone: `ip netns exec` gives each its own mount namespace.
        command
            .args(["unshare", "--uts", "sh", "-c", PRIVATE, "sh", &self.name])
            .arg(&self.state)
            .arg(program);
        command
    }

    /// Runs a short program to its end; its standard output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        command.args(arguments);
        run(command)
    }

    /// Starts a command with its output added to `log`, a path in or out of [`Host::dir`]; it ends when the result is
    /// dropped.
    pub fn spawn_logged(&self, command: Command, log: impl AsRef<Path>) -> Result<Process> {
        Process::spawn_logged(command, &self.state.join(log))
    }

    /// Moves the cable to another bridge. The card sees its link go down and up, as with a real one.
    pub fn replug(&self, bridge: &str) -> Result<()> {
        self.set_link(false)?;
        self.rack.namespace.ip(&format!("link set {} nomaster", self.port))?;
        self.rack.plug(&self.port, bridge)
    }

    /// Pulls the cable, or puts it back.
    pub fn set_link(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.rack.namespace.ip(&format!("link set {} {state}", self.port))
    }

    /// IPv4 addresses that the card has now, with prefix length.
    pub fn ipv4_addresses(&self) -> Result<Vec<String>> {
        let shown = self.run("ip", &["-4", "-o", "addr", "show", "dev", INTERFACE])?;
        let mut words = shown.split_whitespace();
        let mut found = Vec::new();
        while let Some(word) = words.next() {
            if word == "inet" {
                found.extend(words.next().map(str::to_owned));
            }
        }
        Ok(found)
    }
}
