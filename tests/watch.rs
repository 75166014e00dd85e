//! Nodes that do not come further, and what they log: hosts stand in for machines, `logger` for their programs. Needs root.

mod appliance;
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use rack::{NetbootImage, Rack};

const PATIENCE: Duration = Duration::from_secs(30);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

#[test]
fn a_boot_that_stalls_has_failed_and_says_where() {
    let rack = Rack::new("stall").expect("a rack");
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let image = NetbootImage::build(&images, "1").expect("a small image");
    let tables = format!("{NETWORK}\n[deadlines]\nbooting = \"3s\"\n");
    let mut appliance = Appliance::start(&rack, firstlight(), &tables);
    appliance.ok(&["image", "import", image.demo_manifest().to_str().expect("a plain path")]);
    let host = appliance.meet("s1");
    appliance.ok(&["node", "pin", "s1", "demo@1"]);
    appliance.ok(&["node", "approve", "s1"]);
    let url = format!("http://10.77.0.1:8080/boot/{}/script.ipxe", host.mac().replace(':', "-"));
    let fetch = |url: &str| host.run("curl", &["-sS", "-o", "/dev/null", url]).map(drop).expect("fetch");
    fetch(&url);
    fetch("http://10.77.0.1:8080/images/demo/1/x86_64/kernel");
    let failed = appliance.wait_state(host.mac(), "failed", PATIENCE);
    let reason = failed["reason"].as_str().expect("a reason");
    for part in ["booting for", "demo@1 kernel", "console"] {
        assert!(reason.contains(part), "no '{part}' in: {reason}");
    }
    // What is slow, but moves, has not failed; and a new boot takes the node on.
    fetch(&url);
    appliance.wait_state(host.mac(), "booting", PATIENCE);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_secs(1));
        fetch("http://10.77.0.1:8080/images/demo/1/x86_64/initrd0");
        assert_eq!(appliance.node("s1").expect("a node")["state"], "booting");
    }
    appliance.wait_state(host.mac(), "failed", PATIENCE);
    appliance.stop();
}

#[test]
fn log_lines_are_on_the_timeline() {
    let rack = Rack::new("syslog").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let host = appliance.meet("l1");
    for (format, text) in [("--rfc3164", "partman: disk is full"), ("--rfc5424", "no space left")] {
        let words = ["-n", "10.77.0.1", "-P", "514", "-d", format, "-t", "installer", text];
        host.run("logger", &words).expect("run logger");
    }
    appliance.wait("both lines", PATIENCE, || {
        let console = appliance.ok(&["node", "console", "l1"]);
        (console.contains("partman: disk is full") && console.contains("installer: no space left"))
            .then_some(())
    });
    let console = appliance.ok(&["node", "console", "l1"]);
    assert!(!console.contains("dhcp"), "only what was logged:\n{console}");
    // A stranger's lines are nobody's.
    let before = appliance.json(&["event", "list", "--limit", "1000"]).as_array().map(Vec::len);
    let stranger = rack.host("stranger").expect("a host with a fixed address");
    stranger.run("logger", &["-n", "10.77.0.1", "-P", "514", "-d", "hello"]).expect("run logger");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(appliance.json(&["event", "list", "--limit", "1000"]).as_array().map(Vec::len), before);
    appliance.stop();
}
