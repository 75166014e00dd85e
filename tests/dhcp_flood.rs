//! A flood of DISCOVERs, each of a hardware address of its own, as fast as one host can send: the appliance's memory stays as it is,
//! and a node that is known is served meanwhile. `FLOOD=10000000` for that many; else what fits into 30 seconds. Needs root.

mod appliance;
mod rack;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use appliance::Appliance;
use firstlight::dhcp::batch::{BATCH, Outgoing, send};
use nix::sched::{CloneFlags, setns};
use rack::{Host, Rack};
use socket2::SockAddr;

/// Few addresses: most of the flood is of strangers for whom there is none.
const NETWORK: &str = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\nranges = [\"10.77.0.100-10.77.0.200\"]\nprobe = false\n\
                       [dns]\nenabled = false\n";
/// Before memory is measured for the first time: tables of a fixed size are full then.
const WARM: u64 = 300_000;
/// What memory may grow by after that. A hundred bytes for each of [`LEAST`] addresses would be more.
const GROWTH: u64 = 48 << 20;
/// Datagrams that make a flood.
const LEAST: u64 = 1_000_000;
/// How long it lasts, unless a number is given.
const LASTS: Duration = Duration::from_secs(30);
/// A client asks again after a few seconds: this is within its first tries.
const SERVED: Duration = Duration::from_secs(25);

/// A DISCOVER of a client.
fn discover(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 300];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&number.to_be_bytes()[4..]);
    bytes[28..30].copy_from_slice(&[2, 0xf1]);
    bytes[30..34].copy_from_slice(&number.to_be_bytes()[4..]);
    bytes[236..244].copy_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    bytes
}

/// Sends from the host until told to stop, or `most` are sent.
fn flood(namespace: &str, most: u64, sent: &AtomicU64, stop: &AtomicBool) {
    let file = File::open(Path::new("/run/netns").join(namespace)).expect("the host's namespace");
    // This thread alone moves there.
    setns(file, CloneFlags::CLONE_NEWNET).expect("enter it");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let to = SockAddr::from(SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67));
    let mut number = 0;
    while number < most && !stop.load(Ordering::Relaxed) {
        let batch: Vec<Outgoing> = (0..BATCH as u64)
            .map(|more| Outgoing { bytes: discover(number + more), to: to.clone() })
            .collect();
        // A full queue at the card: some are sent.
        let gone = send(socket.as_fd(), &batch).unwrap_or(0) as u64;
        number += gone;
        sent.store(number, Ordering::Relaxed);
    }
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    let kib: u64 = line.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number");
    kib * 1024
}

/// Datagrams that the kernel dropped at port 67, since the appliance did not take them soon enough.
fn overflowed(rack: &Rack) -> u64 {
    let output = rack.command("cat").arg("/proc/net/udp").output().expect("read /proc/net/udp");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_dhcp =
        text.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(":0043")));
    of_dhcp.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

/// How long `dhclient` takes to have an address.
fn dhclient(host: &Host) -> Duration {
    let start = Instant::now();
    let path = |name: &str| host.dir().join(name).display().to_string();
    let mut command = host.command("dhclient");
    command.args(["-4", "-1", "-d", "-v", "-cf", "/dev/null", "-sf", "/bin/true"]);
    command.args(["-lf", &path("dhclient.leases"), "-pf", &path("dhclient.pid"), "eth0"]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let log = host.dir().join("client.log");
    let process = host.spawn_logged(command, &log).expect("start dhclient");
    loop {
        let told = std::fs::read_to_string(&log).unwrap_or_default();
        if told.contains("bound to 10.77.0.") {
            break;
        }
        assert!(start.elapsed() < 4 * SERVED, "dhclient is not served:\n{told}");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(process);
    std::fs::remove_file(log).expect("forget what it said");
    start.elapsed()
}

#[test]
fn memory_stays_and_a_known_node_is_served() {
    let most = std::env::var("FLOOD").ok().and_then(|text| text.parse::<u64>().ok());
    let rack = Rack::new("flood").expect("a rack");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    let (known, flooding) = (rack.host_raw("known").expect("a host"), rack.host("flood").expect("a host"));
    dhclient(&known);
    appliance.ok(&["node", "approve", known.mac()]);

    let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sender = {
        let (namespace, sent, stop) = (flooding.namespace().to_owned(), Arc::clone(&sent), Arc::clone(&stop));
        std::thread::spawn(move || flood(&namespace, most.unwrap_or(u64::MAX), &sent, &stop))
    };
    let start = Instant::now();
    let so_far = || sent.load(Ordering::Relaxed);
    let wait = || {
        assert!(start.elapsed() < Duration::from_secs(1200), "{} were sent", so_far());
        std::thread::sleep(Duration::from_millis(20));
    };
    while so_far() < WARM {
        wait();
    }
    let (before, dropped) = (resident(appliance.pid()), overflowed(&rack));
    let mut slowest = Duration::ZERO;
    let over = |most: Option<u64>| match most {
        Some(most) => so_far() >= most,
        None => start.elapsed() >= LASTS && so_far() >= WARM + 2 * LEAST,
    };
    let mut served = 0;
    while !over(most) || served == 0 {
        slowest = slowest.max(dhclient(&known));
        served += 1;
        wait();
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("it floods");
    let after = resident(appliance.pid());
    let heard = so_far() - WARM - (overflowed(&rack) - dropped).min(so_far() - WARM);
    println!(
        "{} sent in {:.0?}, {heard} heard after the first measurement, memory {} → {} MiB, {served} times served, the slowest in {slowest:.1?}",
        so_far(),
        start.elapsed(),
        before >> 20,
        after >> 20,
    );
    assert!(heard >= LEAST, "no flood: {heard} were heard");
    assert!(after.saturating_sub(before) < GROWTH, "memory grew from {before} to {after} bytes");
    assert!(slowest < SERVED, "a known node waited for {slowest:?}");
    let nodes = appliance.json(&["node", "list"]).as_array().map_or(0, Vec::len);
    assert!((2..=4097).contains(&nodes), "strangers have a number (enrolment.max_unknown): {nodes}");
    appliance.stop();
}
