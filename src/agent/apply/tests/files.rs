//! Files, hooks and checks, without units or packages.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, Instant};

use super::super::desired::Applied;
use super::*;

fn first() -> Desired {
    let mut owned = file("/var/lib/etcd/conf/etcd.conf", "name: n1");
    (owned.owner, owned.group, owned.mode) = ("etcd".into(), "etcd".into(), "0640".into());
    desired(vec![bundle("base@1", vec![file("/etc/motd", "hello"), owned])])
}

#[test]
fn first_generation_arrives_with_owner_and_mode_and_again_nothing_is_done() {
    let tree = Tree::new();
    tree.write("/etc/motd", "of the distribution");
    let (outcome, _) = tree.apply(&first());
    expect(&outcome, ApplyResult::Applied);
    assert_eq!(outcome.changes, ["file /etc/motd", "file /var/lib/etcd/conf/etcd.conf"]);
    assert_eq!(tree.read("/etc/motd"), "hello");
    let about = tree.at("/var/lib/etcd/conf/etcd.conf").metadata().unwrap();
    assert_eq!((about.permissions().mode() & 0o7777, about.uid(), about.gid()), (0o640, 977, 978));
    let begun = Instant::now();
    let (outcome, log) = tree.apply(&first());
    expect(&outcome, ApplyResult::Unchanged);
    assert!(begun.elapsed() < Duration::from_millis(500) && log.is_empty(), "{log:?}");
}

#[test]
fn removal_of_all_puts_back_what_was_there_before() {
    let tree = Tree::new();
    tree.write("/etc/motd", "of the distribution");
    symlink("../usr/lib/os-release", tree.at("/etc/os-release")).unwrap();
    let before = tree.snapshot();
    let mut wanted = first();
    wanted.bundles[0].files.push(file("/etc/os-release", "ours"));
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    wanted.bundles[0].files[0] = file("/etc/motd", "second");
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    let removed = tree.applier().remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    assert_eq!(removed.left_over, Vec::<String>::new());
    assert_eq!(tree.snapshot(), before);
    assert_eq!(tree.applier().observed().unwrap(), Applied::default());
}

#[test]
fn failing_check_brings_everything_back_and_tells_why() {
    let tree = Tree::new();
    expect(&tree.apply(&first()).0, ApplyResult::Applied);
    let before = tree.snapshot();
    let mut wanted = first();
    wanted.bundles[0].files[0] = file("/etc/motd", "changed");
    wanted.bundles[0].files.push(file("/srv/new/deep/file", "x"));
    let check = shell("for i in 1 2 3 4 5 6 7; do echo line $i; done; exit 3");
    wanted.bundles.push(bundle("broken@2", vec![file("/etc/broken", "x")]));
    wanted.bundles[1].health.push(health("it answers", Probe::Command(check)));
    let (outcome, _) = tree.apply(&wanted);
    expect(&outcome, ApplyResult::RolledBack);
    assert_eq!(outcome.bundle.as_deref(), Some("broken@2"));
    assert!(outcome.reason.contains("check `it answers` did not hold within 1 s"), "{}", outcome.reason);
    assert!(
        outcome.reason.contains("ended with 3\n  line 3\n  line 4\n  line 5\n  line 6\n  line 7"),
        "{}",
        outcome.reason
    );
    assert_eq!(tree.snapshot(), before);
    let applied = tree.applier().observed().unwrap();
    assert_eq!((applied.number, applied.generation), (1, digest(&first())));
    assert_eq!(applied.last.unwrap().result, ApplyResult::RolledBack);
}

#[test]
fn drift_is_told_and_repaired() {
    let tree = Tree::new();
    expect(&tree.apply(&first()).0, ApplyResult::Applied);
    let applier = tree.applier();
    assert!(applier.observed().unwrap().drift.is_empty());
    tree.write("/etc/motd", "hello"); // touched, but the same
    assert!(applier.observed().unwrap().drift.is_empty());
    tree.write("/etc/motd", "by hand");
    std::fs::set_permissions(tree.at("/var/lib/etcd/conf/etcd.conf"), PermissionsExt::from_mode(0o666))
        .unwrap();
    assert_eq!(applier.observed().unwrap().drift, ["/etc/motd", "/var/lib/etcd/conf/etcd.conf"]);
    let outcome = applier.apply(&first(), &digest(&first()), &mut Vec::new());
    expect(&outcome, ApplyResult::Unchanged);
    assert_eq!(tree.read("/etc/motd"), "by hand");
    expect(&applier.repair(&mut Vec::new()).unwrap(), ApplyResult::Applied);
    assert_eq!(tree.read("/etc/motd"), "hello");
    assert!(applier.observed().unwrap().drift.is_empty());
    std::fs::remove_file(tree.at("/etc/motd")).unwrap();
    assert_eq!(applier.observed().unwrap().drift, ["/etc/motd"]);
    let mut repairing = first();
    repairing.drift = DriftPolicy::Repair;
    expect(&applier.apply(&repairing, "x", &mut Vec::new()), ApplyResult::Applied);
    assert_eq!(tree.read("/etc/motd"), "hello");
}

#[test]
fn hooks_run_in_order_and_only_when_something_changed() {
    let tree = Tree::new();
    let note = |word: &str| shell(&format!("echo {word} $FIRSTLIGHT_BUNDLE >> $FIRSTLIGHT_ROOT/run/notes"));
    let hooks = Hooks {
        prepare: note("prepare"),
        after: note("after"),
        stop: note("stop"),
        drain: note("drain"),
        leave: note("leave"),
    };
    let mut wanted = first();
    wanted.bundles[0].hooks = hooks.clone();
    wanted.bundles.push(bundle("top@1", vec![file("/etc/top", "1")]));
    wanted.bundles[1].hooks = hooks;
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    wanted.bundles[1].files[0] = file("/etc/top", "2");
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    tree.applier().drain_hooks(&mut Vec::new()).unwrap();
    wanted.bundles.pop();
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    let notes = "prepare base@1|after base@1|prepare top@1|after top@1|prepare top@1|after top@1|drain top@1|drain base@1|drain top@1|leave top@1|";
    assert_eq!(tree.read("/run/notes").replace('\n', "|"), notes);
    assert!(!tree.at("/etc/top").exists());
}

#[test]
fn failing_hook_and_missing_user_and_missing_ansible_roll_back_with_a_reason() {
    let tree = Tree::new();
    let before = tree.snapshot();
    let mut hook = first();
    hook.bundles[0].hooks.prepare = shell("echo it is full; exit 1");
    let mut user = first();
    user.bundles[0].files[0].owner = "nobody-here".into();
    let mut ansible = first();
    let files = vec![("site.yml".to_owned(), STANDARD.encode("[]"))];
    ansible.bundles[0].ansible = vec![super::super::desired::Playbook {
        playbook: "site.yml".into(),
        files,
        variables: serde_json::Map::new(),
    }];
    let folder = first();
    for (name, wanted, reason) in [
        ("hook", hook, "hook `prepare`"),
        ("user", user, "there is no user `nobody-here` on this host"),
        ("ansible", ansible, "needs ansible-playbook, which this host does not have"),
        ("folder", desired(vec![bundle("base@1", vec![file("/etc", "x")])]), "/etc: it is a folder"),
    ] {
        let (outcome, _) = tree.apply(&wanted);
        expect(&outcome, ApplyResult::RolledBack);
        assert!(outcome.reason.contains(reason), "{name}: {}", outcome.reason);
        assert_eq!(tree.snapshot(), before, "{name}");
    }
    expect(&tree.apply(&folder).0, ApplyResult::Applied);
}

#[test]
fn secrets_are_in_no_log_no_reason_and_no_readable_file() {
    let tree = Tree::new();
    let mut wanted = first();
    let mut secret = file("/etc/secret", "user = admin\npassword = \"hunter2hunter2\"\n");
    (secret.secret, secret.mode) = (true, "0600".into());
    wanted.bundles[0].files.push(secret);
    wanted.bundles[0].hooks.prepare = shell("cat $FIRSTLIGHT_ROOT/etc/secret; echo got hunter2hunter2");
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    wanted.bundles[0].files[2].content = STANDARD.encode("password = swordfish-two");
    wanted.bundles[0].health.push(health("never", Probe::Command(shell("echo swordfish-two; exit 1"))));
    let (outcome, log) = tree.apply(&wanted);
    expect(&outcome, ApplyResult::RolledBack);
    let all = format!("{outcome:?} {log:?}");
    assert!(!all.contains("hunter2") && !all.contains("swordfish") && all.contains("••••••"), "{all}");
    assert_eq!(std::fs::metadata(tree.state()).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["current.json", "generations/1.json", "last.json"] {
        let mode = std::fs::metadata(tree.state().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn secrets_are_masked_in_every_form_even_after_a_restart_and_kept_in_their_files_only() {
    let tree = Tree::new();
    let secret = "tr0ub4dor&3";
    let mut wanted = first();
    let mut file = file("/etc/app.json", &format!(r#"{{"user":"admin","pass":"{secret}","port":1}}"#));
    (file.secret, file.mode) = (true, "0600".into());
    wanted.bundles[0].files.push(file);
    wanted.masks.add(secret);
    wanted.masks.add("used-by-no-file");
    let told = shell(
        r#"f=$FIRSTLIGHT_ROOT/etc/app.json; cat $f; echo; p=$(sed 's/.*"pass":"\([^"]*\)".*/\1/' $f)
        echo http://admin:$(printf %s "$p" | sed 's/&/%26/')@127.0.0.1/
        printf %s "admin:$p" | base64
        echo '+ curl -u '$(printf %s "$p" | sed 's/&/\\&/')"#,
    );
    wanted.bundles[0].hooks.prepare = told.clone();
    wanted.bundles[0].hooks.drain = told;
    let (outcome, mut log) = tree.apply(&wanted);
    expect(&outcome, ApplyResult::Applied);
    // Another process, which knows only what is on disk.
    let mut drained = Vec::new();
    tree.applier().drain_hooks(&mut drained).unwrap();
    let mut worse = wanted.clone();
    worse.bundles[0].bundle = "base@2".into();
    let fails = shell("echo \"it has $(cat $FIRSTLIGHT_ROOT/etc/app.json)\"; exit 1");
    worse.bundles[0].health.push(health("never", Probe::Command(fails)));
    let (broken, more) = tree.apply(&worse);
    expect(&broken, ApplyResult::RolledBack);
    for all in [format!("{log:?}"), format!("{drained:?}"), format!("{broken:?} {more:?}")] {
        assert!(!all.contains("tr0ub") && !all.contains("RyMHVi") && !all.contains("0cjB1Y"), "{all}");
        assert!(all.contains("••••••") && all.contains("admin"), "{all}");
    }
    for entry in std::fs::read_dir(tree.state()).unwrap().flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains(secret) && !text.contains("used-by-no-file"), "{}", entry.path().display());
    }
    // They are no part of the generation.
    wanted.masks = super::super::desired::Masks::default();
    let applier = tree.applier();
    let generation = applier.observed().unwrap().generation;
    expect(&applier.apply(&wanted, &generation, &mut log), ApplyResult::Unchanged);
}

#[test]
fn way_back_that_is_blocked_is_told_and_gone_again_when_it_is_free() {
    let tree = Tree::new();
    expect(&tree.apply(&first()).0, ApplyResult::Applied);
    let before = tree.snapshot();
    let mut wanted = first();
    wanted.bundles[0].files[0] = file("/etc/motd", "changed");
    wanted.bundles[0].hooks.prepare =
        shell("cd $FIRSTLIGHT_ROOT/etc && rm motd && mkdir -p motd/in && echo no; exit 1");
    let (outcome, _) = tree.apply(&wanted);
    expect(&outcome, ApplyResult::Broken);
    assert!(outcome.reason.contains("the way back failed, too"), "{}", outcome.reason);
    assert!(tree.state().join("transaction").exists());
    std::fs::remove_dir_all(tree.at("/etc/motd")).unwrap();
    let outcome = tree.applier().recover(&mut Vec::new()).unwrap().unwrap();
    expect(&outcome, ApplyResult::RolledBack);
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn leave_hook_that_fails_keeps_a_bundle_but_not_the_whole_host() {
    let tree = Tree::new();
    let before = tree.snapshot();
    let mut wanted = first();
    wanted.bundles.push(bundle("top@1", vec![file("/etc/top", "1")]));
    wanted.bundles[1].hooks.leave = shell("echo nobody answers; exit 1");
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    let (outcome, _) = tree.apply(&first());
    expect(&outcome, ApplyResult::RolledBack);
    let kept = tree.applier().leave_all(&mut Vec::new()).unwrap();
    expect(&kept.outcome, ApplyResult::RolledBack);
    assert!(kept.outcome.reason.contains("nobody answers") && kept.left_over.is_empty(), "{kept:?}");
    assert_eq!((outcome.bundle.as_deref(), tree.read("/etc/top").as_str()), (Some("top@1"), "1"));
    let removed = tree.applier().remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    assert!(removed.outcome.changes[0].starts_with("bundle top@1 did not take its leave"), "{removed:?}");
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn three_generations_are_kept() {
    let tree = Tree::new();
    for text in ["1", "2", "3", "4", "5"] {
        let (outcome, _) = tree.apply(&desired(vec![bundle("a@1", vec![file("/etc/a", text)])]));
        assert_eq!((outcome.result, tree.read("/etc/a").as_str()), (ApplyResult::Applied, text));
    }
    let kept: Vec<u64> =
        tree.applier().generations().unwrap().into_iter().map(|(number, _)| number).collect();
    assert_eq!(kept, [5, 4, 3]);
}

#[test]
fn checks_of_all_kinds() {
    let tree = Tree::new();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = open.local_addr().unwrap().to_string();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/health", web.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in web.incoming().take(3) {
            let mut stream = stream.unwrap();
            let _read = stream.read(&mut [0; 1024]);
            let _sent =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntrue");
        }
    });
    let http = |contains: &str| Probe::Http { url: url.clone(), contains: contains.into() };
    let mut wanted = first();
    wanted.bundles[0].health = vec![
        health("tcp", Probe::Tcp(address)),
        health("http", http("true")),
        health(
            "later",
            Probe::Command(shell(
                "test -e $FIRSTLIGHT_ROOT/run/2 || { touch $FIRSTLIGHT_ROOT/run/2; false; }",
            )),
        ),
    ];
    expect(&tree.apply(&wanted).0, ApplyResult::Applied);
    wanted.bundles[0].health = vec![
        health("closed", Probe::Tcp("127.0.0.1:1".into())),
        health("other text", http("false")),
        health("slow", Probe::Command(shell("sleep 60 & sleep 60"))),
        health("good", Probe::Command(shell("true"))),
    ];
    let applier = tree.applier();
    drop(open);
    for check in &wanted.bundles[0].health {
        let begun = Instant::now();
        let error = super::super::health::once(applier.host(), check).err().map(|error| error.to_string());
        assert_eq!(error.is_none(), check.name == "good", "{}: {error:?}", check.name);
        assert!(begun.elapsed() < Duration::from_secs(4), "{}", check.name);
    }
}
