//! The appliance is killed with -9 while `perfdhcp` (of Kea's tools) asks for leases as fast as they come, again and again: every
//! lease that was acknowledged is there afterwards. What was acknowledged is read off the wire with `tcpdump`. `ROUNDS=50` for a
//! long run. Needs root.

mod appliance;
mod rack;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use nix::sys::signal::Signal;
use rack::{Host, Process, Rack};
use serde_json::Value;

/// Exchanges a second that are asked for: more than are answered.
const RATE: &str = "20000";

const NETWORK: &str = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.64.0.0/12\"\nranges = [\"10.64.1.0-10.79.255.0\"]\nprobe = false\n\
                       [enrolment]\nmax_unknown = 10000000\n[dns]\nenabled = false\n";

fn spawn(host: &Host, program: &str, arguments: &[&str], log: &str) -> Process {
    let mut command = host.command(program);
    command.args(arguments);
    host.spawn_logged(command, log).expect("start a program")
}

/// ACKs in a capture: each client's hardware address and the address that it was given.
fn acknowledged(path: &Path) -> BTreeMap<String, Ipv4Addr> {
    let bytes = std::fs::read(path).expect("the capture");
    let mut found = BTreeMap::new();
    // pcap: a header of 24 bytes; before each packet 16, the third field of which is its length (pcap-savefile(5)).
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
        let Some((packet, tail)) = tail.split_at_checked(length) else { break };
        rest = tail;
        // Ethernet 14, IP 20, UDP 8; then BOOTP, whose options begin behind 240 bytes.
        let Some(message) = packet.get(42..).filter(|message| message.len() > 243) else { continue };
        let is_ack = message[0] == 2 && message[240..].windows(3).any(|part| part == [53, 1, 5]);
        if is_ack {
            let mac: Vec<String> = message[28..34].iter().map(|byte| format!("{byte:02x}")).collect();
            let ip = Ipv4Addr::new(message[16], message[17], message[18], message[19]);
            found.insert(mac.join(":"), ip);
        }
    }
    found
}

#[test]
fn every_acknowledged_lease_survives_kill_9() {
    let rounds: u32 = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let rack = Rack::with_address("crash", "10.64.0.1/12").expect("a rack");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    let host = rack.host("perf").expect("a host");
    let capture = host.dir().join("acks.pcap");
    let (mut total, mut all) = (0, BTreeMap::new());
    for round in 1..=rounds {
        let path = capture.to_str().expect("a plain path");
        let filter = ["-i", "eth0", "-U", "-w", path, "-Z", "root", "udp src port 67"];
        let mut tcpdump = spawn(&host, "tcpdump", &filter, "tcpdump.log");
        std::thread::sleep(Duration::from_millis(700));
        let seed = round.to_string();
        let arguments = ["-4", "-l", "eth0", "-r", RATE, "-R", "100000", "-p", "4", "-s", &seed, "10.64.0.1"];
        let perfdhcp = spawn(&host, "perfdhcp", &arguments, "perfdhcp.log");
        std::thread::sleep(Duration::from_millis(1200 + u64::from(round % 5) * 150));
        appliance.kill();
        drop(perfdhcp);
        std::thread::sleep(Duration::from_millis(200));
        tcpdump.signal(Signal::SIGINT).expect("stop tcpdump");
        tcpdump.wait(Duration::from_secs(10)).expect("tcpdump ends");
        appliance.power_on();
        let acks = acknowledged(&capture);
        assert!(acks.len() > 50, "round {round}: {} ACKs were seen: is perfdhcp answered?", acks.len());
        total += acks.len();
        all.extend(acks);
        let leases = appliance.json(&["lease", "list"]);
        let held: BTreeMap<&str, Vec<&str>> = {
            let mut held: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for lease in leases.as_array().expect("leases") {
                let text = |key: &str| lease.get(key).and_then(Value::as_str).unwrap_or_default();
                held.entry(text("mac")).or_default().push(text("ip"));
            }
            held
        };
        for (mac, ip) in &all {
            let ip = ip.to_string();
            assert!(
                held.get(mac.as_str()).is_some_and(|ips| ips.contains(&ip.as_str())),
                "round {round}: {mac} was given {ip}, and holds {:?}",
                held.get(mac.as_str())
            );
        }
        println!("round {round}: {total} acknowledged so far, {} clients, none lost", all.len());
    }
    appliance.stop();
}
