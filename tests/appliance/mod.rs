//! The real `firstlight` binary on a rack: its configuration, its process, and its own CLI to talk to it.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::rack::{Host, Process, Rack};

/// How long a service may take to start or stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The network that [`Rack::new`] makes, and a pool in it.
pub const NETWORK: &str = r#"
[[network]]
interface = "br0"
subnet = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.200"]
gateway = "10.77.0.1"
dns = ["10.77.0.1"]
lease = "12h"
"#;

/// An appliance; it is killed when dropped, its files go with the rack.
pub struct Appliance<'r> {
    rack: &'r Rack,
    binary: PathBuf,
    dir: PathBuf,
    process: Option<Process>,
}

impl<'r> Appliance<'r> {
    /// Writes a configuration with `tables` after the paths, and starts `firstlight serve` on it.
    pub fn start(rack: &'r Rack, binary: &Path, tables: &str) -> Self {
        let mut appliance = Self::configure(rack, binary, tables);
        appliance.power_on();
        appliance
    }

    /// Writes a configuration; starts nothing.
    pub fn configure(rack: &'r Rack, binary: &Path, tables: &str) -> Self {
        let dir = rack.dir().join("appliance");
        std::fs::create_dir_all(&dir).expect("make the appliance's folder");
        let config = format!(
            "state_dir = \"{0}/state\"\nsocket = \"{0}/api.sock\"\noverrides = \"{0}/overrides\"\ndomain = \"mgmt.example\"\n{tables}\n[log]\nlevel = \"{1}\"\n",
            dir.display(),
            if cfg!(test) { "debug" } else { "info" },
        );
        std::fs::write(dir.join("firstlight.toml"), config).expect("write the configuration");
        Self { rack, binary: binary.to_owned(), dir, process: None }
    }

    /// Starts the process and waits until it serves.
    pub fn power_on(&mut self) {
        let mut command = self.rack.command(&self.binary);
        command.arg("serve").arg("--config").arg(self.dir.join("firstlight.toml"));
        let process = self.rack.spawn_logged(command, self.log_path()).expect("start the appliance");
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while !self.cli(&["status"]).status.success() {
            let ended = self.process.as_mut().and_then(|process| process.status().ok().flatten());
            assert!(ended.is_none(), "the appliance ended ({ended:?}):\n{}", self.log());
            assert!(Instant::now() < deadline, "the appliance does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as a crash would: no signal handler runs.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill().expect("kill -9");
    }

    /// Asks it to stop, and waits; panics unless it ends by itself with success.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(Signal::SIGTERM).expect("send SIGTERM");
        let status = process.wait(PATIENCE).expect("it stops");
        assert!(status.success(), "stopped with {status}:\n{}", self.log());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// Its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("serve.log")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A CLI command that talks to it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--server").arg(format!("unix:{}", self.dir.join("api.sock").display()));
        command.args(arguments);
        command
    }

    /// Runs a CLI command.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("run the CLI")
    }

    /// Runs a CLI command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "firstlight {}: {}\n{err}{out}", arguments.join(" "), output.status);
        out.into_owned()
    }

    /// Runs a CLI command that must be refused; the line on standard error.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "firstlight {}: {err}", arguments.join(" "));
        err
    }

    /// Runs a list or show command with `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}:\n{text}", arguments.join(" ")))
    }

    /// A node by any of its names; `None` while it is unknown.
    pub fn node(&self, name: &str) -> Option<Value> {
        let nodes = self.json(&["node", "list"]);
        let named = |node: &&Value| node["name"] == name || node["macs"][0] == name;
        nodes.as_array().expect("a list of nodes").iter().find(named).cloned()
    }

    /// Makes a node of this name known: a host of the same name takes an address.
    pub fn meet(&self, name: &str) -> Host {
        let host = self.rack.host_raw(name).expect("a host");
        let mut udhcpc = host.command("udhcpc");
        udhcpc.args(["-f", "-n", "-q", "-i", "eth0", "-s", "/etc/udhcpc/default.script"]);
        assert!(udhcpc.output().expect("run udhcpc").status.success(), "a node needs an address to be known");
        self.ok(&["node", "set", host.mac(), "--name", name]);
        host
    }

    /// Waits until the node at `mac` is in `state`; the node.
    pub fn wait_state(&self, mac: &str, state: &str, limit: Duration) -> Value {
        self.wait(&format!("node {mac} to be {state}"), limit, || {
            self.node(mac).filter(|node| node["state"] == state)
        })
    }

    /// Waits until `probe` finds something.
    pub fn wait<T>(&self, what: &str, limit: Duration, probe: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = probe() {
                return found;
            }
            if Instant::now() > deadline {
                let (nodes, events) =
                    (self.ok(&["node", "list"]), self.ok(&["event", "list", "--limit", "40"]));
                panic!(
                    "waited {} s for {what}\n{nodes}\n{events}\n{}",
                    limit.as_secs(),
                    tail(&self.log(), 40)
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The node's timeline.
    pub fn timeline(&self, node: &str) -> Vec<Value> {
        self.json(&["node", "timeline", node]).as_array().expect("a list of events").clone()
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
