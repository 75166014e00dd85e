//! `make bench-dhcp`: DHCP beside Kea (memfile, which does not even sync) and dnsmasq (`no-ping`), with `perfdhcp` of Kea's tools
//! from a namespace of its own, alternating in one run on the same machine. Every lease of ours is durable before its ACK.
//!
//! For each: the highest rate of whole exchanges (DISCOVER to ACK) with less than 1 % lost, as `perfdhcp` finds it, and of known and of
//! new clients as [`load`] does, which costs a fifth of it; at half of the former the mean time of an exchange and processor seconds for 100,000
//! exchanges; then memory, and processor seconds for 100,000 exchanges of new clients, with 1,000 to a million leases held already.
//! Nobody asks whether an address is in use: Kea cannot, dnsmasq and we are told not to.
//!
//! What `perfdhcp` reaches with somebody who answers at once ([`echo`]) is its own end: a server that comes there may be faster still.
//!
//! The servers have one core and `perfdhcp` another: it works as much as what it measures, and where they share two cores its own
//! limits are all that is seen. `PINNED=0` lets everybody run everywhere.
//!
//! `ROUNDS`, `SECONDS` and `CLIENTS` set how long it takes; `PARTS` names some of load, rate, leases; `LEASES` the numbers. Needs root.

#[path = "../../tests/appliance/mod.rs"]
mod appliance;
mod dnsmasq;
mod echo;
mod load;
#[path = "../../tests/rack/mod.rs"]
mod rack;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use appliance::Appliance;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rack::{Host, Process, Rack};

/// Rates are looked for between these, exchanges a second.
const RATES: (u32, u32) = (100, 40_000);
/// Where the search begins with [`load`].
const LOAD: u32 = 3_200;
/// The first client that was never seen.
static NEXT: AtomicU32 = AtomicU32::new(1 << 24);
/// A network with a million addresses.
const NETWORK: &str = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.64.0.0/12\"\nranges = [\"10.64.1.0-10.79.255.0\"]\nprobe = false\n\
                       [enrolment]\nmax_unknown = 10000000\n[dns]\nenabled = false\n";
const ADDRESS: &str = "10.64.0.1/12";
const SERVER: &str = "10.64.0.1";

/// Leases of clients that are not heard again.
const LEASES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// dnsmasq looks for each client in a list of all: with more it answers nothing for minutes.
const DNSMASQ_MOST: u32 = 10_000;

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Asker {
    /// Clients in turns.
    Perfdhcp,
    /// The same, all of which have an address.
    Known,
    /// Clients that were never seen.
    New,
}

/// What one run tells.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// Whole exchanges.
    exchanges: f64,
    /// Per cent of messages without an answer, the worse of both halves.
    lost: f64,
    /// Mean time of both halves together, milliseconds.
    delay_ms: f64,
}

/// Keeps this process, and what it starts from now on, on the first core; perfdhcp alone goes to the second.
fn pin() {
    let mut first = CpuSet::new();
    first.set(0).expect("a core");
    sched_setaffinity(Pid::from_raw(0), &first).expect("a core for the servers");
}

fn is_pinned() -> bool {
    number("PINNED", 1) == 1 && std::path::Path::new("/sys/devices/system/cpu/cpu1").exists()
}

impl Asker {
    fn run(self, host: &Host, rate: u32, seconds: u32) -> Run {
        let mut command = host.command("taskset");
        command.args(["--cpu-list", if is_pinned() { "1" } else { "0-1023" }]);
        match self {
            Self::Perfdhcp => perfdhcp(command, rate, seconds),
            Self::Known => load(command, host, [rate, seconds, 0, number("CLIENTS", 100_000)]),
            Self::New => {
                let count = rate * seconds;
                let first = NEXT.fetch_add(count, Ordering::Relaxed);
                load(command, host, [rate, seconds, first, count])
            }
        }
    }
}

/// This program again, on that host: see [`main`].
fn load(mut command: Command, host: &Host, numbers: [u32; 4]) -> Run {
    let own = std::env::current_exe().expect("this program has a path");
    let relay =
        host.address().and_then(|address| address.split('/').next()).expect("the host has an address");
    command.arg(own).args(["load", SERVER, relay]);
    let output =
        command.args(numbers.map(|number| number.to_string())).output().expect("run this program again");
    let told = String::from_utf8_lossy(&output.stdout);
    let told: Vec<f64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match told.as_slice() {
        [exchanges, lost, delay_ms] => Run { exchanges: *exchanges, lost: *lost, delay_ms: *delay_ms },
        _ => panic!("no load was put on it: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Sockets that are opened now get [`BUFFER`] bytes for what waits to be received, in the whole system, until this is dropped. perfdhcp
/// takes the system's default, which is full after some 160 answers, and counts as lost what it had no room for itself.
struct LargeBuffers(String);

const RMEM_DEFAULT: &str = "/proc/sys/net/core/rmem_default";
const BUFFER: &str = "4194304";
/// perfdhcp has opened its socket by then.
const OPENED: Duration = Duration::from_millis(300);

impl LargeBuffers {
    fn set() -> Self {
        let before = std::fs::read_to_string(RMEM_DEFAULT).expect("the system's default");
        std::fs::write(RMEM_DEFAULT, BUFFER).expect("root may set it");
        Self(before)
    }
}

impl Drop for LargeBuffers {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(RMEM_DEFAULT, &self.0) {
            eprintln!("{RMEM_DEFAULT} should be {} again: {error}", self.0.trim());
        }
    }
}

fn perfdhcp(mut command: Command, rate: u32, seconds: u32) -> Run {
    let (rate_text, seconds) = (rate.to_string(), seconds.to_string());
    let clients = number("CLIENTS", 100_000).to_string();
    let large = LargeBuffers::set();
    let perfdhcp = command
        .arg("perfdhcp")
        .args(["-4", "-l", "eth0", "-r", &rate_text, "-R", &clients, "-p", &seconds, "-W", "500000"])
        // As its manual advises where it has one processor: with a thread more it comes to its end earlier.
        .args(["-g", if is_pinned() { "single" } else { "multi" }])
        .args(["-s", &rate_text, SERVER])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run perfdhcp");
    std::thread::sleep(OPENED);
    drop(large);
    let output = perfdhcp.wait_with_output().expect("perfdhcp ends");
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
fn highest(asker: Asker, host: &Host, seconds: u32) -> u32 {
    let (mut low, mut high) = RATES;
    if matches!(asker, Asker::Known | Asker::New) {
        low = LOAD;
    }
    // First by doubling: the upper end would flood a slow one for nothing.
    let mut rate = low;
    while rate < high {
        if !holds(asker, host, rate, seconds) {
            high = rate;
            break;
        }
        low = rate;
        rate *= 2;
    }
    while high > low + low / 16 {
        let middle = low.midpoint(high);
        if holds(asker, host, middle, seconds) { low = middle } else { high = middle }
    }
    low
}

fn holds(asker: Asker, host: &Host, rate: u32, seconds: u32) -> bool {
    let run = asker.run(host, rate, seconds);
    // Who asks may not keep up: then less than was asked for was answered.
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The three of them, each in a rack of its own with a host that asks.
struct Field<'r> {
    hosts: Vec<Host>,
    appliance: Appliance<'r>,
    others: [Process; 2],
}

impl<'r> Field<'r> {
    /// Starts them where each holds leases `from` its file.
    fn start(racks: &'r [Rack; 3], leases: u32) -> Self {
        let [ours, theirs, third] = racks;
        preload(theirs, third, leases);
        let appliance = Appliance::start(ours, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
        if leases > 0 {
            let file = theirs.dir().join("kea/leases.csv");
            appliance.ok(&["lease", "import", "--from", "kea", &file.display().to_string()]);
        }
        // A bridge without a port has no carrier, and Kea opens no socket on it: the hosts come first.
        let hosts = racks.iter().map(|rack| rack.host("perf").expect("a host")).collect();
        let field = Self { hosts, appliance, others: [kea(theirs), dnsmasq::start(third)] };
        field.settle();
        field
    }

    /// The highest rate of each of the first `who`, in turns.
    fn highest(&self, asker: Asker, rounds: u32, seconds: u32, who: usize) -> [f64; 3] {
        let mut rates: [Vec<f64>; 3] = Default::default();
        for _ in 0..rounds {
            for (host, rates) in self.hosts.iter().zip(&mut rates).take(who) {
                rates.push(f64::from(highest(asker, host, seconds)));
            }
        }
        // One that answers nothing is not slow: it was set up wrongly, and nothing follows from it.
        let answered = rates.iter().flatten().all(|rate| *rate > f64::from(RATES.0));
        assert!(answered, "one of them does not answer: {rates:?}");
        rates.map(median)
    }

    fn pids(&self) -> [u32; 3] {
        let [kea, dnsmasq] = &self.others;
        [self.appliance.pid(), kea.pid(), dnsmasq.pid()]
    }

    /// Until all have read what they hold.
    fn settle(&self) {
        std::thread::sleep(Duration::from_secs(2));
        for pid in self.pids() {
            let mut before = processor(pid);
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = processor(pid);
                if now - before < 0.5 {
                    break;
                }
                before = now;
            }
        }
    }
}

/// Writes what Kea and dnsmasq hold: `count` leases of a day.
fn preload(theirs: &Rack, third: &Rack, count: u32) {
    let until =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
            + 86_400;
    let folder = theirs.dir().join("kea");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut kea = String::from(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n",
    );
    let mut dnsmasq = String::new();
    for n in 0..count {
        let [a, b, c, d] = n.to_be_bytes();
        let (mac, ip) =
            (format!("06:01:{a:02x}:{b:02x}:{c:02x}:{d:02x}"), Ipv4Addr::from_bits(0x0a40_0100 + n));
        let _ = writeln!(kea, "{ip},{mac},,86400,{until},1,0,0,,0,");
        if count <= DNSMASQ_MOST {
            let _ = writeln!(dnsmasq, "{until} {mac} {ip} * *");
        }
    }
    std::fs::write(folder.join("leases.csv"), kea).expect("write leases");
    std::fs::write(third.dir().join("dnsmasq.leases"), dnsmasq).expect("write leases");
}

fn line(what: &str, [ours, kea, dnsmasq]: [f64; 3]) {
    let dnsmasq = if dnsmasq.is_nan() { "-".into() } else { format!("{dnsmasq:.2}") };
    println!("{what:<52} {ours:>12.2} {kea:>12.2} {dnsmasq:>12}   {:.2}× Kea", ours / kea);
}

/// Rate, time and work, each in turns.
fn rates(rounds: u32, seconds: u32) -> [f64; 3] {
    let racks = ["ours", "kea", "dnsmasq"].map(|name| Rack::with_address(name, ADDRESS).expect("a rack"));
    let mut field = Field::start(&racks, 0);
    let rates = field.highest(Asker::Perfdhcp, rounds, seconds, 3);
    line("exchanges a second, < 1 % lost (perfdhcp)", rates);
    echo_rate(rounds, seconds);
    let (mut delays, mut work): ([Vec<f64>; 3], [Vec<f64>; 3]) = Default::default();
    for _ in 0..rounds {
        for (index, host) in field.hosts.iter().enumerate() {
            let (run, per) = measured(host, field.pids()[index], rates[index] / 2.0, 2 * seconds);
            delays[index].push(run.delay_ms);
            work[index].push(per);
        }
    }
    line("mean time of an exchange at half of it, ms", delays.map(median));
    line("processor seconds for 100,000 exchanges", work.map(median));
    field.appliance.stop();
    rates
}

/// How far perfdhcp goes by itself.
fn echo_rate(rounds: u32, seconds: u32) {
    let rack = Rack::with_address("echo", ADDRESS).expect("a rack");
    let host = rack.host("perf").expect("a host");
    let mut command = rack.command(std::env::current_exe().expect("this program has a path"));
    command.arg("echo");
    let _echo = rack.spawn_logged(command, "echo.log").expect("this program again");
    std::thread::sleep(OPENED);
    let rates = (0..rounds).map(|_| f64::from(highest(Asker::Perfdhcp, &host, seconds))).collect();
    println!("{:<52} {:>12.2}", "the same of who answers at once: perfdhcp's own end", median(rates));
}

/// The rate alone, of known and of new clients. dnsmasq answers so few that perfdhcp tells all there is to know.
fn load_rates(rounds: u32, seconds: u32) {
    let racks = ["ours", "kea", "dnsmasq"].map(|name| Rack::with_address(name, ADDRESS).expect("a rack"));
    let mut field = Field::start(&racks, 0);
    for host in field.hosts.iter().take(2) {
        let (clients, rate) = (number("CLIENTS", 100_000), 4000);
        let warm = Asker::Known.run(host, rate, clients.div_ceil(rate));
        assert!(warm.lost < 1.0, "clients that are to be known are not: {warm:?}");
    }
    let known = field.highest(Asker::Known, rounds, seconds, 2);
    line("exchanges a second of known clients, < 1 % lost", known);
    let new = field.highest(Asker::New, rounds, seconds, 2);
    line("exchanges a second of new clients, < 1 % lost", new);
    field.appliance.stop();
}

/// A run, and the processor seconds of the server for 100,000 exchanges.
fn measured(host: &Host, pid: u32, rate: f64, seconds: u32) -> (Run, f64) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate between the bounds of RATES"
    )]
    let rate = rate.max(1.0) as u32;
    let before = processor(pid);
    let run = Asker::Perfdhcp.run(host, rate, seconds);
    (run, (processor(pid) - before) * 100_000.0 / run.exchanges.max(1.0))
}

/// Memory and work with so many leases.
fn with_leases(rounds: u32, seconds: u32, leases: u32, rates: [f64; 3]) {
    let racks = ["ours", "kea", "dnsmasq"].map(|name| Rack::with_address(name, ADDRESS).expect("a rack"));
    let mut field = Field::start(&racks, leases);
    let without = |mut values: [f64; 3]| {
        if leases > DNSMASQ_MOST {
            values[2] = f64::NAN;
        }
        values
    };
    line(&format!("memory with {leases} leases, MiB"), without(field.pids().map(memory_mib)));
    let mut work: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        let asked = if leases > DNSMASQ_MOST { 2 } else { 3 };
        for (index, host) in field.hosts.iter().enumerate().take(asked) {
            work[index].push(measured(host, field.pids()[index], rates[index] / 4.0, 2 * seconds).1);
        }
    }
    line(&format!("processor s for 100,000 exchanges, {leases} leases"), without(work.map(median)));
    field.appliance.stop();
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["echo"] {
        echo::run().expect("a socket");
    }
    if let [what, server, relay, rate, seconds, first, clients] = words.as_slice()
        && what == "load"
    {
        let number = |word: &String| word.parse::<u32>().expect("a number");
        let address = |word: &String| word.parse::<Ipv4Addr>().expect("an address");
        let numbers = [rate, seconds, first, clients].map(number);
        let Run { exchanges, lost, delay_ms } =
            load::run(address(server), address(relay), numbers).expect("a socket");
        println!("{exchanges} {lost} {delay_ms}");
        return;
    }
    let (rounds, seconds) = (number("ROUNDS", 3), number("SECONDS", 4));
    let parts = std::env::var("PARTS").unwrap_or_else(|_| "load,rate,leases".into());
    let named = |part: &str| parts.split(',').any(|word| word == part);
    if is_pinned() {
        pin();
    }
    println!("{:<52} {:>12} {:>12} {:>12}", "WHAT", "FIRSTLIGHT", "KEA", "DNSMASQ");
    if named("load") {
        load_rates(rounds, seconds);
    }
    // What they held at least wherever this was run.
    let rates = if named("rate") { rates(rounds, seconds) } else { [4000.0, 4000.0, 200.0] };
    if named("leases") {
        let numbers = std::env::var("LEASES").ok();
        let numbers = numbers
            .map(|text| text.split(',').filter_map(|number| number.parse().ok()).collect::<Vec<u32>>());
        for leases in numbers.unwrap_or_else(|| LEASES.to_vec()) {
            with_leases(rounds, seconds, leases, rates);
        }
    }
}
