//! The main job, on real firmware: BIOS and UEFI servers from power-on to `ready`.
//!
//! Firmware, iPXE, kernel and ramdisk are the distribution's; only the appliance is ours. Needs root.

mod appliance;
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use rack::{Machine, MachineSpec, NetbootImage, Rack};
use serde_json::Value;

/// A boot under software emulation takes half a minute; twice that and more for a busy machine.
const BOOT: Duration = Duration::from_secs(180);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

fn import(appliance: &Appliance<'_>, manifest: &Path) {
    appliance.ok(&["image", "import", manifest.to_str().expect("a plain path")]);
}

fn machine(rack: &Rack, spec: MachineSpec) -> (Machine, String) {
    let mac = spec.mac.clone();
    (rack.machine(spec).expect("a machine"), mac)
}

/// The kinds of a timeline's events, with what tells them apart.
fn steps(timeline: &[Value]) -> Vec<String> {
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let step = |event: &Value| match event["kind"].as_str()? {
        "state" => Some(format!("→ {}", text(event, "to"))),
        "script" => Some(format!("script {}", text(event, "action"))),
        "report" => Some(format!("report {}", text(event, "phase"))),
        "sent" => Some(format!("{} {}", text(event, "protocol"), text(event, "file"))),
        "dhcp" => Some(format!("dhcp {}", text(event, "message"))),
        other => Some(other.to_owned()),
    };
    timeline.iter().filter_map(step).collect()
}

/// Panics unless `wanted` stand in `timeline` in this order, whatever else stands between them.
fn assert_in_order(timeline: &[Value], wanted: &[&str]) {
    let steps = steps(timeline);
    let mut rest = steps.iter();
    for step in wanted {
        assert!(rest.any(|found| found.contains(step)), "no '{step}' in its place in {steps:#?}");
    }
}

/// Both kinds of firmware boot to `ready`; the appliance is killed with -9 halfway and started again: the same
/// addresses, nothing lost, the boot goes on. Then a reset brings them to `ready` again.
#[test]
fn both_firmwares_boot_to_ready_through_a_crash_of_the_appliance() {
    let rack = Rack::new("boot").expect("a rack");
    let image = NetbootImage::build(&image_cache(), "1").expect("a small image");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    import(&appliance, &image.demo_manifest());
    appliance.ok(&["group", "create", "web"]);
    appliance.ok(&["group", "pin", "web", "demo@1"]);

    let (mut bios, bios_mac) = machine(&rack, MachineSpec::bios("b1"));
    let (mut uefi, uefi_mac) = machine(&rack, MachineSpec::uefi("u1"));
    let macs = [bios_mac.as_str(), uefi_mac.as_str()];
    bios.power_on().expect("power on");
    uefi.power_on().expect("power on");

    // Strangers wait in iPXE, and say so to whoever stands in front of them.
    for mac in macs {
        appliance.wait_state(mac, "discovered", BOOT);
        appliance.wait(&format!("{mac} to wait in iPXE"), BOOT, || {
            steps(&appliance.timeline(mac)).iter().any(|step| step == "script wait").then_some(())
        });
    }
    bios.wait_serial("waits for approval", Duration::from_secs(20)).expect("the reason is on the console");

    for (mac, name) in macs.iter().zip(["b1", "u1"]) {
        appliance.ok(&["node", "set", mac, "--name", name, "--group", "web"]);
        appliance.ok(&["node", "approve", name]);
    }
    for mac in macs {
        appliance.wait(&format!("{mac} to be on its way"), BOOT, || {
            steps(&appliance.timeline(mac)).iter().any(|step| step == "script boot").then_some(())
        });
    }
    let before: Vec<Value> = macs.iter().map(|mac| appliance.node(mac).expect("a node")).collect();
    let events_before = appliance.json(&["event", "list", "--limit", "10000"]);

    appliance.kill();
    // Long enough for both to notice: whoever fetches or reports now has to try again.
    std::thread::sleep(Duration::from_secs(3));
    appliance.power_on();

    let events_after = appliance.json(&["event", "list", "--limit", "10000"]);
    for event in events_before.as_array().expect("events") {
        assert!(events_after.as_array().expect("events").contains(event), "lost in the crash: {event}");
    }
    for (mac, before) in macs.iter().zip(&before) {
        let ready = appliance.wait_state(mac, "ready", BOOT);
        for field in ["id", "name", "ip", "group", "first_seen"] {
            assert_eq!(ready[field], before[field], "{field} of {mac}");
        }
        assert_eq!(ready["desired"], "demo@1");
        assert_eq!(ready["observed"]["image"], "demo@1");
        assert!(
            ready["observed"]["kernel"]
                .as_str()
                .is_some_and(|kernel| kernel.starts_with(|c: char| c.is_ascii_digit()))
        );
    }
    assert_eq!(appliance.node("b1").expect("b1")["firmware"], "bios");
    assert_eq!(appliance.node("u1").expect("u1")["firmware"], "uefi");

    assert_in_order(
        &appliance.timeline("u1"),
        &[
            "discovered",
            "dhcp offer",
            "dhcp ack",
            "tftp ipxe.efi",
            "dhcp ack",
            "script wait",
            "→ enrolled",
            "script boot",
            "→ booting",
            "report configuring",
            "→ configuring",
            "report ready",
            "→ ready",
        ],
    );
    assert_in_order(
        &appliance.timeline("b1"),
        &[
            "discovered",
            "dhcp ack",
            "script wait",
            "→ enrolled",
            "script boot",
            "→ booting",
            "→ configuring",
            "→ ready",
        ],
    );
    let text = appliance.ok(&["node", "timeline", "b1"]);
    assert!(text.contains("booting → configuring after"), "durations are told:\n{text}");

    // A power cycle of a known node needs no hand.
    bios.reset().expect("reset");
    appliance.wait_state(&bios_mac, "booting", BOOT);
    let again = appliance.wait_state(&bios_mac, "ready", BOOT);
    assert_eq!(again["ip"], before[0]["ip"], "the same address after a reset");

    let refusal = appliance.refused(&["image", "remove", "demo@1"]);
    assert!(refusal.contains("pinned by group web"), "{refusal}");
    appliance.stop();
}

/// With a discovery image, a stranger boots it, tells what it is, and goes on by itself once it is approved.
#[test]
fn a_stranger_boots_the_discovery_ramdisk() {
    let rack = Rack::new("discover").expect("a rack");
    let image = NetbootImage::build(&image_cache(), "1").expect("a small image");
    let tables =
        format!("{NETWORK}\n[enrolment]\nunknown = \"discover\"\ndiscovery_image = \"discovery@1\"\n");
    let mut appliance = Appliance::start(&rack, firstlight(), &tables);
    import(&appliance, &image.demo_manifest());
    import(&appliance, &image.discovery_manifest());

    let (mut machine, mac) = machine(&rack, MachineSpec::bios("d1"));
    machine.power_on().expect("power on");
    let found = appliance.wait("its facts", BOOT, || {
        appliance.node(&mac).filter(|node| node["observed"]["facts"]["serial"] == "FL-d1")
    });
    assert_eq!(found["state"], "discovered", "telling what it is makes nobody trusted");
    assert_eq!(found["observed"]["facts"]["vendor"], "Firstlight Rack");
    assert!(found["observed"]["facts"]["memory_mib"].as_u64().is_some_and(|mib| (300..=512).contains(&mib)));

    // From here on it is known by its serial number, too.
    appliance.ok(&["node", "pin", "FL-d1", "demo@1"]);
    appliance.ok(&["node", "approve", "FL-d1"]);
    let ready = appliance.wait_state(&mac, "ready", BOOT);
    assert_eq!(ready["observed"]["image"], "demo@1");
    assert_in_order(
        &appliance.timeline("FL-d1"),
        &["script discover", "report discovered", "→ enrolled", "script boot", "→ booting", "→ ready"],
    );
    appliance.stop();
}

/// One folder for all tests of this program, so that packages are fetched once.
fn image_cache() -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("images")
}
