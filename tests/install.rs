//! Disk images on blank disks, on real firmware: installed, booted from there, upgraded, and gone on with after power cuts.
//!
//! The system is Debian, made by mmdebstrap with its own kernel and GRUB. Needs root.

mod appliance;
mod programs;
mod rack;
mod ramdisk;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use appliance::Appliance;
use programs::run;
use rack::{Disk, Machine, MachineSpec, Rack};
use ramdisk::BOOT;
use serde_json::Value;

/// Writing half a gigabyte under software emulation, beside another machine.
const INSTALL: Duration = Duration::from_secs(420);
/// The disks' size: larger than the image's 1500 MiB.
const DISK: u64 = 3 << 30;
/// The manifest's partition that upgrades leave alone.
const DATA: &str = "data_partition = { label = \"data\", size = \"64MiB\" }\n";

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

fn import(appliance: &Appliance<'_>, folder: &Path) {
    appliance.ok(&["image", "import", folder.join("disk.toml").to_str().expect("a plain path")]);
}

/// A machine with an empty disk.
fn machine(rack: &Rack, mut spec: MachineSpec) -> (Machine, PathBuf) {
    let path = rack.dir().join(format!("{}.disk", spec.name));
    File::create(&path).and_then(|file| file.set_len(DISK)).expect("an empty disk");
    spec.memory_mib = 768;
    spec.disks.push(Disk::Raw { path: path.clone(), options: "discard=unmap".into() });
    (rack.machine(spec).expect("a machine"), path)
}

fn kinds(timeline: &[Value], kind: &str) -> usize {
    timeline.iter().filter(|event| event["kind"] == kind).count()
}

/// First and last byte of a partition of a disk.
fn partition(disk: &Path, number: u32) -> (u64, u64) {
    let text = run("sgdisk", &[&format!("--info={number}"), disk.to_str().expect("a plain path")]);
    let sector = |label: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .unwrap_or_else(|| panic!("{label} in {text}"));
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    (sector("First sector: ") * 512, (sector("Last sector: ") + 1) * 512 - 1)
}

/// A file of the root file system on a disk.
fn file_on(disk: &Path, number: u32, path: &str) -> String {
    let (first, _) = partition(disk, number);
    let device = format!("{}?offset={first}", disk.display());
    run("debugfs", &["-R", &format!("cat {path}"), &device])
}

/// Checks what stands on a disk that was installed and switched off: table, size, name, file system.
fn check_disk(disk: &Path, hostname: &str, version: &str) {
    let verified = run("sgdisk", &["--verify", disk.to_str().expect("a plain path")]);
    assert!(verified.contains("No problems found"), "{verified}");
    let (first, last) = partition(disk, 3);
    assert!(
        last - first > DISK - (300 << 20),
        "the root partition reaches the data partition: {first} to {last}"
    );
    let device = format!("{}?offset={first}", disk.display());
    let told = run("dumpe2fs", &["-h", &device]);
    let number = |label: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(label)).expect(label);
        line.trim().parse::<u64>().expect("a number")
    };
    let bytes = number("Block count:") * number("Block size:");
    assert!(bytes + (1 << 20) > last - first, "the file system fills it: {bytes} of {}", last - first);
    assert_eq!(file_on(disk, 3, "/etc/hostname"), format!("{hostname}\n"));
    assert_eq!(file_on(disk, 3, "/etc/image-version"), format!("{version}\n"));
}

#[test]
fn installed_upgraded_and_wiped() {
    let rack = Rack::new("install").expect("a rack");
    let (one, two) = (ramdisk::debian("1", DATA), ramdisk::debian("2", DATA));
    let mut appliance = ramdisk::appliance(&rack, firstlight(), "");
    import(&appliance, &one);
    appliance.ok(&["group", "create", "web"]);
    appliance.ok(&["group", "pin", "web", "debian@1"]);
    let (mut bios, bios_disk) = machine(&rack, MachineSpec::bios("b1"));
    let (mut uefi, uefi_disk) = machine(&rack, MachineSpec::uefi("u1"));
    let macs = [bios.spec().mac.clone(), uefi.spec().mac.clone()];
    bios.power_on().expect("power on");
    uefi.power_on().expect("power on");
    for (mac, name) in macs.iter().zip(["b1", "u1"]) {
        appliance.wait_state(mac, "discovered", BOOT);
        appliance.ok(&["node", "set", mac, "--name", name, "--group", "web"]);
        appliance.ok(&["node", "approve", name]);
    }
    for name in ["b1", "u1"] {
        let ready = appliance.wait_state(name, "ready", INSTALL);
        assert_eq!(ready["observed"]["image"], "debian@1");
        assert_eq!(ready["installed"]["image"], "debian@1");
    }
    bios.wait_serial("b1 login:", BOOT).expect("the system has its name");
    uefi.wait_serial("u1 login:", BOOT).expect("the system has its name");
    println!("{}", appliance.ok(&["node", "timeline", "b1"]));

    // What stands there, seen from outside; and something of the operator's in the data partition.
    bios.press_power_button().expect("power off");
    uefi.press_power_button().expect("power off");
    let marks =
        [(&mut bios, &bios_disk, "b1"), (&mut uefi, &uefi_disk, "u1")].map(|(machine, disk, name)| {
            machine.wait_exit(BOOT).expect("it shuts down");
            check_disk(disk, name, "1");
            let (first, last) = partition(disk, 4);
            let file = File::options().write(true).open(disk).expect("the disk");
            file.write_all_at(name.as_bytes(), first).expect("write");
            file.write_all_at(name.as_bytes(), last - 1).expect("write");
            (first, last)
        });

    // A power cycle boots the disk again, and installs nothing.
    bios.power_on().expect("power on");
    uefi.power_on().expect("power on");
    for name in ["b1", "u1"] {
        appliance.wait_state(name, "booting", BOOT);
        appliance.wait_state(name, "ready", BOOT);
        assert_eq!(kinds(&appliance.timeline(name), "installed"), 1, "not installed anew");
    }

    // One command for the upgrade.
    import(&appliance, &two);
    appliance.ok(&["group", "pin", "web", "debian@2"]);
    appliance.ok(&["node", "upgrade", "b1", "u1"]);
    for name in ["b1", "u1"] {
        appliance.wait(&format!("{name} to run the new image"), INSTALL, || {
            let node = appliance.node(name).expect("a node");
            (node["state"] == "ready" && node["observed"]["image"] == "debian@2").then_some(())
        });
    }
    println!("{}", appliance.ok(&["node", "timeline", "u1"]));
    bios.press_power_button().expect("power off");
    uefi.press_power_button().expect("power off");
    let both = [(&mut bios, &bios_disk, "b1"), (&mut uefi, &uefi_disk, "u1")];
    for ((machine, disk, name), mark) in both.into_iter().zip(marks) {
        machine.wait_exit(BOOT).expect("it shuts down");
        check_disk(disk, name, "2");
        assert_eq!(partition(disk, 4), mark, "the data partition is where it was");
        let file = File::open(disk).expect("the disk");
        for at in [mark.0, mark.1 - 1] {
            let mut found = [0; 2];
            file.read_exact_at(&mut found, at).expect("read");
            assert_eq!(&found, name.as_bytes(), "what was in the data partition of {name}");
        }
    }

    // Retired: every byte is zero, with a certificate.
    appliance.ok(&["node", "retire", "b1", "--yes"]);
    bios.power_on().expect("power on");
    appliance.wait("b1 to be retired", INSTALL, || {
        (appliance.node("b1").expect("a node")["state"] == "retired").then_some(())
    });
    bios.power_off().expect("power off");
    let certificate =
        appliance.timeline("b1").into_iter().find(|event| event["kind"] == "erased").expect("a certificate");
    println!("{certificate}");
    assert_eq!(certificate["certificate"]["size_bytes"], DISK);
    let zeros =
        run("cmp", &["--bytes", &DISK.to_string(), bios_disk.to_str().expect("a plain path"), "/dev/zero"]);
    assert_eq!(zeros, "", "the disk holds zeros only");
    appliance.stop();
}

/// The power is cut in the middle of an installation, ten times at moments of chance. Each boot goes on; what stands there in the
/// end is the image, and boots.
#[test]
fn gone_on_with_after_ten_power_cuts() {
    let rack = Rack::new("cuts").expect("a rack");
    let image = ramdisk::debian("1", DATA);
    let mut appliance = ramdisk::appliance(&rack, firstlight(), "");
    import(&appliance, &image);
    let (mut machine, disk) = machine(&rack, MachineSpec::bios("c1"));
    let mac = machine.spec().mac.clone();
    machine.power_on().expect("power on");
    appliance.wait_state(&mac, "discovered", BOOT);
    appliance.ok(&["node", "set", &mac, "--name", "c1"]);
    appliance.ok(&["node", "pin", "c1", "debian@1"]);
    appliance.ok(&["node", "approve", "c1"]);
    let mut seed = [0; 10];
    File::open("/dev/urandom").and_then(|file| file.read_exact_at(&mut seed, 0)).expect("random bytes");
    println!("SEED={seed:?}");
    for (cut, byte) in seed.into_iter().enumerate() {
        // Its own word for it: the state alone stays from before the cut.
        let since = machine.elapsed();
        appliance.wait(&format!("it to install again, after cut {cut}"), BOOT, || {
            let heard = appliance.node("c1").expect("a node")["heard"].clone();
            let new = heard["at"].as_u64().is_some_and(|at| now_ms() - at < 3000);
            (machine.elapsed() > since && new && heard["phase"] == "installing").then_some(())
        });
        std::thread::sleep(Duration::from_millis(u64::from(byte) * 12));
        assert_eq!(
            appliance.node("c1").expect("a node")["state"],
            "installing",
            "the cut comes in the middle"
        );
        machine.kill().expect("cut the power");
        let head = &mut [0; 1024];
        File::open(&disk).and_then(|file| file.read_exact_at(head, 0)).expect("read");
        assert!(head.iter().all(|byte| *byte == 0), "half an image must not boot");
        std::thread::sleep(Duration::from_secs(4));
        machine.power_on().expect("power on");
    }
    let ready = appliance.wait_state(&mac, "ready", INSTALL);
    assert_eq!(ready["observed"]["image"], "debian@1");
    let timeline = appliance.timeline("c1");
    let installed = timeline.iter().find(|event| event["kind"] == "installed").expect("it is installed");
    let bytes = installed["bytes"].as_u64().expect("a number");
    let whole = stored_bytes(&rack, &image);
    assert!(bytes < whole, "it did not begin anew: {bytes} of {whole} bytes were fetched in the end");
    machine.press_power_button().expect("power off");
    machine.wait_exit(BOOT).expect("it shuts down");
    check_disk(&disk, "c1", "1");
    let raw = image.join("disk.raw");
    // The running system writes to its ESP and its root; this one it leaves alone.
    let (first, last) = partition(&disk, 1);
    let (skip, count) = (first.to_string(), (last + 1 - first).to_string());
    let paths = [raw.to_str().expect("a plain path"), disk.to_str().expect("a plain path")];
    run("cmp", &["--ignore-initial", &skip, "--bytes", &count, paths[0], paths[1]]);
    let (first, _) = partition(&disk, 3);
    let checked = run("e2fsck", &["-fn", &format!("{}?offset={first}", disk.display())]);
    assert!(checked.contains("Pass 5"), "{checked}");
    appliance.stop();
}

/// Bytes of the image that are not zero, in chunks.
fn stored_bytes(rack: &Rack, image: &Path) -> u64 {
    let (index, data) = (rack.dir().join("index"), rack.dir().join("data"));
    firstlight::diskimage::pack_files(&image.join("disk.raw"), &index, &data, &mut |_, _| {})
        .expect("it packs");
    let index = std::fs::read(index).expect("the index");
    firstlight::diskimage::Index::parse(&index).expect("a good index").raw_stored_bytes()
}

fn now_ms() -> u64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock that is right");
    u64::try_from(since.as_millis()).expect("a moment")
}
