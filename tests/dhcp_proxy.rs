//! Beside another DHCP server: dnsmasq gives the addresses, we give the boot files. BIOS and UEFI servers boot. Needs root.

mod appliance;
mod programs;
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use programs::ok;
use rack::{Host, HostSpec, MachineSpec, NetbootImage, Process, Rack};

const BOOT: Duration = Duration::from_secs(240);

#[test]
fn servers_boot_with_addresses_of_dnsmasq() {
    let rack = Rack::new("proxy").expect("a rack");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let image = NetbootImage::build(&cache, "1").expect("a small image");
    let (_other, _dnsmasq) = other_server(&rack);
    let tables = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.77.0.0/24\"\ndhcp = \"proxy\"\n";
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), tables);
    appliance.ok(&["image", "import", &image.demo_manifest().display().to_string()]);
    let mut machines =
        [MachineSpec::bios("b1"), MachineSpec::uefi("u1")].map(|spec| rack.machine(spec).expect("a machine"));
    for machine in &mut machines {
        machine.power_on().expect("power on");
    }
    for machine in &machines {
        let mac = machine.spec().mac.clone();
        appliance.wait_state(&mac, "discovered", BOOT);
        appliance.ok(&["node", "pin", &mac, "demo@1"]);
        appliance.ok(&["node", "approve", &mac]);
    }
    for machine in &machines {
        let node = appliance.wait_state(&machine.spec().mac, "ready", BOOT);
        let ip = node["ip"].as_str().expect("its address is known");
        assert!(ip.starts_with("10.77.0.5") || ip == "10.77.0.60", "{ip} is of dnsmasq's range");
        let told = appliance.ok(&["node", "timeline", &machine.spec().mac]);
        println!("{told}");
        assert!(told.contains("dhcp proxy offer") && !told.contains("dhcp ack"), "{told}");
    }
    appliance.stop();
}

/// With a boot menu firmware does not take the boot file from the offer, but asks the menu's server for it, at port 4011 (PXE
/// specification 2.1, section 2.2.3).
#[test]
fn firmware_with_a_boot_menu_asks_at_port_4011() {
    let rack = Rack::new("menu").expect("a rack");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let image = NetbootImage::build(&cache, "1").expect("a small image");
    let (_other, _dnsmasq) = other_server(&rack);
    let tables = r#"
[[network]]
interface = "br0"
subnet = "10.77.0.0/24"
dhcp = "proxy"

[network.options.vendor-encapsulated-options]
discovery-control = 7
boot-servers = ["15 10.77.0.1"]
boot-menu = ["15 Firstlight"]
menu-prompt = "0 Firstlight"
"#;
    let mut appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), tables);
    appliance.ok(&["image", "import", &image.demo_manifest().display().to_string()]);
    let capture = rack.dir().join("4011.pcap");
    let mut tcpdump = rack.command("tcpdump");
    tcpdump.args(["-i", "br0", "-U", "-w"]).arg(&capture).args(["udp", "port", "4011"]);
    let _tcpdump = rack.spawn_logged(tcpdump, "tcpdump.log").expect("tcpdump");
    let mut machine = rack.machine(MachineSpec::uefi("u1")).expect("a machine");
    machine.power_on().expect("power on");
    let mac = machine.spec().mac.clone();
    appliance.wait_state(&mac, "discovered", BOOT);
    appliance.ok(&["node", "pin", &mac, "demo@1"]);
    appliance.ok(&["node", "approve", &mac]);
    appliance.wait_state(&mac, "ready", BOOT);
    let told = appliance.ok(&["node", "timeline", &mac]);
    println!("{told}");
    assert!(told.contains("dhcp proxy ack"), "{told}");
    let packets = ok(rack.command("tcpdump").args(["-n", "-r"]).arg(&capture));
    println!("{packets}");
    assert!(packets.contains("> 10.77.0.1.4011:"), "firmware asks: {packets}");
    assert!(packets.contains("10.77.0.1.4011 > 10.77.0."), "it is answered: {packets}");
    appliance.stop();
}

/// dnsmasq, which gives the addresses.
fn other_server(rack: &Rack) -> (Host, Process) {
    let spec = HostSpec { address: Some("10.77.0.2/24".into()), ..HostSpec::default() };
    let other = rack.host_with("other", spec).expect("a host");
    let mut dnsmasq = rack::dnsmasq::dhcp_server(other.command("dnsmasq"));
    dnsmasq.args(["--dhcp-range=10.77.0.50,10.77.0.60,1h", "--dhcp-leasefile=/dev/null", "--log-dhcp"]);
    let process = other.spawn_logged(dnsmasq, "dnsmasq.log").expect("dnsmasq");
    (other, process)
}
