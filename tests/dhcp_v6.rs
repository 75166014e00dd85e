//! IPv6: `dhclient -6`, `dhcpcd`, `systemd-networkd` and `rdisc6` on the link, `dhclient -6` behind a real relay (`dhcrelay -6`), names
//! by `dig`, `dnsmasq` as another server and router, and UEFI servers that boot over IPv6 alone. Needs root.

mod appliance;
mod programs;
mod rack;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use programs::ok;
use rack::{Host, HostSpec, MachineSpec, NetbootImage, Process, Rack};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
/// Firmware and iPXE try IPv4 first, or beside, each for a minute and more; and the machine may be busy.
const BOOT: Duration = Duration::from_secs(600);

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

/// A host behind a relay, on a link of its own; the relay, and its program for IPv6.
fn behind_a_relay(rack: &Rack, appliance: &Appliance<'_>) -> (Host, Host, Process) {
    let relay = rack.host_with("relay", HostSpec::default()).expect("a host");
    let host =
        rack.host_with("h3", HostSpec { bridge: "br1".into(), ..HostSpec::default() }).expect("a host");
    host.run("ip", &["link", "del", "eth0"]).expect("unplug it");
    let (from, to) = (relay.namespace(), host.namespace());
    let cable =
        format!("link add inner netns {from} type veth peer name eth0 address {} netns {to}", host.mac());
    rack.ip(&cable).expect("a cable");
    relay.run("ip", &["link", "set", "inner", "up"]).expect("up");
    host.run("ip", &["link", "set", "eth0", "up"]).expect("up");
    has_link_local(appliance, &host);
    for (ip, card) in [("fd00:77::2/64", "eth0"), ("fd00:78::1/64", "inner")] {
        relay.run("ip", &["-6", "addr", "add", ip, "dev", card, "nodad"]).expect("an address");
    }
    let mut dhcrelay = relay.command("dhcrelay");
    dhcrelay.args(["-6", "-d", "-l", "inner", "-u", "fd00:77::1%eth0"]);
    let running = relay.spawn_logged(dhcrelay, relay.dir().join("dhcrelay6.log")).expect("dhcrelay");
    (relay, host, running)
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
    for server in ["@10.77.0.1", "@fd00:77::1"] {
        let dig = |what: &[&str]| {
            let mut dig = first.command("dig");
            ok(dig.args([server, "+tries=2", "+timeout=5"]).args(what)).trim().to_owned()
        };
        let full = format!("{name}.mgmt.example");
        let turned = "0.0.0.0.0.0.0.0.7.7.0.0.0.0.d.f.ip6.arpa";
        for (what, expected) in [
            (&["+short", &full, "AAAA"][..], ip.as_str()),
            (&["+short", "+tcp", &full, "AAAA"], &ip),
            (&["+short", "-x", &ip], &format!("{full}.")),
            (&["+short", "firstlight.mgmt.example", "AAAA"], "fd00:77::1"),
            (&["+short", turned, "NS"], "firstlight.mgmt.example."),
        ] {
            assert_eq!(dig(what), expected, "{server} {what:?}");
        }
        // Nobody is configured to be asked about the rest of the world.
        let refused = dig(&["world.example"]);
        assert!(refused.contains("status: REFUSED") && refused.contains("EDNS: version: 0"), "{refused}");
    }
    let networks = appliance.json(&["network", "list"]);
    assert_eq!(networks[0]["v6"]["subnet"], "fd00:77::/64");
    assert_eq!(networks[0]["v6"]["bound"], 1, "{networks}");
    let table = appliance.ok(&["network", "list"]);
    assert!(table.lines().any(|line| line.starts_with("fd00:77::/64")), "{table}");

    // It sticks: through a release, a restart of the appliance by kill -9, and another name for itself.
    end(&first, "-r");
    appliance.wait("its release", PATIENCE, || {
        (lease(&appliance, &ip).expect("its lease")["state"] == "released").then_some(())
    });
    assert_eq!(dhclient(&first, &[]).0, ip);
    end(&first, "-x");
    appliance.kill();
    appliance.power_on();
    assert_eq!(lease(&appliance, &ip).expect("its lease")["active"], true, "it survives kill -9");
    std::fs::remove_file(first.dir().join("dhclient6.leases")).expect("forget all");
    assert_eq!(dhclient(&first, &["-D", "LLT"]).0, ip);
    end(&first, "-x");

    // Options alone (INFORMATION-REQUEST).
    let script = first.dir().join("told");
    std::fs::write(&script, format!("#!/bin/sh\nenv >>{}/told.env\n", first.dir().display()))
        .expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    let path = |name: &str| first.dir().join(name).display().to_string();
    let mut client = first.command("dhclient");
    client.args(["-6", "-S", "-1", "-v", "-cf", "/dev/null", "-lf", &path("told.leases")]);
    ok(client.args(["-pf", &path("dhclient6.pid"), "-sf", &path("told"), "eth0"]));
    let told = appliance.wait("the options", PATIENCE, || {
        let told = std::fs::read_to_string(path("told.env")).ok()?;
        told.contains("new_dhcp6_name_servers").then_some(told)
    });
    assert!(told.contains("new_dhcp6_name_servers=fd00:77::1\n"), "{told}");
    assert!(told.contains("new_dhcp6_domain_search=mgmt.example."), "{told}");
    assert!(!told.contains("new_ip6_address"), "{told}");
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

    let (_relay, third, _dhcrelay) = behind_a_relay(&rack, &appliance);
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

/// The uplink has nothing to give itself: all nodes are behind relays.
#[test]
fn nobody_but_those_behind_relays() {
    let rack = rack("sixrelay");
    rack.extra_bridge("br1", "10.99.0.1/24").expect("a bridge");
    let tables = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\ndhcp = \"off\"\n\
                  [[network]]\nsubnet = \"10.78.0.0/24\"\nranges = [\"10.78.0.100-10.78.0.200\"]\nsubnet6 = \"fd00:78::/64\"\n";
    let mut appliance = Appliance::start(&rack, firstlight(), tables);
    let near = host(&rack, &appliance, "h1");
    let (relay, far, _dhcrelay) = behind_a_relay(&rack, &appliance);
    relay.run("ip", &["addr", "add", "10.77.0.2/24", "dev", "eth0"]).expect("an address");
    relay.run("ip", &["addr", "add", "10.78.0.1/24", "dev", "inner"]).expect("an address");
    relay.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]).expect("forward");
    rack.ip("route add 10.78.0.0/24 via 10.77.0.2").expect("a route");
    let mut dhcrelay = relay.command("dhcrelay");
    dhcrelay.args(["-4", "-d", "-id", "inner", "-iu", "eth0", "10.77.0.1"]);
    let _dhcrelay4 = relay.spawn_logged(dhcrelay, relay.dir().join("dhcrelay4.log")).expect("dhcrelay");
    std::thread::sleep(Duration::from_secs(2));
    let (ip, text) = dhclient(&far, &[]);
    assert!(ip.starts_with("fd00:78::1"), "{text}");
    end(&far, "-x");
    ok(far.command("udhcpc").args(["-n", "-q", "-t", "5", "-T", "2", "-i", "eth0", "-s", "/bin/true"]));
    let leases = appliance.json(&["lease", "list"]);
    let of_far = |lease: &&Value| lease["mac"] == far.mac();
    assert_eq!(leases.as_array().expect("a list").iter().filter(of_far).count(), 2, "{leases}");
    // On the uplink itself nothing is given, and nothing advertised.
    let mut udhcpc = near.command("udhcpc");
    udhcpc.args(["-n", "-q", "-t", "2", "-T", "1", "-i", "eth0", "-s", "/bin/true"]);
    assert!(!udhcpc.status().expect("run udhcpc").success());
    let mut rdisc = near.command("rdisc6");
    assert!(!rdisc.args(["-1", "-r", "1", "-w", "1500", "eth0"]).status().expect("run rdisc6").success());
    appliance.stop();
}

/// systemd-networkd as it runs on a host, with its own `/run`; it takes a read-only `/sys` for a container's, and does not wait for udev.
fn networkd(host: &Host) -> Process {
    let script = r"
        set -e
        mount -t tmpfs tmpfs /run
        mount -o remount,bind,ro /sys
        mkdir -p /run/systemd/network /run/systemd/netif
        printf '[Match]\nName=eth0\n[Network]\nDHCP=yes\n[DHCPv4]\nClientIdentifier=mac\n[DHCPv6]\nDUIDType=link-layer\n' \
            >/run/systemd/network/eth0.network
        exec /lib/systemd/systemd-networkd
    ";
    let mut command = host.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.env("SYSTEMD_LOG_LEVEL", "debug").env("SYSTEMD_LOG_TARGET", "console");
    host.spawn_logged(command, host.dir().join("networkd.log")).expect("systemd-networkd")
}

#[test]
fn systemd_networkd_gets_both_addresses() {
    let rack = rack("networkd");
    let mut appliance = Appliance::start(&rack, firstlight(), TABLES);
    let host = rack.host_raw("h1").expect("a host");
    let lease_of = |subnet: &str| {
        let leases = appliance.json(&["lease", "list"]);
        let is_it = |lease: &&Value| {
            let ip = lease["ip"].as_str().is_some_and(|ip| ip.starts_with(subnet));
            ip && lease["mac"] == host.mac() && lease["active"] == true
        };
        let lease = leases.as_array()?.iter().find(is_it)?.clone();
        Some(lease["ip"].as_str()?.to_owned())
    };
    let mut first = Vec::new();
    for again in [false, true] {
        let mut running = networkd(&host);
        for subnet in ["10.77.0.1", "fd00:77::1"] {
            let log = std::fs::read_to_string(host.dir().join("networkd.log")).unwrap_or_default();
            let what = format!("networkd's lease of {subnet}…; it says: {log}");
            let ip = appliance.wait(&what, PATIENCE, || {
                let ip = lease_of(subnet)?;
                let on = host.run("ip", &["addr", "show", "dev", "eth0"]).expect("ip");
                on.contains(&format!("{ip}/")).then_some(ip)
            });
            if again {
                assert!(first.contains(&ip), "{ip}: not one of {first:?}");
            } else {
                first.push(ip);
            }
        }
        running.kill().expect("end it without a release");
        host.run("ip", &["addr", "flush", "dev", "eth0", "scope", "global"]).expect("flush");
    }
    appliance.stop();
}

/// Another `DHCPv6` server, which is a router with another prefix as well.
#[test]
fn another_server_and_another_router_are_told_of() {
    let rack = rack("sixrogue");
    let other = rack.host_raw("rogue").expect("a host");
    other.run("ip", &["link", "set", "eth0", "up"]).expect("up");
    other.run("ip", &["-6", "addr", "add", "fd00:99::1/64", "dev", "eth0", "nodad"]).expect("an address");
    let mut dnsmasq = rack::dnsmasq::dhcp_server(other.command("dnsmasq"));
    dnsmasq.args(["--interface=eth0", "--enable-ra", "--dhcp-range=fd00:99::100,fd00:99::200,64,1h"]);
    dnsmasq.arg(format!("--dhcp-leasefile={}", other.dir().join("leases").display()));
    let mut running = other.spawn_logged(dnsmasq, other.dir().join("dnsmasq.log")).expect("dnsmasq");
    let mut appliance = Appliance::start(&rack, firstlight(), TABLES);
    let link = other.run("ip", &["-6", "-br", "addr", "show", "dev", "eth0", "scope", "link"]).expect("ip");
    let link = link.split_whitespace().find(|word| word.starts_with("fe80")).expect("an address");
    let link = link.split('/').next().expect("an address");
    let told = appliance.wait("both to be told of", Duration::from_secs(60), || {
        let doctor = appliance.cli(&["doctor"]);
        let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let server = told.contains(&format!("another DHCP server, {link}, answers on br0"));
        let router = told.contains(&format!("a router, {link}, contradicts our advertisements on br0"));
        (server && router).then_some((told, doctor.status.success()))
    });
    assert!(!told.1, "they are errors: {}", told.0);
    let events = appliance.json(&["event", "list"]);
    let of =
        |kind: &str| events.as_array().expect("a list").iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((of("rogue-server"), of("rogue-router")), (1, 1), "once, not at every packet: {events}");
    running.kill().expect("end dnsmasq");
    appliance.stop();
}

/// Nobody serves IPv4.
const ALONE: &str = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\ndhcp = \"off\"\nsubnet6 = \"fd00:77::/64\"\n";

fn timeline(appliance: &Appliance<'_>, mac: &str) -> String {
    String::from_utf8_lossy(&appliance.cli(&["node", "timeline", mac]).stdout).into_owned()
}

/// Waits until each of these stands on the timeline.
fn wait_for(appliance: &Appliance<'_>, mac: &str, wanted: &[&str]) -> String {
    appliance.wait(&format!("{wanted:?}"), BOOT, || {
        let told = timeline(appliance, mac);
        wanted.iter().all(|one| told.contains(one)).then_some(told)
    })
}

/// Boot firmware, iPXE and system have one address. The firmware's own IP stack, which heard that addresses come by `DHCPv6`, asks for
/// one by an association of its own, which is another address (RFC 8415 section 12), and gives it back.
fn all_stages_have_one_address(appliance: &Appliance<'_>, told: &str) {
    let leases = appliance.json(&["lease", "list"]);
    let active: Vec<&Value> =
        leases.as_array().expect("leases").iter().filter(|lease| lease["active"] == true).collect();
    assert_eq!(active.len(), 1, "{leases}");
    let ip = active[0]["ip"].as_str().expect("an address");
    for stage in ["firmware (", "iPXE ("] {
        let mut lines = told.lines().filter(|line| line.contains("dhcp v6 reply") && line.contains(stage));
        assert!(lines.all(|line| line.contains(ip)), "{ip}: {told}");
    }
}

#[test]
fn firmware_boots_over_ipv6() {
    let rack = rack("sixboot");
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let image = NetbootImage::build(&images, "1").expect("a small image");
    let mut appliance = Appliance::start(&rack, firstlight(), ALONE);
    appliance.ok(&["image", "import", image.demo_manifest().to_str().expect("a plain path")]);
    let spec = MachineSpec { uefi_ipv6: true, ..MachineSpec::uefi("u6") };
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    let mac = machine.spec().mac.clone();
    let script = format!("http://[fd00:77::1]:8080/boot/{}/script.ipxe", mac.replace(':', "-"));
    wait_for(
        &appliance,
        &mac,
        &["boot file tftp://[fd00:77::1]/ipxe.efi", "tftp ipxe.efi:", &script, "script: wait"],
    );
    appliance.ok(&["node", "approve", &mac]);
    appliance.ok(&["node", "pin", &mac, "demo@1"]);
    appliance.wait_state(&mac, "ready", BOOT);
    let told = wait_for(&appliance, &mac, &["http demo@1 kernel:", "http demo@1 initrd0:"]);
    println!("{told}");
    assert!(!told.contains("10.77."), "{told}");
    all_stages_have_one_address(&appliance, &told);
    appliance.stop();
}

#[test]
fn firmware_boots_over_http_and_ipv6() {
    let rack = rack("sixhttp");
    let mut appliance = Appliance::start(&rack, firstlight(), ALONE);
    let without = ["IPv4PXESupport", "IPv6PXESupport"];
    let extra = without
        .iter()
        .flat_map(|service| ["-fw_cfg".to_owned(), format!("name=opt/org.tianocore/{service},string=n")]);
    let spec = MachineSpec { uefi_ipv6: true, extra: extra.collect(), ..MachineSpec::uefi("h6") };
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    let mac = machine.spec().mac.clone();
    let file = "boot file http://[fd00:77::1]:8080/boot/files/ipxe.efi";
    let told = wait_for(&appliance, &mac, &[file, "http ipxe.efi:", "to iPXE", "script: wait"]);
    println!("{told}");
    assert!(!told.contains("tftp"), "{told}");
    appliance.stop();
}
