//! The power fails at every single step; afterwards all is old or all is new.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::super::fault;
use super::*;

fn old() -> Desired {
    let mut service = file("/etc/systemd/system/one.service", "[Service]\nExecStart=/bin/sleep 1001\n");
    service.restart = vec!["one.service".into()];
    let mut one = bundle(
        "base@1",
        vec![file("/etc/kept", "1"), file("/etc/changed", "old"), file("/srv/gone/file", "old"), service],
    );
    one.units = vec![unit("one.service")];
    desired(vec![one])
}

fn new() -> Desired {
    let service = file("/etc/systemd/system/one.service", "[Service]\nExecStart=/bin/sleep 1002\n");
    let other = file("/etc/systemd/system/two.service", "[Service]\nExecStart=/bin/sleep 1003\n");
    let mut mode = file("/etc/changed", "new");
    (mode.mode, mode.owner) = ("0600".into(), "etcd".into());
    let mut one =
        bundle("base@2", vec![file("/etc/kept", "1"), mode, service, file("/opt/deep/down/file", "new")]);
    one.units = vec![unit("one.service")];
    let mut two = bundle("more@1", vec![other, file("/etc/foreign", "ours")]);
    two.units = vec![unit("two.service")];
    desired(vec![one, two])
}

/// What runs, by the arguments of the processes that carry the mark of the tree's units.
fn running(tree: &Tree) -> Vec<String> {
    let mark = format!("FIRSTLIGHT_UNIT={}/", tree.state().join("units").display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
        if read("environ").split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes())) {
            all.push(String::from_utf8_lossy(&read("cmdline")).replace('\0', " ").trim().to_owned());
        }
    }
    all.retain(|line| !line.is_empty());
    all.sort();
    all
}

/// The part that dies: run by [`at_every_step_all_is_old_or_new`] in a process of its own.
#[test]
#[ignore = "run by another test"]
fn child() {
    let Ok(folder) = std::env::var("FIRSTLIGHT_TEST_CRASH") else { return };
    let step = std::env::var("FIRSTLIGHT_TEST_STEP").unwrap().parse().unwrap();
    let folder = Path::new(&folder);
    let applier = applier(&folder.join("root"), &folder.join("state"));
    fault::abort_at(step);
    match std::env::var("FIRSTLIGHT_TEST_WHAT").unwrap().as_str() {
        "packages" => {
            drop(applier);
            let applier = Applier::new(&folder.join("root"), &folder.join("state")).unwrap();
            std::fs::write(folder.join("root/run/agent.pid"), std::process::id().to_string()).unwrap();
            drop(applier.apply(&new_packages(), "packages", &mut Vec::new()));
        }
        "recover" => drop(applier.recover(&mut Vec::new())),
        "remove" => drop(applier.remove_all(&mut Vec::new())),
        "broken" => {
            let mut wanted = new();
            wanted.bundles[1].health.push(health("never", Probe::Command(shell("false"))));
            drop(applier.apply(&wanted, "broken", &mut Vec::new()));
        }
        _ => drop(applier.apply(&new(), &digest(&new()), &mut Vec::new())),
    }
    println!("steps taken: {}", fault::taken());
}

/// Runs the child; whether it died at the step.
fn died(tree: &Tree, what: &str, step: u64) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg(format!("{}::child", module_path!().split_once("::").unwrap().1))
        .env("FIRSTLIGHT_TEST_CRASH", tree.folder.path())
        .env("FIRSTLIGHT_TEST_STEP", step.to_string())
        .env("FIRSTLIGHT_TEST_WHAT", what)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.signal() == Some(6) || said.contains("steps taken"), "{said}");
    output.status.signal() == Some(6)
}

/// The system calls that change something, or bring it to disk.
const CALLS: [&str; 14] = [
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "write",
    "fsync",
    "fchown",
    "fchmod",
    "clone3",
    "vfork",
];

/// Runs the child and kills it when it enters this system call for the `nth` time; whether it died.
fn died_at_call(tree: &Tree, call: &str, nth: u64) -> bool {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-b", "execve", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={nth}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("{}::child", module_path!().split_once("::").unwrap().1))
        .env("FIRSTLIGHT_TEST_CRASH", tree.folder.path())
        .env("FIRSTLIGHT_TEST_STEP", "0")
        .env("FIRSTLIGHT_TEST_WHAT", "apply")
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.signal() == Some(9) || said.contains("steps taken"), "{said}");
    output.status.signal() == Some(9)
}

#[test]
#[ignore = "takes minutes: run it by its name"]
fn killed_at_every_system_call_that_changes_something_all_is_old_or_new() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("strace is not here: nothing is tested");
        return;
    }
    let before = seen(&prepared());
    let tree = prepared();
    expect(&tree.apply(&new()).0, ApplyResult::Applied);
    let after = seen(&tree);
    let (mut olds, mut news) = (0, 0);
    for call in CALLS {
        for nth in 1.. {
            let tree = prepared();
            let died = died_at_call(&tree, call, nth);
            tree.applier().recover(&mut Vec::new()).unwrap();
            let now = seen(&tree);
            assert!(now == before || now == after, "{call} {nth}: neither old nor new: {now:#?}");
            if !died {
                println!("{call}: {} points", nth - 1);
                break;
            }
            if now == before {
                olds += 1;
            } else {
                news += 1;
            }
        }
    }
    println!("killed at a call: old {olds}, new {news}");
    assert!(olds > 50 && news > 1);
}

fn prepared() -> Tree {
    let tree = Tree::new();
    tree.write("/etc/foreign", "of the host");
    expect(&tree.apply(&old()).0, ApplyResult::Applied);
    tree
}

/// A tree and what runs on it.
type Seen = (BTreeMap<PathBuf, String>, Vec<String>);

fn seen(tree: &Tree) -> Seen {
    (tree.snapshot(), running(tree))
}

/// Lets `what` die at every step; afterwards the host must be as one of `allowed`. Tells how often it was which.
fn at_every_step(what: &str, allowed: &[&Seen]) -> Vec<usize> {
    let mut count = vec![0; allowed.len()];
    for step in 1.. {
        let tree = prepared();
        let died = died(&tree, what, step);
        // The way back may die, too: at some step of it.
        let mut again = 0;
        while died && step % 5 == 0 && again < 3 && self::died(&tree, "recover", 3 + again * 4) {
            again += 1;
        }
        tree.applier().recover(&mut Vec::new()).unwrap();
        let now = seen(&tree);
        let which = allowed.iter().position(|one| **one == now);
        let which = which.unwrap_or_else(|| panic!("{what}, step {step}: neither old nor new: {now:#?}"));
        count[which] += 1;
        assert!(!tree.state().join("transaction").exists());
        if !died {
            return count;
        }
        // And from there the way forward is open.
        if step % 7 == 0 {
            expect(
                &tree.apply(&new()).0,
                if what == "apply" && which == 1 { ApplyResult::Unchanged } else { ApplyResult::Applied },
            );
        }
    }
    count
}

#[test]
fn at_every_step_all_is_old_or_new() {
    let tree = prepared();
    let before = seen(&tree);
    expect(&tree.apply(&new()).0, ApplyResult::Applied);
    let after = seen(&tree);
    assert_eq!(before.1, ["/bin/sleep 1001"]);
    assert_eq!(after.1, ["/bin/sleep 1002", "/bin/sleep 1003"]);
    let count = at_every_step("apply", &[&before, &after]);
    println!("apply: old {}, new {}", count[0], count[1]);
    assert!(count[0] > 20 && count[1] > 1, "{count:?}");
}

#[test]
fn at_every_step_of_a_roll_back_all_is_old() {
    let before = seen(&prepared());
    let count = at_every_step("broken", &[&before]);
    println!("roll-back: old {}", count[0]);
}

#[test]
fn at_every_step_of_the_removal_all_is_old_or_gone() {
    let tree = Tree::new();
    tree.write("/etc/foreign", "of the host");
    let none = seen(&tree);
    let before = seen(&prepared());
    let count = at_every_step("remove", &[&before, &none]);
    println!("removal: old {}, gone {}", count[0], count[1]);
}

fn old_packages() -> Desired {
    super::apt::with_packages(
        vec![super::apt::package("fl-app", Some("1.0"))],
        vec![file("/etc/fl-app.conf", "one\n")],
    )
}

fn new_packages() -> Desired {
    let packages = vec![super::apt::package("fl-app", Some("2.0")), super::apt::package("fl-more", None)];
    super::apt::with_packages(packages, vec![file("/etc/fl-app.conf", "two\n"), file("/etc/other", "two\n")])
}

/// What can be told apart: files, packages and their state.
fn packages(tree: &Tree) -> String {
    let all: Vec<_> = [
        "/etc/fl-app.conf",
        "/etc/other",
        "/etc/fl-more.conf",
        "/usr/share/fl-app",
        "/usr/share/fl-dep",
        "/usr/sbin/policy-rc.d",
    ]
    .iter()
    .map(|path| tree.read(path))
    .collect();
    let status = tree.read("/var/lib/dpkg/status");
    let ours = status.split("\n\n").filter(|paragraph| paragraph.starts_with("Package: fl-"));
    let status: Vec<_> = ours
        .map(|one| one.lines().filter(|line| line.starts_with(['P', 'S', 'V'])).collect::<Vec<_>>())
        .collect();
    format!("{all:?} {status:?}")
}

#[test]
#[ignore = "needs a tree: FIRSTLIGHT_TEST_ROOTFS=FILE"]
fn at_every_step_with_packages_all_is_old_or_new_even_when_dpkg_is_killed() {
    let Some(debian) = super::apt::Debian::new("FIRSTLIGHT_TEST_ROOTFS") else { return };
    let tree = &debian.tree;
    // Where /run/deadly is, the package's own script kills the agent, apt and dpkg in the middle of their work.
    let deadly = "if test -e /run/deadly; then rm /run/deadly; kill -9 $(cat /run/agent.pid); kill -9 0; fi";
    debian.package("fl-app", "1.0", "", "");
    debian.package("fl-dep", "1.0", "", deadly);
    debian.package("fl-app", "2.0", "Depends: fl-dep\n", "");
    debian.package("fl-more", "2.0", "", "");
    let apply = |wanted: &Desired| {
        let applier = Applier::new(&tree.root(), &tree.state()).unwrap();
        let mut log = Vec::new();
        let outcome = applier.apply(wanted, &digest(wanted), &mut log);
        assert!(
            matches!(outcome.result, ApplyResult::Applied | ApplyResult::Unchanged),
            "{outcome:#?} {log:#?}"
        );
    };
    apply(&old_packages());
    let before = packages(tree);
    apply(&new_packages());
    let after = packages(tree);
    assert_ne!(before, after);
    let mut count = (0, 0, 0);
    for step in 0.. {
        apply(&old_packages());
        assert_eq!(packages(tree).replace("deinstall ok config-files", ""), before);
        std::fs::write(tree.at("/run/deadly"), "").unwrap();
        if step > 0 {
            std::fs::remove_file(tree.at("/run/deadly")).unwrap();
        }
        let died = if step == 0 { killed(tree) } else { died(tree, "packages", step) };
        let applier = Applier::new(&tree.root(), &tree.state()).unwrap();
        let mut log = Vec::new();
        let outcome = applier.recover(&mut log).unwrap();
        assert!(
            outcome.as_ref().is_none_or(|one| one.result != ApplyResult::Broken),
            "{outcome:#?} {log:#?}"
        );
        let now = packages(tree);
        assert!(now == before || now == after, "step {step}: {now}\nnot {before}\n nor {after}\n{log:#?}");
        if now == before {
            count.0 += 1;
        } else {
            count.1 += 1;
        }
        count.2 += u32::from(step == 0);
        if !died {
            break;
        }
    }
    println!("packages: old {}, new {}, dpkg killed {}", count.0, count.1, count.2);
}

/// The child that is killed by what it installs.
fn killed(tree: &Tree) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg(format!("{}::child", module_path!().split_once("::").unwrap().1))
        .env("FIRSTLIGHT_TEST_CRASH", tree.folder.path())
        .env("FIRSTLIGHT_TEST_STEP", "0")
        .env("FIRSTLIGHT_TEST_WHAT", "packages")
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    true
}
