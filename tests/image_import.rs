//! `image import`: what is refused before anything is sent, what is sent once, what an abort leaves. Needs root.

mod appliance;
mod rack;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use nix::sys::signal::Signal;
use rack::{Process, Rack};

const PATIENCE: Duration = Duration::from_secs(60);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// A folder for an image's files.
fn folder(rack: &Rack) -> PathBuf {
    let folder = rack.dir().join("image");
    fs::create_dir_all(&folder).expect("make a folder");
    fs::write(folder.join("vmlinuz"), b"kernel").expect("write a kernel");
    fs::write(folder.join("initrd"), b"ramdisk").expect("write a ramdisk");
    folder
}

/// Writes `NAME.toml` with a name, a version, an architecture and `rest`; its path.
fn manifest(folder: &Path, name: &str, rest: &str) -> String {
    let path = folder.join(format!("{name}.toml"));
    let text = format!("name = \"{name}\"\nversion = \"1\"\narch = \"x86_64\"\n{rest}\n");
    fs::write(&path, text).expect("write a manifest");
    path.display().to_string()
}

/// Files below a folder, folders not counted.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    let rack = Rack::new("mistakes").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let folder = folder(&rack);
    let good = manifest(&folder, "good", "kernel = \"vmlinuz\"");
    let zeros = "0".repeat(64);
    for (name, rest, wanted) in [
        ("syntax", "kernel =".to_owned(), "syntax.toml, line 4"),
        (
            "key",
            "kernel = \"vmlinuz\"\nintird = \"initrd\"".into(),
            "line 5: unknown key 'intird'; did you mean 'initrd'?",
        ),
        ("part", "kernel = { file = \"vmlinuz\" }".into(), "line 4: unknown key 'file'"),
        ("kernel", "kernel = \"vmlinux\"".into(), "vmlinux, the kernel of"),
        ("second", "kernel = \"vmlinuz\"\ninitrd = [\"initrd\", \"more\"]".into(), "more, the initrd 2 of"),
        ("folder", "kernel = \".\"".into(), "it is not a file"),
        (
            "digest",
            format!("kernel = {{ path = \"vmlinuz\", sha256 = \"{zeros}\" }}"),
            "digest.toml says 0000",
        ),
        ("disk", "kind = \"disk\"\nkernel = \"vmlinuz\"".into(), "makes no sense in an image of kind 'disk'"),
        ("uki", "kind = \"uki\"\nkernel = \"vmlinuz\"".into(), "not there yet in this version"),
    ] {
        let bad = manifest(&folder, name, &rest);
        let error = appliance.refused(&["image", "import", &bad]);
        assert!(error.contains(wanted), "{name}: {error}");
        assert_eq!(error.lines().count(), 1, "{name}: {error}");
    }
    // A manifest that cannot be read spoils the call before the good one is imported.
    let bad = manifest(&folder, "bad", "kernel = 7");
    appliance.refused(&["image", "import", &good, &bad]);
    assert_eq!(appliance.json(&["image", "list"]).as_array().map(Vec::len), Some(0));
    assert_eq!(files(&appliance.dir().join("state/blobs")), 0, "nothing was sent");
    appliance.stop();
}

#[test]
fn what_is_there_is_not_sent_again() {
    let rack = Rack::new("again").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let folder = folder(&rack);
    let parts = "kernel = \"vmlinuz\"\ninitrd = \"initrd\"";
    let (a, b) = (manifest(&folder, "a", parts), manifest(&folder, "b", parts));
    let output = appliance.cli(&["image", "import", &a, &b]);
    let (out, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "a@1 imported, 13 B\nb@1 imported, 13 B\n", "{told}");
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "vmlinuz: sent 6 B",
            "initrd: sent 7 B",
            "vmlinuz: the appliance has it, 6 B",
            "initrd: the appliance has it, 7 B"
        ]
    );
    assert_eq!(files(&appliance.dir().join("state/blobs")), 2);
    let quiet = appliance.cli(&["--quiet", "image", "import", &a]);
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet:?}");
    appliance.stop();
}

/// Ctrl-C while a file is on its way.
#[test]
fn an_abort_leaves_nothing_half_imported() {
    let rack = Rack::new("abort").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let folder = folder(&rack);
    File::create(folder.join("large")).and_then(|file| file.set_len(512 << 20)).expect("a large file");
    let large = manifest(&folder, "large", "kernel = \"large\"");
    let mut command = appliance.command(&["image", "import", &large]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut import = Process::spawn(command).expect("start the import");
    let uploads = appliance.dir().join("state/blobs/uploads");
    let begun = std::time::Instant::now();
    while files(&uploads) == 0 {
        assert!(begun.elapsed() < PATIENCE, "the upload does not begin");
        assert!(import.status().expect("a status").is_none(), "the import ended before it could be aborted");
        std::thread::sleep(Duration::from_millis(1));
    }
    import.signal(Signal::SIGINT).expect("SIGINT");
    let status = import.wait(PATIENCE).expect("it ends");
    assert!(!status.success(), "{status}");
    appliance.wait("the upload to be cleared away", PATIENCE, || {
        (files(&appliance.dir().join("state/blobs")) == 0).then_some(())
    });
    assert_eq!(appliance.json(&["image", "list"]).as_array().map(Vec::len), Some(0));
    appliance.stop();
}
