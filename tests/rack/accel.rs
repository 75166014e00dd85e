//! Whether machines run under KVM or under emulation.
//!
//! `/dev/kvm` being there proves nothing: within a virtual machine, QEMU may start and the guest never get anywhere.
//! So KVM is used only after a real kernel has reached user space with it; else QEMU's emulator (TCG).
//! `FIRSTLIGHT_RACK_ACCEL=kvm|tcg` decides instead.

use super::images::NetbootImage;
use super::process::Process;
use super::serial::readable;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// KVM takes about a second, so this is ample; under emulation it takes three.
const PROBE: Duration = Duration::from_secs(6);

static PROBED: OnceLock<bool> = OnceLock::new();

/// The value of QEMU's `-accel`. KVM only after [`probe`] found that it works.
pub fn chosen() -> &'static str {
    match std::env::var("FIRSTLIGHT_RACK_ACCEL").as_deref() {
        Ok("kvm") => "kvm",
        Ok("tcg") => "tcg",
        _ if PROBED.get() == Some(&true) => "kvm",
        _ => "tcg",
    }
}

/// Boots a kernel under KVM and says whether it reached user space. Asks once for each start of this computer: the
/// answer is kept in the folder for temporary files.
pub fn probe(image: &NetbootImage) -> bool {
    *PROBED.get_or_init(|| {
        if !Path::new("/dev/kvm").exists() {
            return false;
        }
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let note = std::env::temp_dir().join(format!("firstlight-rack-kvm-{}", boot_id.trim()));
        match fs::read_to_string(&note).as_deref() {
            Ok("works") => true,
            Ok("fails") => false,
            _ => {
                let works = boots_under_kvm(image);
                let _ = fs::write(note, if works { "works" } else { "fails" }); // else the next one asks again
                works
            }
        }
    })
}

fn boots_under_kvm(image: &NetbootImage) -> bool {
    let Ok(dir) = tempfile::tempdir() else { return false };
    let serial = dir.path().join("serial");
    let mut qemu = Command::new("setpriv");
    qemu.args([
        "--pdeathsig",
        "KILL",
        "--",
        "qemu-system-x86_64",
        "-accel",
        "kvm",
        "-m",
        "512",
        "-nodefaults",
    ]);
    qemu.args(["-display", "none", "-no-reboot", "-append", "console=ttyS0 quiet", "-serial"]);
    qemu.arg(format!("file:{}", serial.display()));
    qemu.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
    let Ok(mut qemu) = Process::spawn_logged(qemu, &dir.path().join("qemu")) else { return false };
    let start = Instant::now();
    while start.elapsed() < PROBE && matches!(qemu.status(), Ok(None)) {
        if fs::read(&serial).is_ok_and(|log| readable(&log).contains("firstlight:")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}
