//! Hosts that were installed by others: one enrols by itself, another is adopted over SSH; `sshd` and systemd are real. Needs root.

mod appliance;
mod programs;
mod rack;
mod ramdisk;

use std::path::Path;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use programs::ok;
use rack::{Disk, Machine, MachineSpec, Rack, key_pair, ssh, wait_for_ssh};
use ramdisk::BOOT;
use serde_json::Value;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

fn host(rack: &Rack, name: &str, address: &str, key: &Path) -> Machine {
    let disk = ramdisk::preinstalled(&rack.dir().join(name), address, key);
    let mut spec = MachineSpec::bios(name);
    spec.network_boot = false;
    spec.disks.push(Disk::Raw { path: disk, options: String::new() });
    let mut machine = rack.machine(spec).expect("a machine");
    machine.power_on().expect("power on");
    machine
}

#[test]
fn enrolled_and_adopted() {
    let rack = Rack::new("hosts").expect("a rack");
    let key = key_pair(rack.dir(), "key");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let _one = host(&rack, "h1", "10.77.0.21/24", &key.with_extension("pub"));
    let mut two = host(&rack, "h2", "10.77.0.22/24", &key.with_extension("pub"));
    wait_for_ssh(&rack, &key, "10.77.0.21", BOOT);
    wait_for_ssh(&rack, &key, "10.77.0.22", BOOT);

    // By itself: an operator copies the program, and gives it a token.
    let mut copy = ssh(
        &rack,
        &key,
        "10.77.0.21",
        "cat > /usr/local/bin/firstlight && chmod 755 /usr/local/bin/firstlight",
    );
    copy.stdin(std::fs::File::open(firstlight()).expect("the binary"));
    ok(&mut copy);
    let invited = appliance.json(&["node", "invite", "--name", "one"]);
    let token = invited["token"].as_str().expect("a token");
    let enrol = format!("firstlight agent enrol --server https://10.77.0.1:8443 --token {token}");
    let forged = enrol.replace(&token[..8], "00000000");
    assert!(
        !ssh(&rack, &key, "10.77.0.21", &forged).output().expect("run ssh").status.success(),
        "another appliance"
    );
    let said = ok(&mut ssh(&rack, &key, "10.77.0.21", &enrol));
    assert!(said.contains("enrolled as one"), "{said}");
    let again = ssh(&rack, &key, "10.77.0.21", &enrol).output().expect("run ssh");
    assert!(String::from_utf8_lossy(&again.stderr).contains("not good"), "a token is good once");

    // Over SSH, by one command; what it cannot reach it names, and does the rest.
    let mut adopt = rack.command(firstlight());
    adopt.env("HOME", rack.dir()).env_remove("XDG_STATE_HOME");
    adopt.arg("--server").arg(format!("unix:{}", appliance.dir().join("api.sock").display()));
    adopt.args(["node", "adopt", "10.77.0.22", "10.77.0.99", "--user", "root", "--key"]).arg(&key);
    let output = adopt.output().expect("run the CLI");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("10.77.0.22: enrolled as localhost") && out.contains("SHA256:"), "{out}{err}");
    assert!(err.contains("10.77.0.99"), "{err}");

    for (name, ip) in [("one", "10.77.0.21"), ("localhost", "10.77.0.22")] {
        let node = appliance.wait(&format!("{name} to be heard"), BOOT, || {
            // Being heard is in memory at once; what it said is written down a moment later.
            let told =
                |node: &Value| node["heard"]["phase"] == "ready" && node["observed"]["kernel"].is_string();
            appliance.node(name).filter(told)
        });
        assert_eq!((&node["state"], &node["ip"]), (&"ready".into(), &ip.into()), "{node}");
        assert!(node["observed"]["kernel"].as_str().is_some_and(|kernel| kernel.starts_with('6')), "{node}");
    }
    // They are as any other node: found by their hardware, and told to restart.
    let found = appliance.json(&["node", "list", "--where", "serial=FL-h2"]);
    assert_eq!(found[0]["name"], "localhost");
    let before = appliance.node("localhost").expect("a node")["observed"]["boot_id"].clone();
    appliance.ok(&["node", "reload", "localhost"]);
    let after = appliance.wait("it to have restarted", BOOT, || {
        appliance
            .node("localhost")
            .filter(|node| node["state"] == "ready" && node["observed"]["boot_id"] != before)
    });
    assert!(after["order"].is_null(), "{after}");

    // An outage of the appliance is nothing to them.
    appliance.kill();
    std::thread::sleep(Duration::from_secs(2));
    appliance.power_on();
    appliance.wait("it to be heard again", BOOT, || {
        appliance.node("one").filter(|node| node["heard"]["phase"] == "ready").map(drop)
    });
    two.power_off().expect("power off");
    appliance.stop();
}
