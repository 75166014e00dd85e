//! Services under the supervisor: real processes.

use std::time::{Duration, Instant};

use super::*;

const SERVICE: &str = "[Unit]\nDescription=x\n[Service]\nType=exec\nEnvironment=WHO=unit \"MORE=two words\"\nEnvironmentFile=-/etc/default/web\nExecStartPre=/bin/sh -c 'echo pre >> ${OUT}'\nExecStart=/bin/sh -c 'echo \"${WHO} ${MORE} ${PORT}\" >> ${OUT}; exec sleep 1004'\nExecReload=/bin/sh -c 'echo reload $MAINPID >> ${OUT}'\nRestart=always\n";

fn web(tree: &Tree, port: &str) -> Desired {
    let out = tree.at("/run/out").display().to_string();
    let mut settings = file("/etc/default/web", &format!("PORT={port}\nOUT={out}\n"));
    settings.restart = vec!["web.service".into()];
    let mut reloaded = file("/etc/web.conf", "1");
    reloaded.reload = vec!["web.service".into()];
    let mut one = bundle("web@1", vec![settings, file("/etc/systemd/system/web.service", SERVICE), reloaded]);
    one.units = vec![unit("web.service")];
    one.health = vec![health("runs", Probe::Unit("web.service".into()))];
    desired(vec![one])
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn pid(tree: &Tree) -> i32 {
    let text = std::fs::read(tree.state().join("units/web.service.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    record["pid"].as_i64().unwrap_or_default().try_into().unwrap()
}

#[test]
fn service_is_started_restarted_reloaded_and_stopped_only_when_needed() {
    let tree = Tree::new();
    let mut log = Vec::new();
    let applier = tree.applier();
    let mut apply = |wanted: &Desired| {
        let outcome = applier.apply(wanted, &digest(wanted), &mut log);
        expect(&outcome, ApplyResult::Applied);
        outcome.changes.into_iter().filter(|line| !line.starts_with("file")).collect::<Vec<_>>()
    };
    assert_eq!(apply(&web(&tree, "80")), ["enable web.service", "start web.service"]);
    let first = pid(&tree);
    let mut other = web(&tree, "80");
    other.bundles.push(bundle("else@1", vec![file("/etc/else", "x")]));
    assert_eq!(apply(&other), Vec::<String>::new());
    assert_eq!(pid(&tree), first);
    assert_eq!(apply(&web(&tree, "81")), ["restart web.service"]);
    assert_ne!(pid(&tree), first);
    let mut reload = web(&tree, "81");
    reload.bundles[0].files[2].content = STANDARD.encode("2");
    assert_eq!(apply(&reload), ["reload web.service"]);
    let out = format!("pre\nunit two words 80\npre\nunit two words 81\nreload {}\n", pid(&tree));
    assert_eq!(tree.read("/run/out"), out);
    // Killed from outside: it comes back.
    let before = pid(&tree);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_for("it is started again", || {
        ![before, 0].contains(&pid(&tree)) && applier.observed().unwrap().unhealthy.is_empty()
    });
    let removed = applier.remove_all(&mut Vec::new()).unwrap();
    assert_eq!(removed.left_over, Vec::<String>::new());
    assert!(removed.outcome.changes.contains(&"stop web.service".into()), "{:?}", removed.outcome);
    assert!(!tree.at("/etc/systemd").exists());
}

#[test]
fn another_agent_finds_the_service_that_the_one_before_started() {
    let tree = Tree::new();
    expect(&tree.apply(&web(&tree, "80")).0, ApplyResult::Applied);
    let first = pid(&tree);
    let applier = tree.applier();
    assert_eq!(applier.recover(&mut Vec::new()).unwrap(), None);
    assert!(applier.observed().unwrap().unhealthy.is_empty());
    assert_eq!(pid(&tree), first);
    let outcome = applier.apply(&web(&tree, "81"), "81", &mut Vec::new());
    expect(&outcome, ApplyResult::Applied);
    assert_ne!(pid(&tree), first);
    assert!(
        !Path::new(&format!("/proc/{first}")).exists() || !applier.observed().unwrap().generation.is_empty()
    );
}

#[test]
fn service_that_ends_at_once_rolls_back_with_its_last_words() {
    let tree = Tree::new();
    expect(&tree.apply(&web(&tree, "80")).0, ApplyResult::Applied);
    let mut wanted = web(&tree, "90");
    let text = "[Service]\nExecStart=/bin/sh -c 'echo port is taken; exit 7'\n";
    wanted.bundles[0].files[1] = file("/etc/systemd/system/web.service", text);
    let (outcome, _) = tree.apply(&wanted);
    expect(&outcome, ApplyResult::RolledBack);
    assert!(outcome.reason.contains("start of web.service: it ended at once"), "{}", outcome.reason);
    assert!(outcome.reason.contains("port is taken"), "{}", outcome.reason);
    assert_eq!(outcome.bundle.as_deref(), Some("web@1"));
    assert!(tree.applier().observed().unwrap().unhealthy.is_empty());
    assert!(tree.read("/run/out").ends_with("unit two words 80\n"));
}

#[test]
fn a_file_that_a_version_drops_restarts_what_read_it() {
    let tree = Tree::new();
    let applier = tree.applier();
    let apply = |wanted: &Desired| {
        let outcome = applier.apply(wanted, &digest(wanted), &mut Vec::new());
        expect(&outcome, ApplyResult::Applied);
        outcome.changes.into_iter().filter(|line| !line.starts_with("file")).collect::<Vec<_>>()
    };
    let mut wanted = web(&tree, "80");
    let mut extra = file("/etc/web.d/extra", "1");
    extra.restart = vec!["web.service".into()];
    let more = "[Service]\nEnvironment=WHO=dropin\n";
    let dropin = file("/etc/systemd/system/web.service.d/50-firstlight.conf", more);
    wanted.bundles[0].files.extend([extra.clone(), dropin]);
    let mut other = bundle("other@1", vec![file("/etc/web.d/other", "1")]);
    other.files[0].restart = vec!["web.service".into()];
    wanted.bundles.push(other);
    apply(&wanted);
    assert!(tree.read("/run/out").ends_with("dropin two words 80\n"));

    wanted.bundles[0].bundle = "web@2".into();
    wanted.bundles[0].files.retain(|file| file.path != "/etc/web.d/extra");
    assert_eq!(apply(&wanted), ["restart web.service"], "a configuration file is dropped");
    wanted.bundles[0].bundle = "web@3".into();
    wanted.bundles[0].files.pop();
    assert_eq!(apply(&wanted), ["restart web.service"], "a drop-in is dropped");
    assert!(tree.read("/run/out").ends_with("unit two words 80\n"), "and its unit was read again");
    wanted.bundles.pop();
    assert_eq!(apply(&wanted), ["restart web.service"], "a bundle goes that had a file of another's unit");

    // The check fails: it comes back with what was dropped.
    wanted.bundles[0].files.push(extra);
    assert_eq!(apply(&wanted), ["restart web.service"]);
    let before = pid(&tree);
    let mut broken = wanted.clone();
    broken.bundles[0].bundle = "web@4".into();
    broken.bundles[0].files.pop();
    broken.bundles[0].health.push(health("never", Probe::Command(shell("false"))));
    expect(&applier.apply(&broken, "broken", &mut Vec::new()), ApplyResult::RolledBack);
    assert!(tree.at("/etc/web.d/extra").exists() && pid(&tree) != before);
}

#[test]
fn the_stop_hook_runs_while_its_units_still_do() {
    let tree = Tree::new();
    let applier = tree.applier();
    let apply = |wanted: &Desired| {
        expect(&applier.apply(wanted, &digest(wanted), &mut Vec::new()), ApplyResult::Applied);
    };
    let notes = || std::mem::take(&mut tree.read("/run/notes")).replace('\n', "|");
    let mark = tree.state().join("units/web.service.json").display().to_string();
    let hooked = |port: &str| {
        let mut wanted = web(&tree, port);
        let record = format!("test -s {mark} && kill -0 $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' {mark})");
        let text =
            format!("{record} && echo $FIRSTLIGHT_HOOK $FIRSTLIGHT_BUNDLE >> $FIRSTLIGHT_ROOT/run/notes");
        wanted.bundles[0].hooks.stop = shell(&text);
        wanted
    };
    apply(&hooked("80"));
    assert!(notes().starts_with('('), "a start is no stop: {}", notes());
    let mut reload = hooked("80");
    reload.bundles[0].files[2].content = STANDARD.encode("2");
    apply(&reload);
    assert!(notes().starts_with('('), "nor is a reload: {}", notes());
    apply(&hooked("81"));
    assert_eq!(notes(), "stop web@1|", "a restart");
    // Another bundle's file restarts it.
    let mut two = hooked("81");
    two.bundles.push(bundle("two@1", vec![file("/etc/two", "1")]));
    two.bundles[1].files[0].restart = vec!["web.service".into()];
    apply(&two);
    assert_eq!(notes(), "stop web@1|stop web@1|");
    // A hook that fails keeps it running.
    let mut fails = hooked("82");
    fails.bundles[0].hooks.stop = shell("echo it leads; exit 1");
    let outcome = applier.apply(&fails, "fails", &mut Vec::new());
    expect(&outcome, ApplyResult::RolledBack);
    assert!(outcome.reason.contains("hook `stop`") && outcome.reason.contains("it leads"), "{outcome:?}");
    assert!(applier.observed().unwrap().unhealthy.is_empty());
    // It goes.
    apply(&desired(vec![bundle("two@2", vec![file("/etc/two", "1")])]));
    assert_eq!(notes(), "stop web@1|stop web@1|stop web@1|");
}

/// Its leave hook ends it, and it would come back by itself a moment later.
#[test]
fn a_unit_that_is_about_to_come_back_does_not_once_its_bundle_is_gone() {
    let tree = Tree::new();
    let out = tree.at("/run/out").display().to_string();
    let service = format!(
        "[Service]\nType=exec\nExecStart=/bin/sh -c 'echo up >> {out}; while [ ! -e {out}.go ]; do sleep 0.05; done; rm {out}.go'\nRestart=always\n"
    );
    let mut one = bundle("web@1", vec![file("/etc/systemd/system/web.service", &service)]);
    one.units = vec![unit("web.service")];
    one.hooks.leave =
        shell(&format!("touch {out}.go; while [ -e {out}.go ]; do sleep 0.05; done; sleep 0.3"));
    let applier = tree.applier();
    let wanted = desired(vec![one]);
    expect(&applier.apply(&wanted, &digest(&wanted), &mut Vec::new()), ApplyResult::Applied);
    wait_for("it runs", || tree.at("/run/out").exists());
    let removed = applier.remove_all(&mut Vec::new()).unwrap();
    assert_eq!(removed.left_over, Vec::<String>::new());
    let runs = tree.read("/run/out");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(tree.read("/run/out"), runs);
}
