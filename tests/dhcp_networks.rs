//! Networks as others build them: options at every level, addresses that somebody uses already, another DHCP server, a relay
//! (`dhcrelay`) with a network behind it. Clients and the other server are real (`dhclient`, `udhcpc`, `dnsmasq`). Needs root.

mod appliance;
mod programs;
mod rack;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use appliance::Appliance;
use programs::ok;
use rack::{Host, HostSpec, Rack};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// Gets a lease with `dhclient`, which also asks for these options; what it wrote of the lease.
fn dhclient(host: &Host, options: &str) -> String {
    let path = |name: &str| host.dir().join(name).display().to_string();
    let ask = if options.is_empty() { String::new() } else { format!("also request {options};\n") };
    std::fs::write(path("dhclient.conf"), ask).expect("write a configuration");
    let _ = std::fs::remove_file(path("dhclient.leases"));
    let mut client = host.command("dhclient");
    client.args(["-4", "-1", "-v", "-cf", &path("dhclient.conf"), "-lf", &path("dhclient.leases")]);
    client.args(["-pf", &path("dhclient.pid"), "-sf", "/bin/true", "eth0"]);
    ok(&mut client);
    let text = std::fs::read_to_string(path("dhclient.leases")).expect("its leases");
    ok(host.command("dhclient").args([
        "-x",
        "-pf",
        &path("dhclient.pid"),
        "-lf",
        &path("dhclient.leases"),
        "eth0",
    ]));
    text
}

#[test]
fn options_of_every_level_reach_a_client() {
    let rack = Rack::new("options").expect("a rack");
    let tables = r#"
[options]
ntp-servers = ["10.77.0.5"]
interface-mtu = 1400
log-servers = "10.77.0.6"

[[network]]
interface = "br0"
subnet = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.200"]
gateway = "10.77.0.1"
options = { interface-mtu = 1450, domain-search = ["mgmt.example", "example"] }
"#;
    let mut appliance = Appliance::start(&rack, firstlight(), tables);
    let host = appliance.meet("h1");
    appliance.ok(&["group", "create", "g"]);
    appliance.ok(&["node", "set", "h1", "--group", "g"]);
    appliance.ok(&[
        "vars",
        "set",
        r#"dhcp_options={"ntp-servers": ["10.77.0.7"], "nis-domain": "g"}"#,
        "--group",
        "g",
    ]);
    appliance.ok(&["vars", "set", r#"dhcp_options={"nis-domain": "n", "224:text": "own"}"#, "--node", "h1"]);
    let lease = dhclient(&host, "ntp-servers, interface-mtu, domain-search, nis-domain, log-servers");
    for line in [
        "option ntp-servers 10.77.0.7;",
        "option interface-mtu 1450;",
        r#"option domain-search "mgmt.example.", "example.";"#,
        r#"option nis-domain "n";"#,
        "option log-servers 10.77.0.6;",
        "option routers 10.77.0.1;",
        // No name server is configured: the appliance serves names.
        "option domain-name-servers 10.77.0.1;",
    ] {
        assert!(lease.contains(line), "no '{line}' in\n{lease}");
    }
    let refused = appliance.refused(&["vars", "set", r#"dhcp_options={"ntp-server": "x"}"#, "--group", "g"]);
    assert!(refused.contains("did you mean 'ntp-servers'"), "{refused}");
    appliance.stop();
}

#[test]
fn addresses_in_use_and_another_server() {
    let rack = Rack::new("inuse").expect("a rack");
    let tables = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\nranges = [\"10.77.0.100-10.77.0.110\"]\n\
                  exclude = [\"10.77.0.101\"]\n";
    let mut appliance = Appliance::start(&rack, firstlight(), tables);
    let squat = HostSpec { address: Some("10.77.0.100/24".into()), ..HostSpec::default() };
    let squatter = rack.host_with("squatter", squat).expect("a host");
    let host = appliance.meet("h1");
    let node =
        appliance.wait("its address", PATIENCE, || appliance.node("h1").filter(|node| !node["ip"].is_null()));
    assert_eq!(node["ip"], "10.77.0.102", ".100 is in use, .101 is excluded");
    let told = appliance.ok(&["node", "timeline", "h1"]);
    assert!(told.contains(&format!("10.77.0.100 is in use by {}", squatter.mac())), "{told}");
    let networks = appliance.json(&["network", "list"]);
    assert_eq!((&networks[0]["addresses"], &networks[0]["declined"]), (&10.into(), &1.into()), "{networks}");
    // Who has an address waits for nobody.
    assert!(dhclient(&host, "").contains("fixed-address 10.77.0.102;"));

    // Another server appears. Ours asks around when it starts.
    let spec = HostSpec { address: Some("10.77.0.2/24".into()), ..HostSpec::default() };
    let other = rack.host_with("other", spec).expect("a host");
    let mut dnsmasq = rack::dnsmasq::dhcp_server(other.command("dnsmasq"));
    dnsmasq.args([
        "--dhcp-range=10.77.0.50,10.77.0.60,1h",
        "--dhcp-leasefile=/dev/null",
        "--dhcp-authoritative",
    ]);
    let _dnsmasq = other.spawn_logged(dnsmasq, "dnsmasq.log").expect("dnsmasq");
    std::thread::sleep(Duration::from_secs(1));
    appliance.stop();
    appliance.power_on();
    appliance.wait("the other server to be found", PATIENCE, || {
        let findings = appliance.cli(&["doctor"]);
        String::from_utf8_lossy(&findings.stdout).contains("another DHCP server, 10.77.0.2").then_some(())
    });
    let events = appliance.ok(&["event", "list"]);
    assert!(events.contains("another DHCP server, 10.77.0.2, answers on br0"), "{events}");
    appliance.stop();
}

#[test]
fn the_server_in_a_port_behind_a_relay() {
    let rack = Rack::new("relay").expect("a rack");
    rack.ip("route add 10.78.0.0/24 via 10.77.0.9").expect("a route");
    let tables = r#"
[[network]]
interface = "br0"
subnet = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.110"]

[[network]]
subnet = "10.78.0.0/24"
ranges = ["10.78.0.100-10.78.0.110"]
gateway = "10.78.0.1"

[[network.reservation]]
circuit_id = "down12"
ip = "10.78.0.12"
name = "node-12"
"#;
    let mut appliance = Appliance::start(&rack, firstlight(), tables);
    let spec = HostSpec { address: Some("10.77.0.9/24".into()), ..HostSpec::default() };
    let relay = rack.host_with("relay", spec).expect("a host");
    // Two ports with a server each: the relay calls them by the name of its interface.
    rack.extra_bridge("br1", "10.99.0.1/24").expect("a bridge to move cables from");
    let hosts = ["down12", "down13"].map(|port| {
        let host =
            rack.host_with(port, HostSpec { bridge: "br1".into(), ..HostSpec::default() }).expect("a host");
        relay.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]).expect("forward");
        host.run("ip", &["link", "del", "eth0"]).expect("unplug it");
        let (from, to) = (relay.namespace(), host.namespace());
        rack.ip(&format!("link add {port} netns {from} type veth peer name eth0 netns {to}"))
            .expect("a cable");
        relay.run("ip", &["link", "set", port, "up"]).expect("up");
        host.run("ip", &["link", "set", "eth0", "up"]).expect("up");
        host
    });
    for (port, address) in [("down12", "10.78.0.1/24"), ("down13", "10.78.0.2/24")] {
        relay.run("ip", &["addr", "add", address, "dev", port]).expect("an address");
    }
    let mut dhcrelay = relay.command("dhcrelay");
    dhcrelay.args(["-4", "-d", "-a", "-id", "down12", "-id", "down13", "-iu", "eth0", "10.77.0.1"]);
    let _dhcrelay = relay.spawn_logged(dhcrelay, "dhcrelay.log").expect("dhcrelay");
    std::thread::sleep(Duration::from_secs(1));
    let fixed = dhclient(&hosts[0], "");
    assert!(
        fixed.contains("fixed-address 10.78.0.12;") && fixed.contains("option routers 10.78.0.1;"),
        "{fixed}"
    );
    let pooled = dhclient(&hosts[1], "");
    assert!(pooled.contains("fixed-address 10.78.0.100;"), "{pooled}");
    let nodes = appliance.json(&["node", "list"]);
    let name_of = |ip: &str| {
        let nodes: &Vec<Value> = nodes.as_array().expect("nodes");
        nodes.iter().find(|node| node["ip"] == ip).map(|node| node["name"].clone())
    };
    assert_eq!(name_of("10.78.0.12"), Some("node-12".into()), "the server in port 12 is node-12");

    // It renews by unicast, past the relay: nobody tells the port then.
    hosts[0].run("ip", &["addr", "add", "10.78.0.12/24", "dev", "eth0"]).expect("the address");
    hosts[0].run("ip", &["route", "add", "default", "via", "10.78.0.1"]).expect("a route");
    relay.run("ip", &["route", "replace", "10.78.0.12/32", "dev", "down12"]).expect("a route");
    relay.run("ip", &["route", "replace", "10.78.0.100/32", "dev", "down13"]).expect("a route");
    let mut udhcpc = hosts[0].command("udhcpc");
    let pid = hosts[0].dir().join("udhcpc.pid");
    udhcpc.args(["-f", "-i", "eth0", "-s", "/bin/true", "-p"]).arg(&pid);
    let _client = hosts[0].spawn_logged(udhcpc, "udhcpc.log").expect("udhcpc");
    let log = || std::fs::read_to_string(hosts[0].dir().join("udhcpc.log")).unwrap_or_default();
    let bound = |times: usize| (log().matches("lease of 10.78.0.12 obtained").count() >= times).then_some(());
    appliance.wait("a lease", PATIENCE, || bound(1));
    // SIGUSR1: renew now.
    let pid = std::fs::read_to_string(pid).expect("its process");
    ok(hosts[0].command("kill").args(["-USR1", pid.trim()]));
    appliance.wait("a renewal by unicast", PATIENCE, || bound(2));
    assert!(!log().contains("NAK"), "{}", log());
    ok(hosts[0].command("kill").arg(pid.trim()));

    // Another server in the port: it is node-12 as soon as it has the address.
    let former = hosts[0].run("cat", &["/sys/class/net/eth0/address"]).expect("its MAC");
    appliance.ok(&["lease", "release", "10.78.0.12"]);
    hosts[0].run("ip", &["addr", "flush", "dev", "eth0"]).expect("no address");
    hosts[0].run("ip", &["link", "set", "eth0", "address", "02:00:00:00:12:12"]).expect("another server");
    assert!(dhclient(&hosts[0], "").contains("fixed-address 10.78.0.12;"));
    let node = appliance.node("node-12").expect("the server in port 12");
    assert_eq!(
        (&node["ip"], &node["macs"][0]),
        (&"10.78.0.12".into(), &"02:00:00:00:12:12".into()),
        "{node}"
    );
    let told = appliance.ok(&["node", "timeline", former.trim()]);
    assert!(told.contains("renamed from node-12 to node-"), "{told}");
    moves_to_our_link(&rack, &appliance, &relay, &hosts[1]);
    appliance.stop();
}

/// The server in port 13 is moved to the appliance's own link, and keeps its address. Nobody hears it where it asks first (RFC 2131
/// section 4.3.2, RENEWING); when it asks everybody (REBINDING), it is told to get another.
fn moves_to_our_link(rack: &Rack, appliance: &Appliance<'_>, relay: &Host, mover: &Host) {
    mover.run("ip", &["addr", "add", "10.78.0.100/24", "dev", "eth0"]).expect("the address");
    mover.run("ip", &["route", "add", "default", "via", "10.78.0.2"]).expect("a route");
    let mut udhcpc = mover.command("udhcpc");
    let pid = mover.dir().join("udhcpc.pid");
    udhcpc.args(["-f", "-i", "eth0", "-s", "/bin/true", "-p"]).arg(&pid);
    let _client = mover.spawn_logged(udhcpc, "udhcpc.log").expect("udhcpc");
    let log = || std::fs::read_to_string(mover.dir().join("udhcpc.log")).unwrap_or_default();
    let bound = |ip: &str| log().contains(&format!("lease of {ip}")).then_some(());
    appliance.wait("a lease", PATIENCE, || bound("10.78.0.100 obtained"));
    ok(Command::new("ip").args([
        "-n",
        relay.namespace(),
        "link",
        "set",
        "down13",
        "netns",
        rack.namespace(),
    ]));
    rack.ip("link set down13 master br0 up").expect("another link");
    let pid = std::fs::read_to_string(pid).expect("its process");
    ok(mover.command("kill").args(["-USR1", pid.trim()]));
    appliance.wait("an address of its new link", PATIENCE, || bound("10.77.0."));
    let mac = mover.run("cat", &["/sys/class/net/eth0/address"]).expect("its MAC");
    let told = appliance.ok(&["node", "timeline", mac.trim()]);
    assert!(told.contains("that address is of another network"), "{told}\n{}", log());
}

/// A rack moves from dnsmasq to us: every client keeps its address.
#[test]
fn leases_of_dnsmasq_are_taken_over() {
    let rack = Rack::new("moved").expect("a rack");
    let spec = HostSpec { address: Some("10.77.0.2/24".into()), ..HostSpec::default() };
    let other = rack.host_with("other", spec).expect("a host");
    let file = other.dir().join("dnsmasq.leases");
    let mut dnsmasq = rack::dnsmasq::dhcp_server(other.command("dnsmasq"));
    dnsmasq.args(["--dhcp-range=10.77.0.50,10.77.0.90,1h", "--dhcp-authoritative"]);
    dnsmasq.arg(format!("--dhcp-leasefile={}", file.display()));
    let dnsmasq = other.spawn_logged(dnsmasq, "dnsmasq.log").expect("dnsmasq");
    std::thread::sleep(Duration::from_secs(1));
    let host = rack.host_raw("h1").expect("a host");
    let before = dhclient(&host, "");
    let line = |text: &str| {
        text.lines().find(|line| line.contains("fixed-address")).expect("an address").trim().to_owned()
    };
    // It answers before it writes.
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&file).is_ok_and(|leases| leases.contains(host.mac())) {
        assert!(Instant::now() < deadline, "dnsmasq writes its leases down");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(dnsmasq);

    let tables =
        "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\nranges = [\"10.77.0.50-10.77.0.90\"]\n";
    let mut appliance = Appliance::start(&rack, firstlight(), tables);
    let path = file.to_str().expect("a plain path");
    let dry = appliance.ok(&["lease", "import", "--from", "dnsmasq", path, "--dry-run"]);
    assert!(dry.contains("1 leases would be taken over"), "{dry}");
    let done = appliance.json(&["lease", "import", "--from", "dnsmasq", path]);
    assert_eq!(done["imported"], 1, "{done}");
    let after = dhclient(&host, "");
    assert_eq!(line(&after), line(&before));
    appliance.refused(&["lease", "import", "--from", "kea", path]);
    appliance.stop();
}
