//! The command line against a real appliance: outputs, exit codes, refusals, log and service manager. Needs root.

mod appliance;
mod rack;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use appliance::{Appliance, NETWORK};
use rack::Rack;
use serde_json::Value;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// An appliance with one node (named `n1`), one group, one image.
fn furnished(rack: &Rack) -> Appliance<'_> {
    let appliance = Appliance::start(rack, firstlight(), NETWORK);
    appliance.meet("n1");
    appliance.ok(&["group", "create", "web"]);
    let folder = rack.dir().join("image");
    std::fs::create_dir_all(&folder).expect("make a folder");
    std::fs::write(folder.join("vmlinuz"), b"kernel").expect("write a kernel");
    std::fs::write(
        folder.join("demo.toml"),
        "name = \"demo\"\nversion = \"1\"\narch = \"x86_64\"\nkernel = \"vmlinuz\"\ncmdline = \"quiet\"\n",
    )
    .expect("write a manifest");
    let manifest = folder.join("demo.toml").display().to_string();
    assert!(appliance.ok(&["image", "import", &manifest]).contains("demo@1 imported"));
    assert!(appliance.ok(&["image", "import", &manifest]).contains("is there already"));
    appliance
}

#[test]
fn every_list_and_show_speaks_table_json_and_yaml() {
    let rack = Rack::new("outputs").expect("a rack");
    let mut appliance = furnished(&rack);
    let id = appliance.node("n1").expect("n1")["id"].as_str().expect("an id").to_owned();
    let ip = appliance.node("n1").expect("n1")["ip"].as_str().expect("an address").to_owned();
    for command in [
        &["status"][..],
        &["node", "list"],
        &["node", "list", "--state", "discovered"],
        &["node", "show", "n1"],
        &["node", "show", &ip],
        &["node", "show", &id[..8]],
        &["node", "timeline", "n1"],
        &["node", "explain", "n1"],
        &["group", "list"],
        &["group", "show", "web"],
        &["image", "list"],
        &["image", "show", "demo@1"],
        &["image", "verify", "demo@1"],
        &["lease", "list"],
        &["lease", "show", &ip],
        &["network", "list"],
        &["network", "show", "br0"],
        &["event", "list"],
        &["event", "list", "--node", "n1", "--limit", "2"],
    ] {
        assert!(!appliance.ok(command).is_empty(), "{command:?}");
        let json = appliance.json(command);
        assert!(json.is_array() || json.is_object(), "{command:?}");
        let yaml = appliance.ok(&[command, &["-o", "yaml"]].concat());
        let read: serde_json::Value =
            serde_norway::from_str(&yaml).unwrap_or_else(|e| panic!("{command:?}: {e}\n{yaml}"));
        assert_eq!(read.is_array(), json.is_array(), "{command:?}");
    }
    let table = appliance.ok(&["node", "list"]);
    assert!(table.starts_with("NAME  MAC"), "{table}");
    assert!(appliance.json(&["node", "list", "--state", "ready"]).as_array().is_some_and(Vec::is_empty));
    appliance.stop();
}

/// The value beside each word of a `show` command's block.
fn block(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

#[test]
fn a_lease_and_a_network_are_shown_as_they_are() {
    let rack = Rack::new("shown").expect("a rack");
    let mut appliance = furnished(&rack);
    let node = appliance.node("n1").expect("n1");
    let (ip, mac) = (node["ip"].as_str().expect("an address"), node["macs"][0].as_str().expect("a MAC"));
    for (approved, kind) in [(false, "sticky"), (true, "reserved")] {
        if approved {
            appliance.ok(&["node", "approve", "n1"]);
        }
        let lease = appliance.json(&["lease", "show", ip]);
        let all = appliance.json(&["lease", "list"]);
        assert_eq!(lease, all[0], "one is shown as in the list");
        for (what, expected) in [
            ("ip", Value::from(ip)),
            ("mac", mac.into()),
            ("node", "n1".into()),
            ("active", true.into()),
            ("state", "bound".into()),
            ("reserved", approved.into()),
        ] {
            assert_eq!(lease[what], expected, "{what}: {lease}");
        }
        let text = appliance.ok(&["lease", "show", ip]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let [names, values] = words.as_slice() else { panic!("two lines: {text}") };
        assert_eq!(names[..], ["IP", "MAC", "NODE", "STATE", "KIND", "EXPIRES"]);
        assert_eq!(values[..5], [ip, mac, "n1", "active", kind], "{text}");
    }

    // By its subnet, its interface, or any address in it.
    let network = appliance.json(&["network", "show", "10.77.0.0/24"]);
    assert_eq!(network, appliance.json(&["network", "list"])[0], "one is shown as in the list");
    for name in ["br0", ip, "10.77.0.250"] {
        assert_eq!(appliance.json(&["network", "show", name]), network, "{name}");
    }
    for (what, expected) in [
        ("subnet", Value::from("10.77.0.0/24")),
        ("interface", "br0".into()),
        ("dhcp", "full".into()),
        ("gateway", "10.77.0.1".into()),
        ("ranges", vec!["10.77.0.100-10.77.0.200"].into()),
        ("addresses", 101.into()),
        ("bound", 1.into()),
        ("kept", 0.into()),
        ("declined", 0.into()),
        ("free", 100.into()),
        ("reservations", 0.into()),
        ("new_clients", 1.into()),
    ] {
        assert_eq!(network[what], expected, "{what}: {network}");
    }
    assert_eq!(network.get("full_in_days"), None, "an hour tells nothing of the years: {network}");
    let text = appliance.ok(&["network", "show", "10.77.0.0/24"]);
    let shown = block(&text);
    for (what, expected) in [
        ("subnet", "10.77.0.0/24"),
        ("interface", "br0"),
        ("shared network", "-"),
        ("dhcp", "full"),
        ("gateway", "10.77.0.1"),
        ("ranges", "10.77.0.100-10.77.0.200"),
        ("addresses", "101"),
        ("bound", "1"),
        ("kept for clients", "0"),
        ("declined", "0"),
        ("free", "100"),
        ("reservations", "0"),
        ("new in 7 days", "1"),
        ("full", "-"),
    ] {
        assert_eq!(shown.get(what).map(String::as_str), Some(expected), "{what}:\n{text}");
    }

    // What an operator takes back is free.
    appliance.ok(&["lease", "release", ip]);
    assert!(appliance.refused(&["lease", "show", ip]).contains(&format!("nobody holds {ip}")));
    let network = appliance.json(&["network", "show", "br0"]);
    assert_eq!((&network["bound"], &network["free"]), (&0.into(), &101.into()), "{network}");
    appliance.stop();
}

#[test]
fn verbs_change_what_they_say_and_refusals_are_one_line() {
    let rack = Rack::new("verbs").expect("a rack");
    let mut appliance = furnished(&rack);
    for (command, wanted) in [
        (&["node", "show", "nobody"][..], "no node is called 'nobody'"),
        (&["node", "pin", "n1", "other@1"], "image other@1 is not imported"),
        (&["node", "set", "n1", "--group", "none"], "there is no group 'none'"),
        (&["group", "create", "web"], "there is a group 'web' already"),
        (&["group", "show", "none"], "there is no group 'none'"),
        (&["group", "pin", "web", "other@1"], "is not imported"),
        (&["image", "show", "other@1"], "is not imported"),
        (&["image", "remove", "other@1"], "is not imported"),
        (&["image", "import", "/nowhere/demo.toml"], "cannot read /nowhere/demo.toml, the manifest"),
        (&["lease", "release", "10.77.0.199"], "nobody holds 10.77.0.199"),
        (
            &["lease", "show", "10.77.0.199"],
            "nobody holds 10.77.0.199; `firstlight lease list` shows who holds what",
        ),
        (&["lease", "show", "fd00::1"], "nobody holds fd00::1"),
        (
            &["network", "show", "10.99.0.0/24"],
            "there is no network '10.99.0.0/24'; `firstlight network list` shows them",
        ),
        (&["network", "show", "10.78.0.9"], "there is no network '10.78.0.9'"),
        (&["network", "show", "br9"], "there is no network 'br9'"),
    ] {
        let error = appliance.refused(command);
        assert!(error.contains(wanted), "{command:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{command:?}: {error}");
        assert!(error.starts_with("firstlight: "), "{command:?}: {error}");
    }

    appliance.ok(&["group", "pin", "web", "demo@1"]);
    appliance.ok(&["node", "set", "n1", "--group", "web"]);
    assert_eq!(appliance.node("n1").expect("n1")["desired"], "demo@1");
    let error = appliance.refused(&["image", "remove", "demo@1"]);
    assert!(error.contains("pinned by group web"), "{error}");
    let error = appliance.refused(&["group", "delete", "web"]);
    assert!(error.contains("has 1 nodes (n1)"), "{error}");
    appliance.ok(&["node", "pin", "n1", "demo@1"]);
    appliance.ok(&["group", "unpin", "web"]);
    let error = appliance.refused(&["image", "remove", "demo@1"]);
    assert!(error.contains("pinned by node n1"), "{error}");

    assert!(appliance.ok(&["node", "approve", "--all"]).contains("approved n1"));
    assert_eq!(appliance.node("n1").expect("n1")["state"], "enrolled");
    assert!(appliance.refused(&["node", "approve", "n1"]).contains("approved already"));
    let lease = appliance.json(&["lease", "list"])[0].clone();
    assert_eq!(lease["reserved"], true, "approval makes the address a reservation");
    appliance.ok(&["node", "unpin", "n1"]);
    appliance.ok(&["node", "set", "n1", "--no-group"]);
    appliance.ok(&["group", "delete", "web"]);
    appliance.ok(&["image", "remove", "demo@1"]);
    assert!(appliance.ok(&["image", "gc"]).contains("removed 1 files"));
    let by = appliance.json(&["event", "list", "--limit", "1000"]);
    let removed = by
        .as_array()
        .expect("events")
        .iter()
        .find(|event| event["kind"] == "image-removed")
        .expect("an event");
    assert_eq!(removed["actor"], "root", "who did it is written down");

    // The same name and version with other bytes.
    let folder = rack.dir().join("image");
    let manifest = folder.join("demo.toml").display().to_string();
    appliance.ok(&["--quiet", "image", "import", &manifest]);
    std::fs::write(folder.join("vmlinuz"), b"other bytes").expect("write a kernel");
    assert!(appliance.refused(&["image", "import", &manifest]).contains("with other content"));
    // Damage on the disk is found.
    let digest = appliance.json(&["image", "show", "demo@1"])["builds"]["x86_64"]["kernel"]["sha256"].clone();
    let digest = digest.as_str().expect("a digest").to_owned();
    let file = appliance.dir().join(format!("state/blobs/sha256/{}/{}", &digest[..2], &digest[2..]));
    std::fs::write(file, b"damage").expect("damage a file");
    assert!(appliance.refused(&["image", "verify", "demo@1"]).contains("is damaged"));
    appliance.stop();
}

#[test]
fn exit_codes_and_broken_pipes() {
    let rack = Rack::new("codes").expect("a rack");
    let run = |arguments: &[&str]| Command::new(firstlight()).args(arguments).output().expect("run the CLI");
    for (arguments, code, wanted) in [
        (&["node", "frobnicate"][..], 2, "unrecognized subcommand"),
        (&["node", "pin", "n1"], 2, "<IMAGE>"),
        (&["node", "pin", "n1", "no-version"], 2, "not an image reference"),
        (&["node", "list", "--state", "redy"], 2, "a similar value exists: 'ready'"),
        (&["node", "show", ""], 2, "a value is required"),
        (&["lease", "show", "n1"], 2, "invalid IP address syntax"),
        (&["node", "approve"], 2, "required"),
        (&["--server", "unix:/nowhere/sock", "status"], 1, "no appliance answers at unix:/nowhere/sock"),
        (&["--server", "http://localhost", "status"], 1, "only unix:PATH"),
        (&["--server", "https://localhost", "status"], 1, "only unix:PATH"),
        (&["serve", "--config", "/nowhere/firstlight.toml"], 1, "`firstlight init` writes one"),
        (&["--version"], 0, ""),
        (&["help", "node", "pin"], 0, ""),
    ] {
        let output = run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
    let mut appliance = furnished(&rack);
    // Somebody who may not: not root, not the appliance's user, not of the group.
    let socket = format!("unix:{}", appliance.dir().join("api.sock").display());
    let stranger = |arguments: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(firstlight())
            .args(["--server", &socket])
            .args(arguments)
            .output()
            .expect("run as nobody");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // The folder is closed to him, and then open.
    Command::new("chmod").arg("go-rx").arg(appliance.dir()).status().expect("chmod");
    let error = stranger(&["node", "list"]);
    assert!(error.contains("may not open unix:") && error.contains("join the group 'firstlight'"), "{error}");
    Command::new("chmod").args(["-R", "a+rX"]).arg(rack.dir()).status().expect("chmod");
    let manifest = rack.dir().join("image/demo.toml").display().to_string();
    for arguments in [&["node", "list"][..], &["image", "import", &manifest], &["image", "gc"]] {
        let error = stranger(arguments);
        assert!(error.contains("may not administer"), "{arguments:?}: {error}");
    }

    // Neither stream can be written to: an error, not a panic.
    for (command, wanted) in
        [("node list >/dev/full", "cannot write the answer"), ("node show nobody 2>/dev/full", "")]
    {
        let script = format!("{} --server {socket} {command}", firstlight().display());
        let output = Command::new("bash").args(["-c", &script]).output().expect("run bash");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(wanted), "{command}: {output:?}");
    }
    let script = format!(
        "{} --server {socket} event list --limit 1000 -o json | true; exit ${{PIPESTATUS[0]}}",
        firstlight().display()
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("run bash");
    assert!([Some(0), Some(141)].contains(&output.status.code()), "{output:?}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    appliance.stop();
}

/// systemd is told when the ports are served and when it stops; log lines can be JSON, every one of them.
#[test]
fn systemd_is_told_and_logs_are_json() {
    let rack = Rack::new("notify").expect("a rack");
    let path = |name: &str| rack.dir().join(name);
    let config = format!(
        "state_dir = \"{0}/state\"\nsocket = \"{0}/api.sock\"\n{NETWORK}\n[log]\nformat = \"json\"\nlevel = \"debug\"\n",
        rack.dir().display()
    );
    std::fs::write(path("firstlight.toml"), config).expect("write a configuration");
    let systemd = std::os::unix::net::UnixDatagram::bind(path("notify")).expect("a socket");
    systemd.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time-out");
    let heard = || {
        let mut buffer = [0; 100];
        let length = systemd.recv(&mut buffer).expect("systemd is told");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    let mut serve = rack.command(firstlight());
    serve.args(["serve", "--config"]).arg(path("firstlight.toml")).env("NOTIFY_SOCKET", path("notify"));
    let mut process = rack.spawn_logged(serve, path("serve.log")).expect("start");
    assert_eq!(heard(), "READY=1");
    process.signal(nix::sys::signal::Signal::SIGTERM).expect("SIGTERM");
    assert_eq!(heard(), "STOPPING=1");
    assert!(process.wait(std::time::Duration::from_secs(20)).expect("it stops").success());
    let log = std::fs::read_to_string(path("serve.log")).expect("a log");
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let read: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(read["timestamp"].is_string() && read["level"].is_string(), "{line}");
    }
}

#[test]
fn init_writes_a_configuration_that_serves() {
    let rack = Rack::new("init").expect("a rack");
    let config = rack.dir().join("etc/firstlight.toml");
    let path = config.display().to_string();
    let init = |arguments: &[&str]| {
        let mut command = rack.command(firstlight());
        command.args(["init", "--config", &path]).args(arguments);
        command.output().expect("run init")
    };
    let output = init(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&config).expect("it was written");
    assert!(text.contains("interface = \"br0\"") && text.contains("10.77.0.128-10.77.0.254"), "{text}");
    let again = init(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force replaces it"));
    assert!(init(&["--force"]).status.success());
    assert_eq!(init(&["--force", "--interface", "eth9"]).status.code(), Some(1));

    let mut serve = rack.command("timeout");
    serve.args(["--preserve-status", "-s", "TERM", "4"]).arg(firstlight()).args([
        "serve",
        "--config",
        &path,
        "--state-dir",
    ]);
    serve.arg(rack.dir().join("state"));
    // The configured socket lies in /run, which other tests may use as well.
    let text =
        text.replace("state_dir = ", &format!("socket = {:?}\n# state_dir = ", rack.dir().join("api.sock")));
    std::fs::write(&config, text).expect("write");
    let output = serve.output().expect("run serve");
    assert!(
        output.status.success(),
        "it served, and stopped when told: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
