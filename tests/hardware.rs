//! The ramdisk of the distribution's whole kernel: its size, its bytes, what depmod thinks of it, and a machine with a network
//! card, a TPM, a BMC and a switch that the small cloud kernel of the other tests does not know. And the memory test.
//!
//! `QEMU`, `swtpm`, `lldpd`, `memtest86+` and the kernel are the distribution's. Needs root.

mod appliance;
mod programs;
mod rack;
mod ramdisk;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use firstlight::modules::{INDEX_PATH, index_text, name_of_file};
use firstlight::ramdisk::{Inputs, build};
use programs::ok;
use rack::{BRIDGE, MachineSpec, Rack};
use ramdisk::BOOT;

/// What DESIGN allows a ramdisk with all drivers, bytes.
const LARGEST: u64 = 40 << 20;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

#[test]
fn small_and_the_same_bytes_each_time() {
    let work = tempfile::tempdir().expect("a folder");
    let inputs =
        Inputs { kernel: vec![ramdisk::full_kernel()], agent: firstlight().into(), ..Inputs::default() };
    let built = ["first", "second"].map(|name| {
        let folder = work.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        build(&inputs, &folder, &mut |_| {}).expect("a ramdisk")
    });
    let [first, second] = &built;
    println!("{} bytes, {} modules", first.initrd_bytes, first.modules);
    assert!(first.initrd_bytes <= LARGEST, "{} bytes", first.initrd_bytes);
    assert!(first.modules > 300 && first.left_out.is_empty(), "{first:?}");
    let bytes = [&first.initrd, &second.initrd].map(|path| fs::read(path).expect("a ramdisk"));
    assert!(bytes[0] == bytes[1], "the same inputs make the same bytes");

    // What zstd and cpio make of it, and what depmod sees there.
    let root = work.path().join("root");
    fs::create_dir(&root).expect("a folder");
    let unpack = "zstd -dc \"$1\" | cpio -idm --quiet --no-absolute-filenames";
    ok(Command::new("sh").args(["-ec", unpack, "sh"]).arg(&first.initrd).current_dir(&root));
    let text = fs::read_to_string(root.join(INDEX_PATH)).expect("the index");
    let index = index_text::parse(&text).expect("an index that can be read");
    assert!(index.missing().is_empty(), "{:?}", index.missing());
    ok(Command::new("depmod").arg("-b").arg(&root).arg(&first.kernel_release));
    let theirs = root.join(format!("lib/modules/{}/modules.dep", first.kernel_release));
    let name = |path: &str| name_of_file(path).expect("a module");
    let theirs: BTreeMap<String, BTreeSet<String>> = fs::read_to_string(theirs)
        .expect("what depmod wrote")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (name(module), needs.split_whitespace().map(name).collect()))
        .collect();
    assert_eq!(theirs.len(), index.modules().len());
    for module in index.modules() {
        let (mut ours, mut left) = (BTreeSet::new(), module.depends.clone());
        while let Some(need) = left.pop() {
            if let Some(found) = index.get(&need) {
                left.extend(found.depends.iter().cloned());
                ours.insert(need);
            }
        }
        assert_eq!(ours, theirs[&module.name], "{}", module.name);
    }
}

/// A software TPM for one machine; the words that plug it in.
fn tpm(rack: &Rack) -> (rack::Process, Vec<String>) {
    let state = rack.dir().join("tpm");
    fs::create_dir(&state).expect("a folder");
    let socket = state.join("socket");
    let mut swtpm = rack.command("swtpm");
    swtpm.args(["socket", "--tpm2", "--flags", "not-need-init", "--tpmstate"]);
    swtpm.arg(format!("dir={}", state.display()));
    swtpm.args(["--ctrl", &format!("type=unixio,path={}", socket.display())]);
    let process = rack.spawn_logged(swtpm, "swtpm.log").expect("swtpm");
    let channel = format!("socket,id=tpm,path={}", socket.display());
    let words =
        ["-chardev", &channel, "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm"];
    (process, words.map(str::to_owned).to_vec())
}

/// A switch that tells its neighbours who they are plugged into: lldpd, on the machine's port of the bridge.
fn switch(rack: &Rack, port: &str) -> rack::Process {
    let mut lldpd = rack.command("lldpd");
    let socket = rack.dir().join("lldpd.socket");
    lldpd.args(["-d", "-S", "switch of rack 7", "-M", "4", "-I", port, "-C", BRIDGE, "-u"]).arg(&socket);
    let process = rack.spawn_logged(lldpd, "lldpd.log").expect("lldpd");
    let mut setup = rack.command("lldpcli");
    setup.arg("-u").arg(&socket).args(["configure", "lldp", "tx-interval", "2"]);
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    ok(&mut setup);
    let mut name = rack.command("lldpcli");
    name.arg("-u").arg(&socket).args(["configure", "system", "hostname", "switch7"]);
    ok(&mut name);
    process
}

#[test]
fn a_machine_with_tpm_bmc_and_a_switch() {
    let rack = Rack::new("hardware").expect("a rack");
    let kernel: PathBuf = ramdisk::full_kernel();
    let mut appliance = ramdisk::appliance_with(&rack, firstlight(), "", &kernel);
    let mut spec = MachineSpec::bios("h1");
    (spec.memory_mib, spec.card) = (1024, "e1000");
    let disk = rack.dir().join("sata.raw");
    fs::File::create(&disk).and_then(|file| file.set_len(64 << 20)).expect("an empty disk");
    let (_tpm, words) = tpm(&rack);
    spec.extra.extend(words);
    let drive = format!("if=none,id=sata,format=raw,file={}", disk.display());
    spec.extra.extend(
        [
            "-device",
            "ipmi-bmc-sim,id=bmc",
            "-device",
            "isa-ipmi-kcs,bmc=bmc",
            "-drive",
            &drive,
            "-device",
            "ich9-ahci,id=ahci",
            "-device",
            "ide-hd,bus=ahci.0,drive=sata,serial=SATA-1,rotation_rate=7200",
        ]
        .map(str::to_owned),
    );
    let mac = spec.mac.clone();
    let mut machine = rack.machine(spec).expect("a machine");
    let _switch = switch(&rack, machine.port().expect("a port"));
    machine.power_on().expect("power on");
    appliance.wait("its inventory", BOOT, || {
        appliance.node(&mac).filter(|node| node["observed"]["facts"]["serial"] == "FL-h1")
    });
    // Switches speak seldom: the neighbour comes with a second inventory.
    let made_of = appliance.wait("its neighbour", BOOT, || {
        let made_of = appliance.json(&["node", "hardware", "FL-h1"])["inventory"].clone();
        (!made_of["nics"][0]["lldp"].is_null()).then_some(made_of)
    });
    println!("{}", appliance.ok(&["node", "hardware", "FL-h1"]));
    let nic = &made_of["nics"][0];
    assert_eq!((nic["driver"].as_str(), nic["link"].as_bool()), (Some("e1000"), Some(true)));
    assert_eq!(nic["lldp"]["system_name"], "switch7", "{}", nic["lldp"]);
    let disk = &made_of["disks"][0];
    assert_eq!((disk["serial"].as_str(), disk["rotational"].as_bool()), (Some("SATA-1"), Some(true)));
    assert_eq!(
        made_of["bmc"]["kind"].as_str().map(|kind| kind.starts_with("IPMI 2.0")),
        Some(true),
        "{made_of}"
    );
    assert_eq!(made_of["tpm"]["version"], "2.0");
    let key = made_of["tpm"]["ek_sha256"].as_str().expect("its endorsement key");
    assert!(key.len() == 64 && key.bytes().all(|digit| digit.is_ascii_hexdigit()), "{key}");
    appliance.stop();
}

#[test]
fn a_memory_test_once() {
    let rack = Rack::new("memtest").expect("a rack");
    let mut appliance = ramdisk::appliance(&rack, firstlight(), "");
    let spec = MachineSpec::bios("m1");
    let mac = spec.mac.clone();
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    appliance.wait_state(&mac, "discovered", BOOT);
    let refusal = appliance.refused(&["node", "boot", "memtest", &mac]);
    assert!(refusal.contains("firstlight node approve"), "{refusal}");
    appliance.ok(&["node", "approve", &mac]);
    appliance.ok(&["node", "boot", "memtest", &mac]);
    machine.reset().expect("reset");
    machine.wait_serial("Memtest86+", BOOT).expect("the memory test on the console");

    // Once is once.
    machine.reset().expect("reset");
    machine.wait_serial("has no image yet", BOOT).expect("it boots as usual");
    appliance.stop();
}
