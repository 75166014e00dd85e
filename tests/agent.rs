//! The agent in its ramdisk, on real firmware: what it finds, and what becomes of a machine that is not the one it says.
//!
//! Firmware, iPXE and kernel are the distribution's; only appliance and agent are ours. Needs root.

mod appliance;
mod programs;
mod rack;
mod ramdisk;

use std::path::Path;

use rack::{MachineSpec, Rack};
use ramdisk::BOOT;
use serde_json::Value;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

#[test]
fn a_machine_tells_what_it_is_made_of() {
    let rack = Rack::new("agent").expect("a rack");
    let mut appliance = ramdisk::appliance(&rack, firstlight(), "");
    let disk = rack.dir().join("nvme.raw");
    std::fs::File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("an empty disk");
    let mut spec = MachineSpec::bios("d1");
    spec.memory_mib = 768;
    spec.extra.extend(
        [
            "-smbios",
            "type=17,loc_pfx=DIMM,manufacturer=ACME,serial=M-1,part=P-1,speed=3200",
            "-smbios",
            "type=3,asset=RACK-7",
            "-drive",
            &format!("if=none,id=nv,format=raw,file={}", disk.display()),
            "-device",
            "nvme,serial=NV-1,drive=nv",
        ]
        .map(str::to_owned),
    );
    let mac = spec.mac.clone();
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    let found = appliance.wait("its inventory", BOOT, || {
        appliance.node(&mac).filter(|node| node["observed"]["facts"]["serial"] == "FL-d1")
    });
    assert_eq!(found["state"], "discovered", "telling what it is makes nobody trusted");
    println!("{}", machine.serial_text().expect("a console"));
    let told = appliance.json(&["node", "hardware", "FL-d1"]);
    println!("{}", appliance.ok(&["node", "hardware", "FL-d1"]));
    let made_of = &told["inventory"];
    assert_eq!(made_of["system"]["asset_tag"], "RACK-7");
    assert_eq!(made_of["memory"]["dimms"][0]["serial"], "M-1");
    assert_eq!(made_of["firmware"], "bios");
    let disks = made_of["disks"].as_array().expect("disks");
    let nvme = disks.iter().find(|disk| disk["serial"] == "NV-1").expect("its NVMe disk");
    assert_eq!((&nvme["transport"], &nvme["size_bytes"]), (&Value::from("nvme"), &Value::from(64 << 20)));
    machine
        .wait_serial("waits for approval: firstlight node approve", BOOT)
        .expect("the reason is on the console");

    let list = |filter: &str| appliance.json(&["node", "list", "--where", filter]).as_array().map(Vec::len);
    assert_eq!(list("memory>=700MiB and disk.nvme>0"), Some(1));
    assert_eq!(list("memory>=64GiB or asset=RACK-8"), Some(0));
    let refusal = appliance.refused(&["node", "list", "--where", "memroy>1"]);
    assert!(refusal.contains("memory"), "{refusal}");

    // A module less, a boot later.
    machine.power_off().expect("power off");
    machine.respec(|spec| {
        let at = spec.extra.iter().position(|word| word.starts_with("type=17")).expect("the module");
        spec.extra[at] = "type=17,loc_pfx=DIMM,manufacturer=ACME,serial=M-2,part=P-1,speed=3200".into();
    });
    machine.power_on().expect("power on");
    let changes = appliance.wait("its new inventory", BOOT, || {
        let changes = appliance.json(&["node", "diff", "FL-d1"])["changes"].clone();
        (changes.as_array().is_some_and(|changes| !changes.is_empty())).then_some(changes)
    });
    let text = changes.to_string();
    assert!(text.contains("M-1") && text.contains("gone"), "{text}");
    assert!(appliance.timeline("FL-d1").iter().any(|event| event["kind"] == "hardware"), "it is an event");

    // Approved, it enrols, and waits for a pin.
    appliance.ok(&["node", "approve", "FL-d1"]);
    appliance.wait("its certificate", BOOT, || {
        appliance.timeline("FL-d1").iter().any(|event| event["kind"] == "certified").then_some(())
    });
    machine.wait_serial("has no image yet: firstlight node pin", BOOT).expect("the reason is on the console");
    appliance.stop();
}

/// A shell for the operator in the ramdisk, with `ssh` and the key of the configuration; and back to work afterwards.
#[test]
fn a_rescue_shell() {
    let rack = Rack::new("rescue").expect("a rack");
    let key = rack::key_pair(rack.dir(), "key");
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("the public key");
    let tables = format!("[install]\nssh_keys = [\"{}\"]\n", public.trim());
    let mut appliance = ramdisk::appliance(&rack, firstlight(), &tables);
    let spec = MachineSpec::uefi("r1");
    let mac = spec.mac.clone();
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    appliance.wait_state(&mac, "discovered", BOOT);
    appliance.ok(&["node", "approve", &mac]);
    appliance.ok(&["node", "boot", "rescue", &mac]);
    machine.reset().expect("reset");
    let node = appliance.wait("the rescue shell", BOOT, || {
        appliance.node(&mac).filter(|node| node["heard"]["phase"] == "rescue")
    });
    let told = node["heard"]["message"].as_str().expect("how to get in");
    assert!(told.contains("ssh root@") && told.contains("SHA256:"), "{told}");
    let ip = node["ip"].as_str().expect("its address");
    let ssh = |key: &Path, command: &str| rack::ssh(&rack, key, ip, command).output().expect("run ssh");
    let output = ssh(&key, "uname -s; exit 7");
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Linux");
    let other = rack::key_pair(rack.dir(), "other");
    assert_eq!(ssh(&other, "true").status.code(), Some(255), "another key does not get in");

    // Once is once.
    machine.reset().expect("reset");
    appliance.wait("its agent to wait for a pin", BOOT, || {
        appliance.node(&mac).filter(|node| {
            node["heard"]["message"].as_str().is_some_and(|text| text.contains("no image yet"))
        })
    });
    appliance.stop();
}
