//! Names of nodes, asked for by the real `dig`; the rest of the world by way of a real dnsmasq. Needs root.

mod appliance;
mod programs;
mod rack;

use std::path::Path;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use programs::ok;
use rack::Rack;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

#[test]
fn dig_finds_nodes_and_the_world() {
    let rack = Rack::new("names").expect("a rack");
    let mut dnsmasq = rack.command("dnsmasq");
    dnsmasq.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--port=5353",
    ]);
    dnsmasq.args(["--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file="]);
    dnsmasq.args(["--address=/world.example/192.0.2.7", "--user=root"]);
    for n in 0..60 {
        dnsmasq.arg(format!("--txt-record=large.example,{n}-{}", "x".repeat(60)));
    }
    let _dnsmasq = rack.spawn_logged(dnsmasq, "dnsmasq.log").expect("dnsmasq");
    let tables = format!("{NETWORK}\n[dns]\nforward = [\"127.0.0.1:9\", \"127.0.0.1:5353\"]\n");
    let mut appliance = Appliance::start(&rack, firstlight(), &tables);
    let _host = appliance.meet("h1");
    let node = appliance.wait("the node", Duration::from_secs(20), || {
        let nodes = appliance.json(&["node", "list"]);
        nodes.as_array()?.first().filter(|node| !node["ip"].is_null()).cloned()
    });
    let (name, ip) = (node["name"].as_str().expect("a name"), node["ip"].as_str().expect("an address"));
    let dig = |what: &[&str]| {
        let mut dig = rack.command("dig");
        ok(dig.args(["@10.77.0.1", "+tries=2", "+timeout=5"]).args(what)).trim().to_owned()
    };
    let full = format!("{name}.mgmt.example");
    for (what, expected) in [
        (&["+short", &full, "A"][..], ip),
        (&["+short", "-x", ip], &format!("{full}.")),
        (&["+short", "firstlight.mgmt.example"], "10.77.0.1"),
        (&["+short", "-x", "10.77.0.1"], "firstlight.mgmt.example."),
        (&["+short", "+tcp", &full, "A"], ip),
        (&["+short", "world.example", "A"], "192.0.2.7"),
        (&["+short", "+tcp", "world.example", "A"], "192.0.2.7"),
    ] {
        assert_eq!(dig(what), expected, "{what:?}");
    }
    for (what, expected) in [
        (&["nobody.mgmt.example"][..], "status: NXDOMAIN"),
        (&[&full, "AAAA"], "status: NOERROR"),
        (&["mgmt.example", "AXFR", "+tcp"], "Transfer failed"),
        (&["+edns=1", "+noednsnegotiation", &full], "status: BADVERS"),
        (&["CH", "TXT", "version.bind"], "status: REFUSED"),
        // Cut off over UDP, whole over TCP, where dig goes by itself.
        (&["large.example", "TXT"], "Truncated, retrying in TCP mode"),
    ] {
        let found = dig(what);
        assert!(found.contains(expected), "{what:?}: {found}");
    }

    // The name follows the node.
    appliance.ok(&["node", "set", name, "--name", "db1"]);
    assert_eq!(dig(&["+short", "db1.mgmt.example"]), ip);
    assert!(dig(&[&full]).contains("status: NXDOMAIN"));
    appliance.stop();
}
