//! Packages with the real apt, in a root of its own.
//!
//! `FIRSTLIGHT_TEST_ROOTFS` names a tar of a Debian tree with apt (`mmdebstrap --variant=apt bookworm FILE`); without it
//! these tests do nothing.

use std::process::Command;

use super::super::desired::{DesiredPackage, PackageSource};
use super::*;

/// A Debian tree with a package source of its own.
pub(super) struct Debian {
    pub(super) tree: Tree,
}

impl Debian {
    pub(super) fn new(variable: &str) -> Option<Self> {
        let Ok(tar) = std::env::var(variable) else {
            println!("{variable} is not set: nothing is tested");
            return None;
        };
        let tree = Tree::new();
        std::fs::remove_dir_all(tree.root()).unwrap();
        std::fs::create_dir_all(tree.root()).unwrap();
        run(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(tree.root()));
        std::fs::create_dir_all(tree.at("/srv/repo")).unwrap();
        Some(Self { tree })
    }

    /// Builds a package; its files say its version, `also` is added to its control file.
    pub(super) fn package(&self, name: &str, version: &str, also: &str, postinst: &str) {
        let work = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str, mode: u32| {
            let path = work.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: test\n{also}"
        );
        put("DEBIAN/control", &control, 0o644);
        put("DEBIAN/conffiles", &format!("/etc/{name}.conf\n"), 0o644);
        put(&format!("etc/{name}.conf"), &format!("packaged {version}\n"), 0o644);
        put(&format!("usr/share/{name}"), &format!("{version}\n"), 0o644);
        if !postinst.is_empty() {
            put("DEBIAN/postinst", &format!("#!/bin/sh\n{postinst}\n"), 0o755);
        }
        let file = format!("{name}_{version}_all.deb");
        let at = self.tree.at("/srv/repo").join(&file);
        run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(work.path()).arg(&at));
        let bytes = std::fs::read(&at).unwrap();
        let size = bytes.len();
        let sum = super::super::check::digest(&bytes);
        let entry = format!("{control}Filename: ./{file}\nSize: {size}\nSHA256: {sum}\n\n");
        let index = self.tree.at("/srv/repo/Packages");
        let before = std::fs::read_to_string(&index).unwrap_or_default();
        std::fs::write(index, before + &entry).unwrap();
    }

    fn applier(&self) -> Applier {
        Applier::new(&self.tree.root(), &self.tree.state()).unwrap()
    }

    fn apply(&self, wanted: &Desired) -> (Outcome, Vec<String>) {
        let mut log = Vec::new();
        let outcome = self.applier().apply(wanted, &digest(wanted), &mut log);
        println!("{}\n{outcome:#?}", log.join("\n"));
        (outcome, log)
    }

    fn version(&self, name: &str) -> Option<String> {
        self.applier().host().packages.as_ref().unwrap().installed().unwrap().get(name).cloned()
    }
}

pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(super) fn package(name: &str, version: Option<&str>) -> DesiredPackage {
    DesiredPackage { apt: Some(name.into()), dnf: Some(name.into()), version: version.map(str::to_owned) }
}

pub(super) fn with_packages(packages: Vec<DesiredPackage>, files: Vec<DesiredFile>) -> Desired {
    let mut one = bundle("app@1", files);
    one.packages = packages;
    let text = "Types: deb\nURIs: file:/srv/repo\nSuites: ./\nTrusted: yes\n".to_owned();
    let source =
        PackageSource { manager: "apt".into(), name: "firstlight".into(), text, key: "no key\n".into() };
    Desired { bundles: vec![one], sources: vec![source], ..Desired::default() }
}

/// The answer is longer than what is kept of a program's output.
#[test]
fn all_packages_of_a_large_installation_are_noticed() {
    let tree = Tree::new();
    let busybox = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox")).unwrap();
    let script = "#!/bin/sh\ni=0\nwhile [ $i -lt 5000 ]; do echo \"Inst p$i (1 x [all])\"; echo \"Conf p$i (1 x [all])\"; i=$((i+1)); done\n";
    for (path, bytes) in [("/bin/sh", busybox.as_slice()), ("/usr/bin/apt-get", script.as_bytes())] {
        std::fs::create_dir_all(tree.at(path).parent().unwrap()).unwrap();
        std::fs::write(tree.at(path), bytes).unwrap();
        std::fs::set_permissions(tree.at(path), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let root = super::super::Root::open(&tree.root()).unwrap();
    let apt = super::super::packages::Apt::new(root, Place::within(&tree.root()));
    let planned = super::super::packages::Packages::plan(&apt, &[]).unwrap().unwrap();
    assert!(planned.len() == 5000 && planned.contains("p0"), "{}", planned.len());
}

#[test]
#[ignore = "needs a tree: FIRSTLIGHT_TEST_ROOTFS=FILE"]
fn packages_come_and_go_with_what_they_need_and_nothing_else() {
    let Some(debian) = Debian::new("FIRSTLIGHT_TEST_ROOTFS") else { return };
    let start = "/usr/sbin/policy-rc.d fl-app start; echo start $? >> /run/policy; /usr/sbin/policy-rc.d --quiet fl-app stop; echo stop $? >> /run/policy";
    debian.package("fl-dep", "1.0", "", "");
    debian.package("fl-weak", "1.0", "", "");
    debian.package("fl-app", "1.0", "Depends: fl-dep\nRecommends: fl-weak\n", start);
    debian.package("fl-app", "2.0", "Depends: fl-dep\n", "");
    debian.package("fl-other", "1.0", "Depends: fl-dep\n", "");
    debian.tree.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n");
    run(Command::new("chmod").arg("755").arg(debian.tree.at("/usr/sbin/policy-rc.d")));

    // It comes, in the version asked for, without what it only recommends; its service is not started before its file is there.
    let one = with_packages(vec![package("fl-app", Some("1.0"))], vec![file("/etc/fl-app.conf", "ours\n")]);
    let (outcome, _) = debian.apply(&one);
    expect(&outcome, ApplyResult::Applied);
    assert_eq!(debian.tree.read("/run/policy"), "start 101\nstop 0\n");
    assert_eq!(debian.tree.read("/etc/fl-app.conf"), "ours\n");
    assert_eq!(debian.tree.read("/usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 0\n");
    assert_eq!((debian.version("fl-app").as_deref(), debian.version("fl-weak")), (Some("1.0"), None));
    assert!(outcome.changes.contains(&"package fl-dep 1.0".into()), "{outcome:?}");

    // Again: no package manager.
    let (outcome, log) = debian.apply(&one);
    expect(&outcome, ApplyResult::Unchanged);
    assert!(log.is_empty() && outcome.elapsed_ms < 500, "{outcome:?}");

    // Upgrade that fails its check: the old version is back, with its dependencies and our file.
    let mut two = with_packages(
        vec![package("fl-app", Some("2.0")), package("fl-weak", None)],
        vec![file("/etc/fl-app.conf", "two\n")],
    );
    two.bundles[0].health.push(health("never", Probe::Command(shell("cat /usr/share/fl-app; false"))));
    let (outcome, _) = debian.apply(&two);
    expect(&outcome, ApplyResult::RolledBack);
    assert!(outcome.reason.contains("\n  2.0"), "{}", outcome.reason);
    assert_eq!((debian.version("fl-app").as_deref(), debian.version("fl-weak")), (Some("1.0"), None));
    assert_eq!(debian.tree.read("/etc/fl-app.conf"), "ours\n");
    assert_eq!(debian.tree.read("/usr/share/fl-app"), "1.0\n");
    assert_eq!(debian.tree.read("/usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 0\n");

    // Upgrade that holds.
    two.bundles[0].health.clear();
    expect(&debian.apply(&two).0, ApplyResult::Applied);
    assert_eq!(
        (debian.version("fl-app").as_deref(), debian.version("fl-weak").as_deref()),
        (Some("2.0"), Some("1.0"))
    );
    assert_eq!(debian.tree.read("/etc/fl-app.conf"), "two\n");

    // No such package: nothing changes, and the reason says which.
    let none = with_packages(vec![package("fl-none", None)], Vec::new());
    let (outcome, _) = debian.apply(&none);
    expect(&outcome, ApplyResult::RolledBack);
    assert!(outcome.reason.contains("Unable to locate package fl-none"), "{}", outcome.reason);
    assert_eq!(debian.version("fl-app").as_deref(), Some("2.0"));

    // Somebody installs another package that needs the same: what it needs stays when the bundle goes.
    run(Command::new("chroot").arg(debian.tree.root()).args(["apt-get", "-y", "install", "fl-other"]));
    let removed = debian.applier().remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    assert_eq!(removed.left_over, ["package fl-dep: another package needs it"]);
    assert_eq!((debian.version("fl-app"), debian.version("fl-weak")), (None, None));
    assert_eq!(
        (debian.version("fl-dep").as_deref(), debian.version("fl-other").as_deref()),
        (Some("1.0"), Some("1.0"))
    );
    assert!(
        !debian.tree.at("/etc/fl-app.conf").exists()
            && !debian.tree.at("/etc/apt/sources.list.d/firstlight.sources").exists()
    );
    assert!(!debian.tree.at("/etc/firstlight").exists());
}

#[test]
#[ignore = "needs a tree: FIRSTLIGHT_TEST_ROOTFS=FILE"]
fn package_that_was_there_before_stays() {
    let Some(debian) = Debian::new("FIRSTLIGHT_TEST_ROOTFS") else { return };
    debian.package("fl-app", "1.0", "", "");
    debian.package("fl-app", "2.0", "", "");
    debian.package("fl-bad", "1.0", "", "echo it is broken; exit 1");
    let deb = debian.tree.at("/srv/repo/fl-app_1.0_all.deb");
    run(Command::new("cp").arg(deb).arg(debian.tree.at("/tmp/a.deb")));
    run(Command::new("chroot").arg(debian.tree.root()).args(["dpkg", "-i", "/tmp/a.deb"]));
    // A package whose own script fails: nothing of it stays.
    let bad = with_packages(vec![package("fl-bad", None), package("fl-app", Some("2.0"))], Vec::new());
    let (outcome, _) = debian.apply(&bad);
    expect(&outcome, ApplyResult::RolledBack);
    assert!(outcome.reason.contains("fl-bad"), "{}", outcome.reason);
    assert_eq!((debian.version("fl-app").as_deref(), debian.version("fl-bad")), (Some("1.0"), None));
    assert!(!debian.tree.at("/usr/sbin/policy-rc.d").exists());
    let one = with_packages(vec![package("fl-app", None)], Vec::new());
    expect(&debian.apply(&one).0, ApplyResult::Applied);
    let removed = debian.applier().remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    assert_eq!((debian.version("fl-app").as_deref(), removed.left_over), (Some("1.0"), Vec::new()));
}
