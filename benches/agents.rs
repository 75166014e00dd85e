//! `make bench-agents`: ten thousand agents against one appliance. Each enrols with an invitation of its own, and then gives
//! its signs of life for two heartbeats, over TLS with its own certificate, as the agent of an installed host does. Told
//! are the appliance's share of a processor, its memory, and how long an answer takes. `AGENTS` is how many. Needs root.

#[path = "../tests/appliance/mod.rs"]
mod appliance;
#[path = "../tests/rack/mod.rs"]
mod rack;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use appliance::Appliance;
use firstlight::agent::client::{As, Client};
use firstlight::appliance::{CheckIn, EnrolStep, HEARTBEAT_SECONDS, HostEnrol, Invited, Orders};
use firstlight::boot::Place;
use firstlight::model::inventory::Inventory;
use firstlight::model::{MacAddr, Sha256Digest, Timestamp};
use firstlight::trust::client::{Credentials, request};
use rack::Rack;

const NETWORK: &str = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.80.0.0/16\"\ndhcp = \"off\"\n";
const SERVER: &str = "https://10.80.0.1:8443";
/// Agents that enrol at once.
const AT_ONCE: usize = 32;

fn main() {
    let agents: u32 = std::env::var("AGENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    match std::env::args().nth(1).as_deref() {
        Some("inside") => inside(agents),
        _ => outside(agents),
    }
}

/// Starts the appliance, and the agents in its network namespace.
fn outside(agents: u32) {
    let rack = Rack::with_address("agents", "10.80.0.1/16").expect("a rack");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    // Every address of the network is this host's own, so that each agent speaks from another one.
    rack.ip("route add local 10.80.0.0/16 dev lo").expect("a route");
    let tokens = rack.dir().join("tokens");
    let mut text = String::new();
    for _ in 0..agents {
        let invited: Invited =
            serde_json::from_value(appliance.json(&["node", "invite"])).expect("an invitation");
        text.push_str(&invited.token);
        text.push('\n');
        if text.lines().count().is_multiple_of(1000) {
            eprintln!("{} invitations", text.lines().count());
        }
    }
    std::fs::write(&tokens, text).expect("write the tokens");
    let mut command = rack.command(std::env::current_exe().expect("this program"));
    command.arg("inside").env("AGENTS", agents.to_string());
    command.env("TOKENS", &tokens).env("PID", appliance.pid().to_string());
    assert!(command.status().expect("run the agents").success());
    appliance.stop();
}

#[tokio::main]
async fn inside(agents: u32) {
    let tokens = std::fs::read_to_string(std::env::var("TOKENS").expect("TOKENS")).expect("the tokens");
    let pid: u32 = std::env::var("PID").ok().and_then(|pid| pid.parse().ok()).expect("PID");
    let numbered: Vec<(u32, String)> = (0..agents).zip(tokens.lines().map(str::to_owned)).collect();
    let started = Instant::now();
    let mut clients = Vec::new();
    for chunk in numbered.chunks(AT_ONCE) {
        let enrolling: Vec<_> =
            chunk.iter().cloned().map(|(n, token)| tokio::spawn(enrol(n, token))).collect();
        for one in enrolling {
            clients.push(one.await.expect("an agent"));
        }
    }
    println!("{agents} agents enrolled in {:.1} s", started.elapsed().as_secs_f64());
    let (cpu, started) = (cpu_seconds(pid), Instant::now());
    let period = Duration::from_secs(u64::from(HEARTBEAT_SECONDS));
    let beating: Vec<_> =
        clients.into_iter().map(|(n, client)| tokio::spawn(beat(n, agents, client, period))).collect();
    let mut took = Vec::new();
    for one in beating {
        took.extend(one.await.expect("an agent"));
    }
    let (cpu, elapsed) = (cpu_seconds(pid) - cpu, started.elapsed().as_secs_f64());
    took.sort();
    let at =
        |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1000.0;
    println!(
        "{} signs of life in {elapsed:.0} s: {:.1} % of one processor, {} MiB of memory; answered in {:.1} ms (median), {:.1} ms (99 %)",
        took.len(),
        100.0 * cpu / elapsed,
        memory_mib(pid),
        at(50),
        at(99)
    );
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 80, 1, 0).to_bits() + n)
}

async fn enrol(n: u32, token: String) -> (u32, Client) {
    let (authority, secret) = token.split_once('.').expect("a whole token");
    let authority: Sha256Digest = authority.parse().expect("a digest");
    let client = Client::new(SERVER, authority, As::Token(secret), Timestamp(0)).expect("a client");
    let (key, request) = request().expect("a key");
    let [_, a, b, c] = n.to_be_bytes();
    let mut inventory = Inventory::default();
    inventory.system.serial = format!("SN-{n}");
    let host =
        HostEnrol { request, hostname: format!("host-{n}"), inventory, mac: MacAddr([2, 0, 0, a, b, c]) };
    let step =
        client.speaking_from(address(n)).ask("/agent/v2/enrol-host", &host).await.expect("a certificate");
    let EnrolStep::Certificate { certificate, .. } = step else { panic!("no challenge is asked") };
    let credentials = Credentials { key, certificate };
    let client =
        Client::new(SERVER, authority, As::Certificate(&credentials), Timestamp(0)).expect("a client");
    (n, client.speaking_from(address(n)))
}

/// Two heartbeats, spread over the period as jitter spreads them; how long each took.
async fn beat(n: u32, agents: u32, client: Client, period: Duration) -> Vec<Duration> {
    tokio::time::sleep(period.mul_f64(f64::from(n) / f64::from(agents))).await;
    let mut took = Vec::new();
    for _ in 0..2 {
        let check_in = CheckIn {
            place: Place::Host,
            boot_id: format!("boot-{n}"),
            kernel: "6.1.0".into(),
            os: None,
            phase: "ready".into(),
            message: String::new(),
            progress: None,
            drained: false,
            image: None,
            disk: None,
            bundles: None,
            serf: None,
            evicted: Vec::new(),
        };
        let started = Instant::now();
        let _: Orders = client.ask("/agent/v2/check-in", &check_in).await.expect("an answer");
        took.push(started.elapsed());
        tokio::time::sleep(period.saturating_sub(started.elapsed())).await;
    }
    took
}

/// Seconds of processor that a process has used (proc(5), `stat` fields 14 and 15, in hundredths).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

fn memory_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
