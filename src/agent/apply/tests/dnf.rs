//! Packages with the real dnf, and playbooks with the real Ansible, in a root of its own.
//!
//! `FIRSTLIGHT_TEST_ROOTFS_DNF` names a tar of a tree with both, and with what the bundle `base` needs (`make test-apply` makes
//! one); without it these tests do nothing.

use std::process::Command;

use super::super::desired::{PackageSource, Playbook};
use super::super::packages::Dnf;
use super::apt::{Debian, package, run};
use super::*;

/// Builds an empty package into the tree's repository.
fn rpm(tree: &Tree, name: &str, version: &str, also: &str) {
    let work = tempfile::tempdir().unwrap();
    let spec = work.path().join("a.spec");
    let text = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n{also}%description\nx\n%install\nmkdir -p %{{buildroot}}/usr/share\necho {version} > %{{buildroot}}/usr/share/{name}\n%files\n/usr/share/{name}\n"
    );
    std::fs::write(&spec, text).unwrap();
    let top = format!("_topdir {}", work.path().display());
    let to = format!("_rpmdir {}", tree.at("/srv/repo").display());
    run(Command::new("rpmbuild").args(["-bb", "--define", &top, "--define", &to]).arg(spec));
    run(Command::new("createrepo_c").arg(tree.at("/srv/repo")));
}

#[test]
#[ignore = "needs a tree: FIRSTLIGHT_TEST_ROOTFS_DNF=FILE"]
fn packages_of_dnf_come_and_go() {
    let Some(Debian { tree }) = Debian::new("FIRSTLIGHT_TEST_ROOTFS_DNF") else { return };
    rpm(&tree, "fl-dep", "1.0", "");
    rpm(&tree, "fl-weak", "1.0", "");
    rpm(&tree, "fl-app", "1.0", "Requires: fl-dep\nRecommends: fl-weak\n");
    rpm(&tree, "fl-app", "2.0", "Requires: fl-dep\n");
    rpm(&tree, "fl-other", "1.0", "Requires: fl-dep\n");
    let applier = || {
        let place = Place::within(&tree.root());
        let packages = Box::new(Dnf::new(place.clone()));
        Applier::with(&tree.root(), &tree.state(), Machine { place, packages: Some(packages), units: None })
            .unwrap()
    };
    let apply = |wanted: &Desired| {
        let mut log = Vec::new();
        let outcome = applier().apply(wanted, &digest(wanted), &mut log);
        println!("{}\n{outcome:#?}", log.join("\n"));
        outcome
    };
    let version =
        |name: &str| applier().host().packages.as_ref().unwrap().installed().unwrap().get(name).cloned();
    let text = "[firstlight-x]\nname=x\nbaseurl=file:///srv/repo\ngpgcheck=0\nmetadata_expire=1\n".to_owned();
    let source =
        PackageSource { manager: "dnf".into(), name: "firstlight".into(), text, key: "none\n".into() };
    let wanted = |packages| {
        let mut one = bundle("app@1", vec![file("/etc/app", "x")]);
        one.packages = packages;
        Desired { bundles: vec![one], drift: DriftPolicy::Report, sources: vec![source.clone()] }
    };
    let one = wanted(vec![package("fl-app", Some("1.0-1"))]);
    expect(&apply(&one), ApplyResult::Applied);
    assert_eq!(
        (version("fl-app").as_deref(), version("fl-dep").as_deref(), version("fl-weak")),
        (Some("1.0-1"), Some("1.0-1"), None)
    );
    expect(&apply(&one), ApplyResult::Unchanged);
    let mut two = wanted(vec![package("fl-app", Some("2.0")), package("fl-weak", None)]);
    two.bundles[0].health.push(health("never", Probe::Command(shell("false"))));
    expect(&apply(&two), ApplyResult::RolledBack);
    assert_eq!((version("fl-app").as_deref(), version("fl-weak")), (Some("1.0-1"), None));
    two.bundles[0].health.clear();
    expect(&apply(&two), ApplyResult::Applied);
    assert_eq!((version("fl-app").as_deref(), version("fl-weak").as_deref()), (Some("2.0-1"), Some("1.0-1")));
    run(Command::new("chroot").arg(tree.root()).args(["dnf", "-y", "install", "fl-other"]));
    let removed = applier().remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    assert_eq!(removed.left_over, ["package fl-dep: another package needs it"]);
    assert_eq!((version("fl-app"), version("fl-weak")), (None, None));
}

#[test]
#[ignore = "needs a tree: FIRSTLIGHT_TEST_ROOTFS_DNF=FILE"]
fn playbook_is_played_with_its_variables_and_leaves_nothing_behind() {
    let Some(Debian { tree }) = Debian::new("FIRSTLIGHT_TEST_ROOTFS_DNF") else { return };
    let _proc = proc_in(&tree);
    let text = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.template: {src: a.j2, dest: /etc/played}\n    - ansible.builtin.fail: {msg: it is the second}\n      when: number == 2\n";
    let play = |number: u32| {
        let files = vec![
            ("site.yml".to_owned(), STANDARD.encode(text)),
            ("templates/a.j2".to_owned(), STANDARD.encode("number {{ number }}\n")),
        ];
        let variables = serde_json::Map::from_iter([("number".to_owned(), number.into())]);
        let mut one = bundle("play@1", vec![file("/etc/a", "x")]);
        one.ansible = vec![Playbook { playbook: "site.yml".into(), files, variables }];
        desired(vec![one])
    };
    let apply = |wanted: &Desired| {
        let mut log = Vec::new();
        let outcome =
            Applier::new(&tree.root(), &tree.state()).unwrap().apply(wanted, &digest(wanted), &mut log);
        println!("{}\n{outcome:#?}", log.join("\n"));
        outcome
    };
    expect(&apply(&play(1)), ApplyResult::Applied);
    assert_eq!(tree.read("/etc/played"), "number 1\n");
    let outcome = apply(&play(2));
    expect(&outcome, ApplyResult::RolledBack);
    assert!(outcome.reason.contains("playbook site.yml: ended with 2"), "{}", outcome.reason);
    assert!(!tree.at("/var/lib/firstlight/playbook").exists());
}

/// Mounts `/proc` in a tree, until the result goes.
pub(super) fn proc_in(tree: &Tree) -> impl Drop + use<> {
    run(Command::new("mount").args(["-t", "proc", "proc"]).arg(tree.at("/proc")));
    Unmount(tree.at("/proc"))
}

/// Unmounts when it goes, before the tree does.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg(&self.0).status();
    }
}
