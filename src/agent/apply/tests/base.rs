//! The bundle `base` as it comes with the program, with people, settings and SSH, on a Debian of its own. Without systemd no
//! clock is kept and no exporter runs there.

use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use super::apt::Debian;
use super::dnf::proc_in;
use super::*;
use crate::bundle::render::Secrets;
use crate::bundle::{About, Bundle, Layer, merge, render};

fn base(values: &serde_json::Value) -> Desired {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/base");
    let bundles = [Arc::new(Bundle::read(&folder).unwrap())];
    let values = values.as_object().unwrap();
    let merged = merge(&[&bundles[0].manifest], &[Layer { origin: "appliance".into(), values }]);
    desired(render(&bundles, &merged, &About::default(), Secrets::Masked).unwrap().bundles)
}

#[test]
#[ignore = "needs a tree: FIRSTLIGHT_TEST_ROOTFS_DNF=FILE"]
fn people_and_settings_come_and_keys_go() {
    let Some(Debian { tree }) = Debian::new("FIRSTLIGHT_TEST_ROOTFS_DNF") else { return };
    let _proc = proc_in(&tree);
    // Cloud images may have this; it must not win.
    tree.write("/etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication yes\n");
    // The kernel is everybody's: it is told what it does anyway.
    let swappiness = std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap().trim().to_owned();
    let inside = |script: &str| {
        let output =
            Command::new("chroot").arg(tree.root()).args(["/bin/sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let apply = |wanted: &Desired| {
        let mut log = Vec::new();
        let applier = Applier::new(&tree.root(), &tree.state()).unwrap();
        let outcome = applier.apply(wanted, &digest(wanted), &mut log);
        println!("{}\n{outcome:#?}", log.join("\n"));
        outcome
    };
    let mut values = json!({
        "time": "none",
        "node_exporter": false,
        "sysctl": { "vm.swappiness": swappiness },
        "users": {
            "alice": { "keys": ["ssh-ed25519 BBBB alice"], "sudo": true, "uid": 2001, "shell": "/bin/sh" },
            "bob": { "keys": ["ssh-ed25519 CCCC bob"] },
        },
    });
    let keys = |user: &str| inside(&format!("/usr/local/libexec/firstlight-ssh-keys {user}"));
    expect(&apply(&base(&values)), ApplyResult::Applied);
    assert_eq!(inside("getent passwd alice"), "alice:x:2001:2001:alice:/home/alice:/bin/sh\n");
    assert_eq!(inside("stat -c '%U %a' /home/alice /home/bob"), "alice 750\nbob 750\n");
    assert!(inside("sudo -l -U alice").contains("NOPASSWD: ALL"));
    assert!(inside("sudo -l -U bob || true").contains("not allowed"));
    let sshd = inside("/usr/sbin/sshd -T");
    for line in ["passwordauthentication no", "permitrootlogin without-password"] {
        assert!(sshd.lines().any(|one| one == line), "{line}: {sshd}");
    }
    assert_eq!(keys("bob"), "ssh-ed25519 CCCC bob\n");
    expect(&apply(&base(&values)), ApplyResult::Unchanged);

    // Who goes has no key from then on; the account stays.
    values["users"].as_object_mut().unwrap().remove("bob");
    expect(&apply(&base(&values)), ApplyResult::Applied);
    assert_eq!((keys("bob"), inside("id -un bob")), (String::new(), "bob\n".to_owned()));
    // A name that no account can have: everything is as before.
    values["users"]["c d"] = json!({ "keys": [], "sudo": true });
    expect(&apply(&base(&values)), ApplyResult::RolledBack);
    assert!(!tree.read("/etc/sudoers.d/50-firstlight").contains("c d"));
    assert_eq!(keys("alice"), "ssh-ed25519 BBBB alice\n");
}
