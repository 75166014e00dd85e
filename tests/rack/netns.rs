//! The rack: a network namespace with a bridge, in which the program under test runs.

use super::error::{IoContext, RackError, Result};
use super::guardian::Guardian;
use super::host::{Host, HostSpec};
use super::machine::Machine;
use super::machine_spec::MachineSpec;
use super::process::{Process, run, run_words};
use super::sweep::{etc_folder, remove_namespace, sweep};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The bridge that every rack has.
pub const BRIDGE: &str = "br0";

/// Address and prefix length of [`BRIDGE`] unless chosen otherwise.
pub const ADDRESS: &str = "10.77.0.1/24";

/// A rack. It is removed, with everything that runs in it, when it and all its hosts and machines are dropped.
#[derive(Debug)]
pub struct Rack {
    inner: Arc<Inner>,
}

/// What hosts and machines share with their rack.
#[derive(Debug)]
pub(super) struct Inner {
    pub namespace: Namespace,
    pub dir: PathBuf,
    _guardian: Guardian,
    address: Ipv4Addr,
    prefix: u8,
    ports: AtomicU32,
}

impl Rack {
    /// A rack with [`BRIDGE`] at [`ADDRESS`]. `name` tells racks of one test program apart.
    pub fn new(name: &str) -> Result<Rack> {
        Rack::with_address(name, ADDRESS)
    }

    /// A rack whose bridge has another address, as `10.1.2.3/24`.
    pub fn with_address(name: &str, address: &str) -> Result<Rack> {
        sweep();
        let (ip, prefix) = parse_cidr(address)?;
        let namespace = Namespace::new(&format!("fl-{}-{name}", std::process::id()))?;
        let prefix_of_dir = format!("{}-", namespace.name);
        let dir = tempfile::Builder::new().prefix(&prefix_of_dir).tempdir();
        let dir = dir.while_doing(|| "make a temporary folder".into())?.keep(); // the guardian removes it
        let guardian = Guardian::new(&namespace.name, &dir)?;
        let inner =
            Inner { namespace, dir, _guardian: guardian, address: ip, prefix, ports: AtomicU32::new(0) };
        let rack = Rack { inner: Arc::new(inner) };
        rack.extra_bridge(BRIDGE, address)?;
        Ok(rack)
    }

    /// Name of the network namespace.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace.name
    }

    /// A folder for the test's files: removed with the rack, kept when `FIRSTLIGHT_RACK_KEEP` is set.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Address of [`BRIDGE`].
    pub fn address(&self) -> Ipv4Addr {
        self.inner.address
    }

    /// A second segment, not connected to the first one. Names: at most 15 letters and digits.
    pub fn extra_bridge(&self, bridge: &str, address: &str) -> Result<()> {
        parse_cidr(address)?;
        // Forwarding starts at once: no spanning tree. All multicast goes everywhere: no snooping, which would
        // need a querier. A fixed MAC: else the bridge takes that of its lowest port, and changes it with them.
        let mac = mac_from_name(&format!("{} {bridge}", self.namespace()));
        self.ip(&format!(
            "link add {bridge} address {mac} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ))?;
        self.ip(&format!("addr add {address} dev {bridge}"))?;
        self.ip(&format!("link set {bridge} up"))
    }

    /// Adds an address (IPv4 or IPv6, with prefix length) to a bridge; usable at once.
    pub fn add_address(&self, bridge: &str, address: &str) -> Result<()> {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("addr add {address} dev {bridge}{nodad}"))
    }

    /// Runs `ip` on the rack's namespace, for what this interface lacks.
    pub fn ip(&self, words: &str) -> Result<()> {
        self.inner.namespace.ip(words)
    }

    /// A command that runs in the rack's namespace and is killed when the thread that starts it ends; prefer
    /// [`Rack::spawn_logged`], which starts it from a thread that lasts.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.inner.namespace.enter();
        command.arg(program);
        command
    }

    /// Starts a command with its output added to `log`, a path in or out of [`Rack::dir`]; it ends when the result is
    /// dropped.
    pub fn spawn_logged(&self, command: Command, log: impl AsRef<Path>) -> Result<Process> {
        Process::spawn_logged(command, &self.inner.dir.join(log))
    }

    /// A host with a static address: the subnet's highest free ones, in the order of calls.
    pub fn host(&self, name: &str) -> Result<Host> {
        let nth = self.inner.next_port();
        let mask = u32::MAX.checked_shl(32 - u32::from(self.inner.prefix)).unwrap_or(0);
        let address = Ipv4Addr::from((u32::from(self.inner.address) | !mask).wrapping_sub(1 + nth));
        let address = format!("{address}/{}", self.inner.prefix);
        Host::new(&self.inner, nth, name, HostSpec { address: Some(address), ..HostSpec::default() })
    }

    /// A host without an address, for a DHCP client.
    pub fn host_raw(&self, name: &str) -> Result<Host> {
        self.host_with(name, HostSpec::default())
    }

    /// A host as specified.
    pub fn host_with(&self, name: &str, spec: HostSpec) -> Result<Host> {
        Host::new(&self.inner, self.inner.next_port(), name, spec)
    }

    /// A machine, powered off.
    pub fn machine(&self, spec: MachineSpec) -> Result<Machine> {
        Machine::new(&self.inner, spec)
    }
}

impl Inner {
    /// Numbers for ports of bridges, each given once.
    pub fn next_port(&self) -> u32 {
        self.ports.fetch_add(1, Ordering::Relaxed)
    }

    /// Joins an interface of the rack's namespace to a bridge.
    pub fn plug(&self, port: &str, bridge: &str) -> Result<()> {
        self.namespace.ip(&format!("link set {port} addrgenmode none"))?;
        self.namespace.ip(&format!("link set {port} master {bridge} up"))
    }
}

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(name: &str) -> Result<Namespace> {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.chars().all(fine) {
            let why = "only letters, digits and - _ . are allowed";
            return Err(RackError::Invalid { what: "name", value: name.to_owned(), why });
        }
        run_words("ip", &format!("netns add {name}"))?;
        let namespace = Namespace { name: name.to_owned() }; // from here on removed on any error
        let etc = etc_folder(name);
        fs::create_dir_all(&etc).while_doing(|| format!("make {}", etc.display()))?;
        // `ip netns exec` puts this over /etc/resolv.conf, so that no client changes the one of this computer.
        fs::write(etc.join("resolv.conf"), "").while_doing(|| format!("write {}", etc.display()))?;
        namespace.ip("link set lo up")?;
        // IPv6 addresses are usable at once; the first router solicitation is not delayed.
        let mut settings = namespace.enter();
        settings.args([
            "sh",
            "-c",
            "cd /proc/sys/net/ipv6/conf; for i in all default; do echo 0 >$i/accept_dad; \
             echo 0 >$i/dad_transmits; echo 0 >$i/router_solicitation_delay; done",
        ]);
        run(settings)?;
        Ok(namespace)
    }

    /// Runs `ip` on this namespace.
    pub fn ip(&self, words: &str) -> Result<()> {
        run_words("ip", &format!("-n {} {words}", self.name)).map(drop)
    }

    /// The start of a command that runs here and dies with the thread that starts it.
    pub fn enter(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "setpriv", "--pdeathsig", "KILL", "--"]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove_namespace(&self.name);
    }
}

/// `10.77.0.1/24` in parts.
fn parse_cidr(cidr: &str) -> Result<(Ipv4Addr, u8)> {
    let parts = cidr.split_once('/').and_then(|(ip, prefix)| Some((ip.parse().ok()?, prefix.parse().ok()?)));
    parts.filter(|(_, prefix)| (1..=30).contains(prefix)).ok_or_else(|| RackError::Invalid {
        what: "address",
        value: cidr.to_owned(),
        why: "wanted is IPv4 with a prefix length, as 10.77.0.1/24",
    })
}

/// A stable MAC address for a name, in QEMU's range 52:54:00.
pub(super) fn mac_from_name(name: &str) -> String {
    let [a, b, c, ..] = fnv1a(name).to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

/// FNV-1a, 64 bit: the same in every run, unlike the standard library's hasher.
pub(super) fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
