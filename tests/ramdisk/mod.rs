//! An appliance with a ramdisk of the distribution's cloud kernel, and disk images to install.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::appliance::{Appliance, NETWORK};
use crate::programs::{alone_in, run};
use crate::rack::{NetbootImage, Rack};

/// A boot under software emulation takes half a minute; many times that on a busy machine.
pub const BOOT: Duration = Duration::from_secs(240);

/// What tests build once.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("images")
}

/// The folder with the distribution's kernel package, unpacked.
fn cloud_kernel() -> PathBuf {
    NetbootImage::build(&cache(), "1").expect("a small image");
    let packages = std::fs::read_dir(cache().join("packages")).expect("the packages it is made of");
    let names = packages.map(|entry| entry.expect("an entry").path());
    let kernel = |path: &PathBuf| path.join("boot").is_dir();
    names.filter(kernel).max().expect("an unpacked kernel package")
}

/// The package of the distribution's kernel with all drivers.
pub fn full_kernel() -> PathBuf {
    let depends = run("apt-cache", &["depends", "linux-image-amd64"]);
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.expect("the kernel that linux-image-amd64 depends on");
    let folder = cache().join(package);
    let _alone = alone_in(&folder);
    let found = || {
        let mut paths =
            std::fs::read_dir(&folder).expect("the cache").map(|entry| entry.expect("an entry").path());
        paths.find(|path| path.extension().is_some_and(|extension| extension == "deb"))
    };
    if found().is_none() {
        let status = Command::new("apt-get").args(["-qq", "download", package]).current_dir(&folder).status();
        assert!(status.expect("run apt-get").success(), "{package} cannot be downloaded");
    }
    found().expect("the package")
}

/// Starts an appliance with `tables` in its configuration, and waits for its ramdisk.
pub fn appliance<'r>(rack: &'r Rack, binary: &Path, tables: &str) -> Appliance<'r> {
    appliance_with(rack, binary, tables, &cloud_kernel())
}

/// The same, with a ramdisk of this kernel.
pub fn appliance_with<'r>(rack: &'r Rack, binary: &Path, tables: &str, kernel: &Path) -> Appliance<'r> {
    let tables = format!(
        "{NETWORK}\n{tables}\n[ramdisk]\nkernel = [\"{}\"]\nbusybox = \"/bin/busybox\"\n",
        kernel.display()
    );
    let appliance = Appliance::start(rack, binary, &tables);
    appliance.wait("the ramdisk to be built", BOOT, || {
        let status = appliance.json(&["status"]);
        assert_ne!(status["ramdisk"], "failed", "{status}");
        (status["ramdisk"] == "ready").then_some(())
    });
    appliance
}

/// Runs `images/debian/build.sh` into `out`. The unpacked system is made once.
fn build(out: &Path, words: &[&str]) {
    let _alone = alone_in(&cache());
    let mut build = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/images/debian/build.sh"));
    build.args(["--packages", "openssh-server curl zstd", "--tar"]).arg(cache().join("debian.tar"));
    let output = build.args(words).arg(out).output().expect("run build.sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The disk of a Debian host with this address, which root may log in to with this key. No appliance has a hand in it.
pub fn preinstalled(out: &Path, address: &str, key: &Path) -> PathBuf {
    build(out, &["--address", address, "--root-key", key.to_str().expect("a plain path")]);
    out.join("disk.raw")
}

/// The list of packages that are installed in [`debian`]'s images, in a file.
pub fn debian_packages() -> PathBuf {
    let status = cache().join("debian.status");
    let text = run(
        "tar",
        &["-xOf", cache().join("debian.tar").to_str().expect("a plain path"), "./var/lib/dpkg/status"],
    );
    std::fs::write(&status, text).expect("write the list");
    status
}

/// A Debian disk image of this version; the folder with `disk.raw` and `disk.toml`.
pub fn debian(version: &str, more: &str) -> PathBuf {
    // Of this program alone: another one that runs beside it may want another manifest.
    let out = cache().join(format!("debian-{version}-{}", env!("CARGO_CRATE_NAME")));
    build(&out, &["--version", version]);
    let manifest = out.join("disk.toml");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    std::fs::write(&manifest, format!("{text}{more}")).expect("write the manifest");
    out
}
