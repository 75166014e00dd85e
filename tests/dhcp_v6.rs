//! IPv6: `dhclient -6`, `dhcpcd` and `rdisc6` on the link, `dhclient -6` behind a real relay (`dhcrelay -6`), names by `dig`, and a UEFI
//! server whose firmware fetches its boot file over IPv6. Needs root.

mod appliance;
mod programs;
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use programs::ok;
use rack::{Host, HostSpec, MachineSpec, Rack};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const BOOT: Duration = Duration::from_secs(300);

const TABLES: &str = r#"
[[network]]
interface = "br0"
subnet = "10.77.0.0/24"
ranges = ["10.77.0.100-10.77.0.200"]
subnet6 = "fd00:77::/64"
range6 = "fd00:77::1000-fd00:77::1fff"

[[network]]                     # behind a relay
subnet = "10.78.0.0/24"
ranges = ["10.78.0.100-10.78.0.200"]
subnet6 = "fd00:78::/64"
"#;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// A rack whose bridge has an IPv6 address, too.
fn rack(name: &str) -> Rack {
    let rack = Rack::new(name).expect("a rack");
    rack.ip("-6 addr add fd00:77::1/64 dev br0 nodad").expect("an IPv6 address");
    rack
}

/// A host whose link-local address is in place.
fn host(rack: &Rack, appliance: &Appliance<'_>, name: &str) -> Host {
    let host = rack.host(name).expect("a host");
    has_link_local(appliance, &host);
    host
}

fn has_link_local(appliance: &Appliance<'_>, host: &Host) {
    appliance.wait("the link-local address", PATIENCE, || {
        let told = host.run("ip", &["-6", "addr", "show", "dev", "eth0", "scope", "link"]).expect("ip");
        (told.contains("fe80") && !told.contains("tentative")).then_some(())
    });
}

/// Gets a lease with `dhclient -6`; the address, and all that it wrote.
fn dhclient(host: &Host, words: &[&str]) -> (String, String) {
    let path = |name: &str| host.dir().join(name).display().to_string();
    let mut client = host.command("dhclient");
    client.args(["-6", "-1", "-v", "-cf", "/dev/null", "-lf", &path("dhclient6.leases")]);
    client.args(["-pf", &path("dhclient6.pid"), "-sf", "/bin/true"]).args(words).arg("eth0");
    ok(&mut client);
    let text = std::fs::read_to_string(path("dhclient6.leases")).expect("its leases");
    let last = text.rsplit("lease6 {").next().unwrap_or_default().to_owned();
    let ip = last.split("iaaddr ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    (ip.to_owned(), last.clone())
}

/// Ends `dhclient -6`; with "-r" it gives its address back.
fn end(host: &Host, how: &str) {
    let path = |name: &str| host.dir().join(name).display().to_string();
    let mut client = host.command("dhclient");
    client.args(["-6", how, "-cf", "/dev/null", "-lf", &path("dhclient6.leases")]);
    ok(client.args(["-pf", &path("dhclient6.pid"), "-sf", "/bin/true", "eth0"]));
}

fn lease(appliance: &Appliance<'_>, ip: &str) -> Option<Value> {
    let leases = appliance.json(&["lease", "list"]);
    leases.as_array()?.iter().find(|lease| lease["ip"] == ip).cloned()
}

#[test]
fn clients_on_the_link_and_behind_a_relay() {
    let rack = rack("six");
    rack.extra_bridge("br1", "10.99.0.1/24").expect("a bridge");
    let mut appliance = Appliance::start(&rack, firstlight(), TABLES);
    let first = host(&rack, &appliance, "h1");

    let told = ok(first.command("rdisc6").args(["-1", "-w", "3000", "eth0"]));
    assert!(told.contains("fd00:77::/64"), "{told}");
    for (line, value) in
        [("Stateful address conf.", "Yes"), ("Stateful other conf.", "Yes"), ("Router lifetime", "0 ")]
    {
        let found = told.lines().find(|found| found.starts_with(line)).unwrap_or_default();
        assert!(found.contains(value), "{line}: {told}");
    }

    let (ip, text) = dhclient(&first, &[]);
    assert!(ip.starts_with("fd00:77::1"), "{text}");
    // No name server is configured: the appliance serves names.
    assert!(text.contains("dhcp6.name-servers fd00:77::1;"), "{text}");
    assert!(text.contains("dhcp6.domain-search \"mgmt.example.\""), "{text}");
    let held = lease(&appliance, &ip).expect("its lease");
    assert_eq!((&held["mac"], &held["active"]), (&first.mac().into(), &true.into()), "{held}");
    let name = held["node"].as_str().expect("it is a node").to_owned();
    let dig = |what: &[&str]| {
        let mut dig = rack.command("dig");
        ok(dig.args(["@10.77.0.1", "+short"]).args(what)).trim().to_owned()
    };
    assert_eq!(dig(&[&format!("{name}.mgmt.example"), "AAAA"]), ip);
    assert_eq!(dig(&["-x", &ip]), format!("{name}.mgmt.example."));
    assert_eq!(dig(&["firstlight.mgmt.example", "AAAA"]), "fd00:77::1");

    // It sticks: through a release, a restart of the appliance by kill -9, and another name for itself.
    end(&first, "-r");
    assert_eq!(lease(&appliance, &ip).expect("its lease")["state"], "released");
    assert_eq!(dhclient(&first, &[]).0, ip);
    end(&first, "-x");
    appliance.kill();
    appliance.power_on();
    assert_eq!(lease(&appliance, &ip).expect("its lease")["active"], true, "it survives kill -9");
    std::fs::remove_file(first.dir().join("dhclient6.leases")).expect("forget all");
    assert_eq!(dhclient(&first, &["-D", "LLT"]).0, ip);
    end(&first, "-x");

    // A client that waits for the advertisement's word that addresses come by DHCP.
    let second = host(&rack, &appliance, "h2");
    let conf = second.dir().join("dhcpcd.conf");
    std::fs::write(&conf, "duid\noption dhcp6_name_servers\n").expect("write a configuration");
    let mut dhcpcd = second.command("dhcpcd");
    dhcpcd.args(["-6", "-B", "-d", "-f", &conf.display().to_string(), "eth0"]);
    let mut running = second.spawn_logged(dhcpcd, second.dir().join("dhcpcd.log")).expect("dhcpcd");
    let other = appliance.wait("dhcpcd's lease", PATIENCE, || {
        let leases = appliance.json(&["lease", "list"]);
        let mut leases = leases.as_array()?.iter();
        leases.find(|lease| lease["mac"] == second.mac() && lease["duid"].is_string()).cloned()
    });
    let other = other["ip"].as_str().expect("an address").to_owned();
    assert!(other.starts_with("fd00:77::1") && other != ip, "{other}");
    appliance.wait("the address on its card", PATIENCE, || {
        second.run("ip", &["-6", "addr", "show", "dev", "eth0"]).expect("ip").contains(&other).then_some(())
    });
    running.kill().expect("end dhcpcd");

    // Behind a relay, on a link of its own.
    let relay = rack.host_with("relay", HostSpec::default()).expect("a host");
    let third =
        rack.host_with("h3", HostSpec { bridge: "br1".into(), ..HostSpec::default() }).expect("a host");
    third.run("ip", &["link", "del", "eth0"]).expect("unplug it");
    let (from, to) = (relay.namespace(), third.namespace());
    let cable =
        format!("link add inner netns {from} type veth peer name eth0 address {} netns {to}", third.mac());
    rack.ip(&cable).expect("a cable");
    relay.run("ip", &["link", "set", "inner", "up"]).expect("up");
    third.run("ip", &["link", "set", "eth0", "up"]).expect("up");
    has_link_local(&appliance, &third);
    for (ip, card) in [("fd00:77::2/64", "eth0"), ("fd00:78::1/64", "inner")] {
        relay.run("ip", &["-6", "addr", "add", ip, "dev", card, "nodad"]).expect("an address");
    }
    let mut dhcrelay = relay.command("dhcrelay");
    dhcrelay.args(["-6", "-d", "-l", "inner", "-u", "fd00:77::1%eth0"]);
    let _dhcrelay = relay.spawn_logged(dhcrelay, "dhcrelay.log").expect("dhcrelay");
    std::thread::sleep(Duration::from_secs(2));
    let (relayed, text) = dhclient(&third, &[]);
    assert!(relayed.starts_with("fd00:78::1"), "{text}");
    let held = lease(&appliance, &relayed).expect("its lease");
    assert_eq!(held["mac"], third.mac(), "told by its link-local address, which the relay passed on");
    end(&third, "-x");

    // An operator takes an address back.
    appliance.ok(&["lease", "release", &relayed]);
    assert!(lease(&appliance, &relayed).is_none());
    appliance.stop();
}

#[test]
fn what_the_configuration_must_not_say() {
    let rack = Rack::new("sixbad").expect("a rack");
    let network = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\nranges = [\"10.77.0.100-10.77.0.200\"]\n";
    for (more, why) in [
        ("range6 = \"fd00::1-fd00::2\"\n", "it needs subnet6"),
        ("subnet6 = \"fd00::1/64\"\n", "host bits"),
        ("subnet6 = \"fe80::/64\"\n", "no prefix of unicast addresses"),
        ("subnet6 = \"fd00::/64\"\nrange6 = \"fd01::1-fd01::2\"\n", "not within"),
        ("subnet6 = \"fd00::/64\"\n", "ip -6 addr add fd00::1/64 dev br0"),
    ] {
        let appliance = Appliance::configure(&rack, firstlight(), &format!("{network}{more}"));
        let mut serve = rack.command(firstlight());
        let output = serve.arg("serve").arg("--config").arg(appliance.dir().join("firstlight.toml")).output();
        let output = output.expect("run it");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(why), "{more}: {told}");
    }
}

#[test]
fn firmware_boots_over_ipv6() {
    let rack = rack("sixboot");
    // Nobody serves IPv4: the firmware goes on to IPv6.
    let tables = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\ndhcp = \"off\"\nsubnet6 = \"fd00:77::/64\"\n";
    let mut appliance = Appliance::start(&rack, firstlight(), tables);
    let spec = MachineSpec { uefi_ipv6: true, ..MachineSpec::uefi("u6") };
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    let mac = machine.spec().mac.clone();
    let told = appliance.wait("iPXE over IPv6", BOOT, || {
        let told = appliance.cli(&["node", "timeline", &mac]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let sent = told.lines().any(|line| line.contains("tftp ipxe.efi:") && !line.contains("broken off"));
        (sent && told.contains("to iPXE")).then_some(told)
    });
    println!("{told}");
    assert!(told.contains("boot file tftp://[fd00:77::1]/ipxe.efi"), "{told}");
    let leases = appliance.json(&["lease", "list"]);
    assert_eq!(leases.as_array().map(Vec::len), Some(1), "firmware and iPXE have one address: {leases}");
    appliance.stop();
}
