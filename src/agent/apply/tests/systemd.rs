//! Services under the real systemd. Changes the host it runs on: only for a virtual machine or container that may go.

use std::process::Command;

use super::*;

fn answer(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn wanted(seconds: u32, command: &str) -> Desired {
    let text = format!(
        "[Service]\nEnvironmentFile=/etc/fl-web.env\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n"
    );
    let mut settings = file("/etc/fl-web.env", &format!("SECONDS={seconds}\n"));
    settings.restart = vec!["fl-web.service".into()];
    let mut one = bundle("web@1", vec![settings, file("/etc/systemd/system/fl-web.service", &text)]);
    one.units = vec![unit("fl-web.service")];
    one.health = vec![health("runs", Probe::Unit("fl-web.service".into()))];
    desired(vec![one])
}

#[test]
#[ignore = "changes the host: run it where systemd runs and nothing is lost"]
fn service_is_started_restarted_rolled_back_and_taken_away() {
    let sleep = "/bin/sleep ${SECONDS}";
    let state = tempfile::tempdir().unwrap();
    let applier = Applier::new(Path::new("/"), state.path()).unwrap();
    let apply = |wanted: &Desired| applier.apply(wanted, &digest(wanted), &mut Vec::new());
    let pid = || answer(&["show", "-P", "MainPID", "fl-web.service"]);
    let outcome = apply(&wanted(1001, sleep));
    expect(&outcome, ApplyResult::Applied);
    assert_eq!(outcome.changes[2..], ["enable fl-web.service", "start fl-web.service"]);
    assert_eq!(answer(&["is-active", "fl-web"]) + &answer(&["is-enabled", "fl-web"]), "activeenabled");
    let first = pid();
    expect(&apply(&wanted(1001, sleep)), ApplyResult::Unchanged);
    let mut beside = wanted(1001, sleep);
    beside.bundles.push(bundle("else@1", vec![file("/etc/fl-else", "x")]));
    expect(&apply(&beside), ApplyResult::Applied);
    assert_eq!(pid(), first);
    let outcome = apply(&wanted(1002, sleep));
    expect(&outcome, ApplyResult::Applied);
    assert!(outcome.changes.contains(&"restart fl-web.service".into()), "{outcome:?}");
    assert_ne!(pid(), first);
    let outcome = apply(&wanted(1003, "/bin/sh -c 'echo port is taken; exit 7'"));
    expect(&outcome, ApplyResult::RolledBack);
    println!("{}", outcome.reason);
    assert!(outcome.reason.contains("port is taken"), "{}", outcome.reason);
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid())).unwrap();
    assert_eq!(line, "/bin/sleep\u{0}1002\u{0}");
    let none = apply(&wanted(1004, "/no/such/program"));
    expect(&none, ApplyResult::RolledBack);
    println!("{}", none.reason);
    assert!(none.reason.contains("it ended at once"), "{}", none.reason);
    let removed = applier.remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    assert_eq!(removed.left_over, Vec::<String>::new());
    assert_eq!(answer(&["show", "-P", "LoadState", "fl-web.service"]), "not-found");
    assert!(!Path::new("/etc/systemd/system/multi-user.target.wants/fl-web.service").is_symlink());
}

#[test]
#[ignore = "changes the host, and fetches a package of the distribution"]
fn package_with_a_service_starts_with_its_configuration_and_goes_without_a_trace() {
    let state = tempfile::tempdir().unwrap();
    let applier = Applier::new(Path::new("/"), state.path()).unwrap();
    let log_of = || {
        let output =
            Command::new("journalctl").args(["--no-pager", "-o", "cat", "-u", "memcached"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut settings = file("/etc/memcached.conf", "-u memcache\n-l 127.0.0.1\n-p 11311\n-m 8\n");
    settings.restart = vec!["memcached.service".into()];
    let mut one = bundle("memcached@1", vec![settings]);
    let named = |name: &str| super::super::desired::DesiredPackage {
        apt: Some(name.into()),
        dnf: None,
        version: None,
    };
    one.packages = vec![named("memcached")];
    one.units = vec![unit("memcached.service")];
    one.health = vec![health("answers", Probe::Tcp("127.0.0.1:11311".into()))];
    one.health[0].within_seconds = 20;
    let before = Command::new("dpkg-query").args(["-W"]).output().unwrap().stdout;
    let mut log = Vec::new();
    let outcome = applier.apply(&desired(vec![one.clone()]), "1", &mut log);
    println!("{outcome:#?}\n{}", log_of());
    expect(&outcome, ApplyResult::Applied);
    // Its only start was ours, with our configuration.
    assert_eq!(
        answer(&["show", "-P", "NRestarts,ExecMainStatus", "memcached"]).lines().last().unwrap_or("0"),
        "0"
    );
    let command =
        std::fs::read(format!("/proc/{}/cmdline", answer(&["show", "-P", "MainPID", "memcached"]))).unwrap();
    assert!(String::from_utf8_lossy(&command).contains("11311"));
    assert!(!log_of().contains("11211"), "{}", log_of());
    let mut sick = one;
    sick.health[0].probe = Probe::Tcp("127.0.0.1:11312".into());
    sick.health[0].within_seconds = 1;
    let outcome = applier.apply(&desired(vec![sick]), "2", &mut Vec::new());
    expect(&outcome, ApplyResult::RolledBack);
    assert!(applier.observed().unwrap().unhealthy.is_empty());
    let removed = applier.remove_all(&mut Vec::new()).unwrap();
    println!("{removed:#?}");
    expect(&removed.outcome, ApplyResult::Applied);
    assert_eq!(removed.left_over, Vec::<String>::new());
    assert_eq!(Command::new("dpkg-query").args(["-W"]).output().unwrap().stdout, before);
    assert!(!Path::new("/etc/memcached.conf").exists() && !Path::new("/usr/sbin/policy-rc.d").exists());
}
