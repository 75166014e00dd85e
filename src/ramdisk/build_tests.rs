//! Whole builds of a small kernel.

use std::process::Command;

use super::super::select::tests::{folder, modules};
use super::*;

fn kernel(config: &str) -> tempfile::TempDir {
    let mut image = vec![0; 0x300];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    let mut files = modules();
    files.push(("boot/vmlinuz-6.1", image));
    files.push(("boot/config-6.1", config.into()));
    folder(&files)
}

fn inputs(kernel: &Path) -> Inputs {
    // The start of this static program: what is checked is there, and packing it takes no time.
    let agent = kernel.join("agent");
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    fs::write(&agent, &own[..4_096]).unwrap();
    Inputs {
        kernel: vec![kernel.to_owned()],
        agent,
        links: vec![("sbin/modprobe".into(), "/init".into())],
        ..Inputs::default()
    }
}

#[test]
fn both_compressions_are_read_by_their_own_tools_and_are_the_same_each_time() {
    for (config, tool) in [("CONFIG_RD_ZSTD=y\n", "zstd"), ("# CONFIG_RD_ZSTD is not set\n", "gzip")] {
        let (kernel, out, again) =
            (kernel(config), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let inputs = inputs(kernel.path());
        let mut steps = Vec::new();
        let built = build(&inputs, out.path(), &mut |step| steps.push(step)).expect(tool);
        build(&inputs, again.path(), &mut |_| {}).expect(tool);
        assert_eq!((built.modules, built.firmware, built.kernel_release.as_str()), (4, 3, "6.1"));
        assert!(matches!(steps.first(), Some(Progress::Opening(_))), "{steps:?}");
        assert!(matches!(steps.last(), Some(Progress::Packing { done, of }) if done == of), "{steps:?}");
        let script = format!("{tool} -dc <\"$1\" | cpio -i --to-stdout --quiet lib/firmware/nic/c-2.bin");
        let told = Command::new("sh").args(["-c", &script, "sh"]).arg(&built.initrd).output().unwrap();
        assert_eq!(told.stdout, b"c2", "{tool}: firmware is not compressed twice");
        assert!(
            fs::read(&built.initrd).unwrap() == fs::read(again.path().join("initrd.img")).unwrap(),
            "{tool}"
        );
        assert_eq!(built.initrd_bytes, fs::metadata(&built.initrd).unwrap().len());
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 2, "{tool}: nothing else stays");
    }
}

#[test]
fn what_cannot_be_built_is_told_and_leaves_nothing() {
    let kernel = kernel("");
    let sound = inputs(kernel.path());
    for (name, inputs, message) in [
        ("no input", Inputs { kernel: Vec::new(), ..sound.clone() }, "not a kernel package"),
        ("no such package", Inputs { kernel: vec!["/nowhere.deb".into()], ..sound.clone() }, "/nowhere.deb"),
        ("a dynamic agent", Inputs { agent: "/bin/sh".into(), ..sound.clone() }, "linked dynamically"),
        (
            "a dynamic busybox",
            Inputs { busybox: Some("/bin/sh".into()), ..sound.clone() },
            "linked dynamically",
        ),
        ("no such agent", Inputs { agent: "/nowhere".into(), ..sound.clone() }, "/nowhere"),
        (
            "a file in the place of init",
            Inputs { files: vec![("init".into(), "/bin/sh".into(), 0o755)], ..sound.clone() },
            "taken",
        ),
        (
            "a file outside",
            Inputs { files: vec![("../x".into(), "/bin/sh".into(), 0o755)], ..sound.clone() },
            "plain path",
        ),
        (
            "a file that is gone",
            Inputs { files: vec![("x".into(), "/nowhere".into(), 0o755)], ..sound },
            "/nowhere",
        ),
    ] {
        let out = tempfile::tempdir().unwrap();
        let told = build(&inputs, out.path(), &mut |_| {}).expect_err(name).to_string();
        assert!(told.contains(message), "{name}: {told}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "{name}");
    }
}
