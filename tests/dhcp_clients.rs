//! DHCP with clients that nobody here wrote: `udhcpc`, `dhclient` and `dhcpcd`, each on a host of its own. Needs root.

mod appliance;
mod rack;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use nix::sys::signal::Signal;
use rack::{Host, Process, Rack};
use serde_json::Value;

/// How long a client may take for an exchange that does not wait for a timer.
const EXCHANGE: Duration = Duration::from_secs(40);
/// The shortest lease that can be configured; T1 comes at half, T2 at seven eighths of it (RFC 2131 section 4.4.5).
const LEASE: Duration = Duration::from_secs(60);

const NETWORKS: &str = r#"
[[network]]
interface = "br0"
subnet = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.200"]
gateway = "10.77.0.1"
lease = "60s"

[[network]]
interface = "br1"
subnet = "10.78.0.0/24"
ranges = ["10.78.0.100-10.78.0.200"]
gateway = "10.78.0.1"
lease = "60s"
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Udhcpc,
    /// With the broadcast flag.
    UdhcpcBroadcast,
    Dhclient,
    Dhcpcd,
}

impl Client {
    /// Starts it in the foreground.
    fn start(self, host: &Host) -> Process {
        let path = |name: &str| host.dir().join(name).display().to_string();
        let mut command = match self {
            Self::Udhcpc => {
                let mut command = host.command("udhcpc");
                command.args(["-f", "-i", "eth0", "-s", "/etc/udhcpc/default.script"]);
                command
            }
            Self::UdhcpcBroadcast => {
                let mut command = host.command("udhcpc");
                command.args(["-f", "-B", "-i", "eth0", "-s", "/etc/udhcpc/default.script"]);
                command
            }
            Self::Dhclient => {
                let mut command = host.command("dhclient");
                command.args(["-4", "-d", "-v", "-cf", "/dev/null"]);
                command.args(["-lf", &path("dhclient.leases"), "-pf", &path("dhclient.pid"), "eth0"]);
                command
            }
            Self::Dhcpcd => {
                std::fs::write(
                    path("dhcpcd.conf"),
                    "noipv6rs\nnoipv4ll\nnoarp\noption subnet_mask, routers\n",
                )
                .expect("write a configuration");
                let mut command = host.command("dhcpcd");
                command.args(["-4", "-B", "-d", "-f", &path("dhcpcd.conf"), "eth0"]);
                command
            }
        };
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        host.spawn_logged(command, host.dir().join("client.log")).expect("start the client")
    }

    fn log(host: &Host) -> String {
        std::fs::read_to_string(host.dir().join("client.log")).unwrap_or_default()
    }
}

fn lease_of(appliance: &Appliance<'_>, mac: &str, subnet: &str) -> Option<Value> {
    let leases = appliance.json(&["lease", "list"]);
    let of_mac =
        |lease: &&Value| lease["mac"] == mac && lease["ip"].as_str().is_some_and(|ip| ip.starts_with(subnet));
    leases.as_array().expect("a list").iter().find(of_mac).cloned()
}

fn bound(appliance: &Appliance<'_>, host: &Host, subnet: &str) -> Value {
    let what = format!("a lease for {}; its client says:\n{}", host.mac(), Client::log(host));
    appliance.wait(&what, EXCHANGE, || {
        lease_of(appliance, host.mac(), subnet).filter(|lease| {
            let address = format!("{}/24", lease["ip"].as_str().unwrap_or_default());
            lease["active"] == true && host.ipv4_addresses().is_ok_and(|all| all.contains(&address))
        })
    })
}

fn expires(appliance: &Appliance<'_>, host: &Host) -> u64 {
    lease_of(appliance, host.mac(), "10.77.")
        .and_then(|lease| lease["expires"].as_u64())
        .expect("a lease with an end")
}

fn naks(appliance: &Appliance<'_>, mac: &str) -> usize {
    let timeline = appliance.timeline(mac);
    timeline.iter().filter(|event| event["kind"] == "dhcp" && event["message"] == "nak").count()
}

/// Every client through a lease's whole life. They run side by side, since most of it is waiting for T1 and T2.
#[test]
fn lease_renew_rebind_release_and_nak() {
    let rack = Rack::new("clients").expect("a rack");
    rack.extra_bridge("br1", "10.78.0.1/24").expect("a second segment");
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORKS);
    let kinds = [Client::Udhcpc, Client::UdhcpcBroadcast, Client::Dhclient, Client::Dhcpcd];
    let hosts: Vec<Host> = kinds
        .iter()
        .map(|kind| rack.host_raw(&format!("{kind:?}").to_lowercase()).expect("a host"))
        .collect();

    // Lease.
    let mut clients: Vec<Process> = kinds.iter().zip(&hosts).map(|(kind, host)| kind.start(host)).collect();
    let leases: Vec<Value> = hosts.iter().map(|host| bound(&appliance, host, "10.77.")).collect();
    let mut addresses: Vec<Ipv4Addr> =
        leases.iter().map(|lease| lease["ip"].as_str().expect("an address").parse().expect("IPv4")).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), hosts.len(), "each has its own address: {addresses:?}");
    for host in &hosts {
        let gateway = host.run("ip", &["-4", "route", "show", "default"]).expect("routes");
        assert!(gateway.contains("10.77.0.1"), "{}: {gateway:?}\n{}", host.mac(), Client::log(host));
    }

    // Renew, by T1's timer: unicast to the server.
    let first: Vec<u64> = hosts.iter().map(|host| expires(&appliance, host)).collect();
    for (host, first) in hosts.iter().zip(&first) {
        let what = format!("{} to renew; it says:\n{}", host.mac(), Client::log(host));
        appliance.wait(&what, LEASE, || (expires(&appliance, host) > *first).then_some(()));
    }

    // Rebind, by T2's: unicast no longer arrives, broadcast does.
    let nft = |words: &str| {
        let mut command = rack.command("nft");
        command.arg(words);
        let output = command.output().expect("run nft");
        assert!(output.status.success(), "nft {words}: {}", String::from_utf8_lossy(&output.stderr));
    };
    nft("add table ip deaf; add chain ip deaf input { type filter hook input priority 0; }; \
         add rule ip deaf input ip daddr 10.77.0.1 udp dport 67 drop");
    let second: Vec<u64> = hosts.iter().map(|host| expires(&appliance, host)).collect();
    for (host, second) in hosts.iter().zip(&second) {
        let what = format!("{} to rebind; it says:\n{}", host.mac(), Client::log(host));
        appliance.wait(&what, LEASE * 2, || (expires(&appliance, host) > *second).then_some(()));
    }
    nft("delete table ip deaf");

    // NAK. dhclient and dhcpcd come back on another segment and ask for what they had (INIT-REBOOT); udhcpc does
    // not, but renews an address that is no longer its own.
    let end = |client: &mut Process| client.signal(Signal::SIGKILL).expect("end a client without a release");
    for (index, (kind, host)) in kinds.iter().zip(&hosts).enumerate() {
        let before = naks(&appliance, host.mac());
        match kind {
            Client::Udhcpc | Client::UdhcpcBroadcast => {
                let ip = leases[index]["ip"].as_str().expect("an address");
                appliance.ok(&["lease", "release", ip]);
                clients[index].signal(Signal::SIGUSR1).expect("ask it to renew");
            }
            Client::Dhclient | Client::Dhcpcd => {
                end(&mut clients[index]);
                clients[index].wait(EXCHANGE).expect("it ends");
                host.run("ip", &["-4", "addr", "flush", "dev", "eth0"]).expect("flush");
                host.replug("br1").expect("another segment");
                clients[index] = kind.start(host);
            }
        }
        let what = format!("a NAK for {kind:?}; it says:\n{}", Client::log(host));
        appliance.wait(&what, EXCHANGE, || (naks(&appliance, host.mac()) > before).then_some(()));
        let subnet = if matches!(kind, Client::Dhclient | Client::Dhcpcd) { "10.78." } else { "10.77." };
        bound(&appliance, host, subnet);
    }

    // Release: the address sticks to the client, and it gets the same again.
    for (index, (kind, host)) in kinds.iter().zip(&hosts).enumerate() {
        let subnet = if matches!(kind, Client::Dhclient | Client::Dhcpcd) { "10.78." } else { "10.77." };
        let held = lease_of(&appliance, host.mac(), subnet).expect("a lease")["ip"].clone();
        match kind {
            Client::Udhcpc | Client::UdhcpcBroadcast => {
                clients[index].signal(Signal::SIGUSR2).expect("ask it to release");
            }
            Client::Dhclient => {
                end(&mut clients[index]);
                clients[index].wait(EXCHANGE).expect("it ends");
                let leases = host.dir().join("dhclient.leases").display().to_string();
                let pid = host.dir().join("dhclient.pid").display().to_string();
                host.run("dhclient", &["-4", "-r", "-cf", "/dev/null", "-lf", &leases, "-pf", &pid, "eth0"])
                    .expect("dhclient -r");
            }
            // SIGALRM is its order to release and end.
            Client::Dhcpcd => clients[index].signal(Signal::SIGALRM).expect("ask it to release"),
        }
        let what = format!("a release by {kind:?}; it says:\n{}", Client::log(host));
        appliance.wait(&what, EXCHANGE, || {
            lease_of(&appliance, host.mac(), subnet).filter(|lease| lease["state"] == "released")
        });
        end(&mut clients[index]);
        clients[index].wait(EXCHANGE).expect("it ends");
        clients[index] = kind.start(host);
        assert_eq!(bound(&appliance, host, subnet)["ip"], held, "{kind:?} gets its address again");
    }
    appliance.stop();
}
