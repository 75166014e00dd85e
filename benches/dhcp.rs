//! `make bench-dhcp`: DHCP beside Kea (memfile, which does not even sync) and dnsmasq (`no-ping`), with `perfdhcp` of Kea's tools
//! from a namespace of its own, alternating in one run on the same machine. Every lease of ours is durable before its ACK.
//!
//! For each: the highest rate of whole exchanges (DISCOVER to ACK) with less than 1 % lost, the mean time of an exchange at half of
//! that rate, and processor seconds for 100,000 exchanges. `ROUNDS`, `SECONDS` and `CLIENTS` set how long it takes. Needs root.

#[path = "../tests/appliance/mod.rs"]
mod appliance;
#[path = "../tests/rack/mod.rs"]
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use rack::{Host, Process, Rack};

/// Rates are looked for between these, exchanges a second.
const RATES: (u32, u32) = (100, 40_000);
/// A network with a million addresses.
const NETWORK: &str = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.64.0.0/12\"\nranges = [\"10.64.1.0-10.79.255.0\"]\n\
                       [enrolment]\nmax_unknown = 10000000\n";
const ADDRESS: &str = "10.64.0.1/12";

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What one run of perfdhcp tells.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// Whole exchanges.
    exchanges: f64,
    /// Per cent of messages without an answer, the worse of both halves.
    lost: f64,
    /// Mean time of both halves together, milliseconds.
    delay_ms: f64,
}

fn perfdhcp(host: &Host, rate: u32, seconds: u32) -> Run {
    let (rate_text, seconds) = (rate.to_string(), seconds.to_string());
    let clients = number("CLIENTS", 100_000).to_string();
    let output = host
        .command("perfdhcp")
        .args(["-4", "-l", "eth0", "-r", &rate_text, "-R", &clients, "-p", &seconds, "-W", "500000"])
        .args(["-s", &rate.to_string(), "10.64.0.1"])
        .output()
        .expect("run perfdhcp");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let value =
        |line: &str, key: &str| line.strip_prefix(key)?.split_whitespace().next()?.parse::<f64>().ok();
    let all = |key: &str| told.lines().filter_map(|line| value(line.trim(), key)).collect::<Vec<f64>>();
    Run {
        exchanges: all("received packets: ").last().copied().unwrap_or(0.0),
        lost: all("drops ratio: ").into_iter().fold(0.0, f64::max),
        delay_ms: all("avg delay: ").iter().sum(),
    }
}

/// The highest rate that holds, by halving the distance.
fn highest(host: &Host, seconds: u32) -> u32 {
    let (mut low, mut high) = RATES;
    // First by doubling: the upper end would flood a slow one for nothing.
    let mut rate = low;
    while rate < high {
        if !holds(host, rate, seconds) {
            high = rate;
            break;
        }
        low = rate;
        rate *= 2;
    }
    while high > low + low / 10 {
        let middle = low.midpoint(high);
        if holds(host, middle, seconds) { low = middle } else { high = middle }
    }
    low
}

fn holds(host: &Host, rate: u32, seconds: u32) -> bool {
    let run = perfdhcp(host, rate, seconds);
    // perfdhcp itself may not keep up: then less than was asked for was answered.
    run.lost < 1.0 && run.exchanges >= 0.95 * f64::from(rate) * f64::from(seconds)
}

/// Processor seconds of a process and its threads so far.
fn processor(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn memory_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn kea(rack: &Rack) -> Process {
    let folder = rack.dir().join("kea");
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = format!(
        r#"{{ "Dhcp4": {{ "interfaces-config": {{ "interfaces": ["br0"] }}, "valid-lifetime": 43200,
        "lease-database": {{ "type": "memfile", "persist": true, "name": "{0}/leases.csv", "lfc-interval": 0 }},
        "multi-threading": {{ "enable-multi-threading": true }},
        "subnet4": [ {{ "subnet": "10.64.0.0/12", "pools": [ {{ "pool": "10.64.1.0-10.79.255.0" }} ] }} ],
        "loggers": [ {{ "name": "kea-dhcp4", "severity": "ERROR", "output_options": [ {{ "output": "stderr" }} ] }} ] }} }}"#,
        folder.display()
    );
    let path = folder.join("kea.json");
    std::fs::write(&path, config).expect("write a configuration");
    let mut command = rack.command("kea-dhcp4");
    command.env("KEA_LOCKFILE_DIR", &folder).env("KEA_PIDFILE_DIR", &folder).arg("-c").arg(path);
    rack.spawn_logged(command, "kea.log").expect("kea-dhcp4")
}

fn dnsmasq(rack: &Rack) -> Process {
    let mut command = rack.command("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="]);
    command.args([
        "--dhcp-range=10.64.1.0,10.79.255.0,255.240.0.0,12h",
        "--no-ping",
        "--dhcp-lease-max=2000000",
    ]);
    command.arg("--dhcp-authoritative").arg("--quiet-dhcp");
    command.arg(format!("--dhcp-leasefile={}/dnsmasq.leases", rack.dir().display()));
    rack.spawn_logged(command, "dnsmasq.log").expect("dnsmasq")
}

fn median(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let (rounds, seconds) = (number("ROUNDS", 3), number("SECONDS", 4));
    let racks = ["ours", "kea", "dnsmasq"].map(|name| Rack::with_address(name, ADDRESS).expect("a rack"));
    let [ours, theirs, third] = &racks;
    let mut appliance = Appliance::start(ours, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    let (kea, dnsmasq) = (kea(theirs), dnsmasq(third));
    std::thread::sleep(Duration::from_secs(2));
    let hosts = racks.each_ref().map(|rack| rack.host("perf").expect("a host"));
    let pids = [appliance.pid(), kea.pid(), dnsmasq.pid()];
    let mut rates: [Vec<u32>; 3] = Default::default();
    for _ in 0..rounds {
        for (host, rates) in hosts.iter().zip(&mut rates) {
            rates.push(highest(host, seconds));
        }
    }
    let rates = rates.map(median);
    // One that answers nothing is not slow: it was set up wrongly, and nothing follows from it.
    assert!(rates.iter().all(|rate| *rate > RATES.0), "one of them does not answer: {rates:?}");
    println!("{:<44} {:>12} {:>12} {:>12}", "WHAT", "FIRSTLIGHT", "KEA", "DNSMASQ");
    let line = |what: &str, values: [f64; 3]| {
        let [ours, kea, dnsmasq] = values;
        println!("{what:<44} {ours:>12.2} {kea:>12.2} {dnsmasq:>12.2}   {:.2}× Kea", ours / kea);
    };
    line("exchanges a second, < 1 % lost", rates.map(f64::from));
    let mut delays = [0.0; 3];
    let mut seconds_per = [0.0; 3];
    for (index, host) in hosts.iter().enumerate() {
        let before = processor(pids[index]);
        let run = perfdhcp(host, (rates[index] / 2).max(1), 10);
        delays[index] = run.delay_ms;
        seconds_per[index] = (processor(pids[index]) - before) * 100_000.0 / run.exchanges.max(1.0);
    }
    line("mean time of an exchange at half of it, ms", delays);
    line("processor seconds for 100,000 exchanges", seconds_per);
    line("memory, MiB", pids.map(memory_mib));
    appliance.stop();
    drop((kea, dnsmasq));
}
