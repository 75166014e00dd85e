//! `make bench-install`: an image on a disk by our installer's code (verified before it is written, and read back after) and by
//! `curl | zstd -dc | dd`, in the same virtual server, alternating, and the ratio. Needs root.

#[path = "../tests/appliance/mod.rs"]
mod appliance;
#[path = "../tests/programs/mod.rs"]
mod programs;
#[path = "../tests/rack/mod.rs"]
mod rack;
#[path = "../tests/ramdisk/mod.rs"]
mod ramdisk;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use appliance::{Appliance, NETWORK};
use programs::ok;
use rack::{Disk, MachineSpec, Rack};

/// Times that each side is measured.
const ROUNDS: usize = 3;
const ADDRESS: &str = "10.77.0.21";

fn main() {
    let rack = Rack::new("bench").expect("a rack");
    let key = rack::key_pair(rack.dir(), "key");
    let image = ramdisk::debian("1", "");
    let appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    appliance.ok(&["image", "import", image.join("disk.toml").to_str().expect("a plain path")]);
    let shown = appliance.json(&["image", "show", "debian@1"]);
    let index = shown["builds"]["x86_64"]["index"]["sha256"].as_str().expect("a digest").to_owned();

    // The other side's file, beside the appliance's own, from the same web server.
    let zst = rack.dir().join("disk.raw.zst");
    ok(Command::new("zstd").args(["-q", "-f", "-T0"]).arg(image.join("disk.raw")).arg("-o").arg(&zst));
    let plain = r#"{ path = "disk.raw.zst" }"#;
    let manifest = rack.dir().join("zst.toml");
    let text = format!("name = \"zst\"\nversion = \"1\"\narch = \"x86_64\"\nkernel = {plain}\n");
    std::fs::write(&manifest, text).expect("write the manifest");
    appliance.ok(&["image", "import", manifest.to_str().expect("a plain path")]);

    let disk =
        ramdisk::preinstalled(&rack.dir().join("host"), &format!("{ADDRESS}/24"), &key.with_extension("pub"));
    let target = rack.dir().join("target");
    File::create(&target).and_then(|file| file.set_len(2 << 30)).expect("an empty disk");
    let mut spec = MachineSpec::bios("bench");
    spec.network_boot = false;
    spec.cpus = 2;
    spec.memory_mib = 1024;
    spec.disks.push(Disk::Raw { path: disk, options: String::new() });
    spec.disks.push(Disk::Raw { path: target, options: "cache=none,discard=unmap".into() });
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    let ssh = |command: &str| rack::ssh(&rack, &key, ADDRESS, command);
    rack::wait_for_ssh(&rack, &key, ADDRESS, ramdisk::BOOT);
    let writer = std::env::current_exe().expect("this program");
    let release = writer.ancestors().nth(2).expect("the folder of programs");
    let mut copy = ssh("cat > /root/disk-writer && chmod 755 /root/disk-writer");
    ok(copy
        .stdin(File::open(release.join("examples/disk-writer")).expect("cargo build --release --examples")));

    let base = "http://10.77.0.1:8080/images";
    let ours = format!("/root/disk-writer {base}/debian/1/x86_64 {index} /dev/vdb");
    let theirs = format!(
        "set -o pipefail; curl -sSf {base}/zst/1/x86_64/kernel | zstd -dc | dd of=/dev/vdb bs=1M oflag=direct iflag=fullblock conv=fsync status=none"
    );
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (command, times) in [(&ours, &mut our_times), (&theirs, &mut their_times)] {
            ok(&mut ssh("blkdiscard /dev/vdb; sync; echo 3 > /proc/sys/vm/drop_caches"));
            let started = Instant::now();
            ok(&mut ssh(&format!("bash -c '{command}'")));
            times.push(started.elapsed().as_secs_f64());
        }
        println!("round {round}: {:.1} s, {:.1} s", our_times[round], their_times[round]);
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (ours, theirs) = (median(&mut our_times), median(&mut their_times));
    println!(
        "installer, verified and read back: {ours:.1} s; curl | zstd -dc | dd: {theirs:.1} s; speed {:.2}×",
        theirs / ours
    );
}
