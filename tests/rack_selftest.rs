//! Proves the virtual rack with known software: dnsmasq and nginx boot one BIOS and one UEFI machine to user space.

mod rack;

use rack::{Baseline, BaselineSpec, HostSpec, Machine, MachineSpec, NetbootImage, Rack, Result};
use std::path::Path;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(60);

#[test]
fn real_firmware_boots_from_known_software_and_nothing_is_left() -> Result<()> {
    let image = NetbootImage::build(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("images"), "1")?;
    println!("KVM works: {}", rack::accel::probe(&image));

    let rack = Rack::new("selftest")?;
    let namespace = rack.namespace().to_owned();
    let dir = rack.dir().to_owned();
    let baseline = Baseline::start(&rack, &BaselineSpec { image, report_url: None, tuned: true })?;

    let mut bios = rack.machine(MachineSpec::bios("bios"))?;
    let mut uefi = rack.machine(MachineSpec::uefi("uefi"))?;
    bios.power_on()?;
    uefi.power_on()?;
    for machine in [&mut bios, &mut uefi] {
        boots(machine)?;
    }

    bios.reset()?;
    uefi.power_off()?;
    assert!(!uefi.is_on()?, "a machine that was switched off has no power");
    boots(&mut bios)?;
    let pid = bios.pid().map(|pid| format!("/proc/{pid}"));

    dhcp_client_gets_an_address(&rack)?;

    let reports =
        baseline.access_log()?.lines().filter(|line| line.contains("POST /agent/v1/report 200")).count();
    assert!(reports >= 6, "3 boots report `configuring` and `ready` each; nginx saw {reports}");

    let pids = rack::sweep::pids_in(&namespace);
    assert!(pids.len() >= 3, "QEMU, dnsmasq and nginx run in the namespace: {pids:?}");
    drop((bios, uefi, baseline, rack));
    assert!(!Path::new("/run/netns").join(&namespace).exists(), "the namespace is gone");
    assert!(!Path::new("/etc/netns").join(&namespace).exists(), "its folder in /etc is gone");
    assert!(!dir.exists(), "the temporary folder is gone");
    assert!(pid.is_some_and(|pid| !Path::new(&pid).exists()), "QEMU is gone");
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} of the namespace is gone");
    }
    Ok(())
}

/// From power-on or reset to the image's last report.
fn boots(machine: &mut Machine) -> Result<()> {
    let configuring = machine.wait_serial("firstlight: configuring", BOOT)?;
    let ready = machine.wait_serial("firstlight: reported ready", BOOT)?;
    println!(
        "{} ({:?}): configuring after {:.1} s, ready after {:.1} s",
        machine.spec().name,
        machine.spec().firmware,
        configuring.as_secs_f32(),
        ready.as_secs_f32()
    );
    Ok(())
}

/// A client in a namespace of its own, then moved to a segment without a server; this computer's files stay.
fn dhcp_client_gets_an_address(rack: &Rack) -> Result<()> {
    let before = std::fs::read("/etc/resolv.conf").ok();
    let fixed = rack.host("fixed")?;
    let client =
        rack.host_with("client", HostSpec { mac: Some("52:54:00:00:00:99".into()), ..HostSpec::default() })?;
    client.run("udhcpc", &["-i", "eth0", "-n", "-q", "-f"])?;
    let addresses = client.ipv4_addresses()?;
    assert!(addresses.iter().any(|address| address.starts_with("10.77.0.")), "from the pool: {addresses:?}");
    let peer = fixed.address().and_then(|address| address.split('/').next()).unwrap_or_default();
    client.run("busybox", &["ping", "-c1", "-W2", peer])?;

    rack.extra_bridge("br1", "10.78.0.1/24")?;
    client.replug("br1")?;
    let unanswered = client.run("udhcpc", &["-i", "eth0", "-n", "-q", "-f", "-t", "1", "-T", "1"]);
    assert!(unanswered.is_err(), "nobody serves the other segment");
    client.replug(rack::BRIDGE)?;
    client.run("dhclient", &["-1", "-v", "-pf", "/run/dhclient.pid", "eth0"])?;
    assert_eq!(
        before,
        std::fs::read("/etc/resolv.conf").ok(),
        "/etc/resolv.conf of this computer is as it was"
    );
    Ok(())
}
