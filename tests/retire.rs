//! A host that is retired and keeps its disks: what bundles brought is taken away, after they have taken their leave, and that is told
//! as a job. The host is a container with the agent as it runs on any host ([`container`]). Needs root.

mod appliance;
mod container;
mod programs;
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use container::Container;
use rack::Rack;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// A bundle with a file, a service, and a leave hook that others can hold up.
fn greeter(folder: &Path) {
    std::fs::create_dir_all(folder.join("files")).expect("a folder");
    let manifest = r#"
name = "greeter"
version = "1"

[[file]]
path = "/etc/greeter/greeting"
source = "files/greeting"

[[file]]
path = "/etc/systemd/system/greeter.service"
source = "files/greeter.service"

[[unit]]
name = "greeter.service"

[hooks]
drain = ["/bin/sh", "-c", "echo drained >> /root/told"]
leave = ["/bin/sh", "-c", "test ! -e /root/keep || { echo others count on it; exit 1; }; echo left >> /root/told"]
"#;
    std::fs::write(folder.join("bundle.toml"), manifest).expect("write");
    std::fs::write(folder.join("files/greeting"), "hello\n").expect("write");
    let unit = "[Unit]\nDescription=greets\n[Service]\nExecStart=/bin/sleep 86399\n[Install]\nWantedBy=multi-user.target\n";
    std::fs::write(folder.join("files/greeter.service"), unit).expect("write");
}

fn removals(appliance: &Appliance<'_>) -> Vec<Value> {
    let jobs = appliance.json(&["job", "list", "--limit", "100"]);
    jobs.as_array().expect("jobs").iter().filter(|job| job["kind"] == "remove").cloned().collect()
}

#[test]
fn a_host_that_keeps_its_disks_is_left_as_it_was() {
    let rack = Rack::new("retire").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let mut host = Container::start(&rack, "h1", "10.77.0.21", firstlight());
    let invited = appliance.json(&["node", "invite", "--name", "h1"]);
    let token = invited["token"].as_str().expect("a token");
    host.ok(&format!("firstlight agent enrol --no-unit --server https://10.77.0.1:8443 --token {token}"));
    host.start_agent();
    let folder = rack.dir().join("greeter");
    greeter(&folder);
    appliance.ok(&["bundle", "push", folder.to_str().expect("a plain path")]);
    appliance.ok(&["bundle", "pin", "greeter@1", "--node", "h1"]);
    appliance.wait("the bundle to be there", PATIENCE, || {
        (appliance.json(&["node", "bundles", "h1"])["standing"] == "current").then_some(())
    });
    host.ok("test -e /etc/greeter/greeting && pgrep -f '[s]leep 86399'");

    // A bundle that does not take its leave keeps the host, and that is told.
    host.ok("touch /root/keep");
    appliance.ok(&["node", "retire", "h1", "--no-wipe", "--yes"]);
    let kept = appliance.wait("a removal that failed", PATIENCE, || {
        removals(&appliance).into_iter().find(|job| job["result"] == "rolled-back")
    });
    assert!(kept["reason"].as_str().is_some_and(|why| why.contains("others count on it")), "{kept}");
    assert_eq!(kept["bundles"], serde_json::json!(["greeter@1"]));
    assert_eq!(appliance.node("h1").expect("a node")["state"], "retiring");
    host.ok("test -e /etc/greeter/greeting && pgrep -f '[s]leep 86399'");

    host.ok("rm /root/keep");
    appliance.wait("h1 to be retired", PATIENCE, || {
        appliance.node("h1").filter(|node| node["state"] == "retired").map(drop)
    });
    assert_eq!(host.ok("tail -2 /root/told"), "drained\nleft\n", "in this order");
    for gone in
        ["test -e /etc/greeter", "test -e /etc/systemd/system/greeter.service", "pgrep -f '[s]leep 86399'"]
    {
        assert!(!host.run(gone).status.success(), "{gone}");
    }
    let done = removals(&appliance);
    let done = done.iter().find(|job| job["result"] == "applied").expect("it is told as a job");
    assert!(done["reason"].as_str().is_none_or(str::is_empty), "nothing is left over: {done}");
    let log = appliance.ok(&["job", "log", &done["id"].to_string()]);
    assert!(log.contains("greeter@1: leave"), "{log}");
    let timeline = appliance.ok(&["node", "timeline", "h1"]);
    assert!(timeline.contains("retire, and keep its disks"), "{timeline}");
    appliance.stop();
}
