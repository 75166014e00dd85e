//! `node timeline` and several nodes at once, against a real appliance. Needs root.

mod appliance;
mod rack;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use rack::{Process, Rack};

const PATIENCE: Duration = Duration::from_secs(20);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// The lines of a command that does not end by itself.
fn lines(appliance: &Appliance, arguments: &[&str]) -> (Process, Receiver<String>) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = appliance.command(arguments);
    command.stdin(Stdio::null()).stdout(writer);
    let process = Process::spawn(command).expect("start");
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    (process, lines)
}

/// Panics unless a line with `wanted` comes; those before it.
fn until(lines: &Receiver<String>, wanted: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no '{wanted}' after {before:?}"));
        if line.contains(wanted) {
            return before;
        }
        before.push(line);
    }
}

#[test]
fn a_timeline_is_followed() {
    let rack = Rack::new("follow").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    appliance.meet("n1");
    appliance.meet("n2");
    let (table, told) = lines(&appliance, &["node", "timeline", "n1", "--follow"]);
    let (json, objects) = lines(&appliance, &["node", "timeline", "n1", "--follow", "-o", "json"]);
    let (yaml, documents) = lines(&appliance, &["event", "follow", "-o", "yaml"]);
    assert_eq!(told.recv_timeout(PATIENCE).expect("a header").split_whitespace().last(), Some("WHAT"));
    until(&told, "renamed from");
    until(&objects, "\"kind\":\"renamed\"");

    // The node changes its name and is followed all the same; the other one is not told of.
    appliance.ok(&["node", "approve", "n2"]);
    appliance.ok(&["node", "set", "n1", "--name", "other"]);
    appliance.ok(&["node", "approve", "other"]);
    let before = until(&told, "discovered → enrolled");
    assert!(before.iter().all(|line| !line.contains("enrolled")), "events of another node: {before:?}");
    for line in until(&objects, "\"to\":\"enrolled\"") {
        let event: serde_json::Value = serde_json::from_str(&line).expect("one object a line");
        assert_eq!(event["kind"], "renamed");
    }
    until(&documents, "to: enrolled");

    // It ends with the appliance, and says so.
    appliance.stop();
    for mut process in [table, json, yaml] {
        assert_eq!(process.wait(PATIENCE).expect("it ends").code(), Some(1));
    }
}

#[test]
fn times_and_colours() {
    let rack = Rack::new("colours").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    appliance.meet("n1");
    appliance.ok(&["node", "approve", "n1"]);
    let timeline = |zone: &str, arguments: &[&str]| {
        let mut command = appliance.command(&["node", "timeline", "n1"]);
        let output = command.args(arguments).env("TZ", zone).output().expect("run the CLI");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let hour = |text: &str| text.lines().nth(1).expect("an event")[11..13].parse::<u32>().expect("an hour");
    // POSIX writes the zones west of Greenwich as positive (POSIX.1-2017, section 8.3).
    let (utc, east) = (timeline("XXX-3", &["--utc"]), timeline("XXX-3", &[]));
    assert_eq!((hour(&utc) + 3) % 24, hour(&east), "{utc}\n{east}");
    assert!(utc.starts_with("UTC ") && east.starts_with("LOCAL TIME "), "{utc}\n{east}");
    assert!(!utc.contains('\x1b'), "no colours in a pipe");
    assert!(utc.ends_with("its last boot is not ready; `firstlight node explain n1` tells why\n"), "{utc}");

    let socket = appliance.dir().join("api.sock");
    let on_terminal = |options: &str, no_color: &str| {
        let line = format!(
            "{} --server unix:{} {options} node timeline n1",
            firstlight().display(),
            socket.display()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
        let output = command.stdin(Stdio::null()).output().expect("run script");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let coloured = on_terminal("", "");
    assert!(coloured.contains("\x1b[1m") && coloured.contains("→ enrolled"), "{coloured}");
    for (options, no_color) in [("--no-color", ""), ("", "1")] {
        let plain = on_terminal(options, no_color);
        assert!(plain.contains("→ enrolled") && !plain.contains('\x1b'), "{options} {no_color}: {plain}");
    }
    appliance.stop();
}

#[test]
fn who_is_refused_does_not_keep_the_others_from_it() {
    let rack = Rack::new("several").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    appliance.meet("n1");
    appliance.meet("n2");
    let output = appliance.cli(&["node", "approve", "n1", "nobody", "n1", "n2"]);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(out, "approved n1\napproved n2\n");
    let refusals: Vec<&str> = error.lines().collect();
    assert_eq!(refusals.len(), 2, "{error}");
    assert!(refusals[0].starts_with("firstlight: ") && refusals[0].contains("nobody"), "{error}");
    assert!(refusals[1].starts_with("firstlight: ") && refusals[1].contains("approved already"), "{error}");
    assert_eq!(appliance.ok(&["node", "approve", "--all"]), "no node waits for approval\n");
    assert_eq!(appliance.ok(&["--quiet", "node", "unpin", "n1", "n2"]), "");
    appliance.stop();
}
