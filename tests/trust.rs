//! Who gets a certificate, and who is found out: `udhcpc`, `curl` and `openssl` stand in for machines and for thieves.
//!
//! Needs root.

mod appliance;
mod programs;
mod rack;
mod ramdisk;

use std::path::Path;
use std::time::Duration;

use appliance::Appliance;
use rack::{Host, Rack};
use serde_json::{Value, json};

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// A machine that has booted: its host, and what its kernel's command line says.
struct Booted {
    host: Host,
    mac: String,
    token: String,
}

impl Booted {
    /// Takes an address and the boot script, as firmware and iPXE do.
    fn boot(host: Host) -> Self {
        let mut udhcpc = host.command("udhcpc");
        udhcpc.args(["-f", "-n", "-q", "-i", "eth0", "-s", "/etc/udhcpc/default.script"]);
        assert!(udhcpc.output().expect("run udhcpc").status.success(), "an address");
        let mac = host.mac().to_owned();
        let mut booted = Self { host, mac, token: String::new() };
        booted.token = booted.fetch_token().expect("a script that boots the ramdisk");
        booted
    }

    /// The token of the boot script; `None` when the script boots nothing.
    fn fetch_token(&self) -> Option<String> {
        let script = self.script();
        let token = script.split_whitespace().find_map(|word| word.strip_prefix("firstlight.token="));
        token.map(str::to_owned)
    }

    fn script(&self) -> String {
        let url = format!("http://10.77.0.1:8080/boot/{}/script.ipxe", self.mac.replace(':', "-"));
        self.host.run("curl", &["-sS", &url]).expect("the boot script")
    }

    /// Posts to the agents' listener; HTTP status and body.
    fn post(&self, path: &str, body: &Value, who: &[&str]) -> (u16, Value) {
        let body_path = self.host.dir().join("body.json");
        std::fs::write(&body_path, body.to_string()).expect("write the body");
        let data = format!("@{}", body_path.display());
        let url = format!("https://appliance.firstlight.internal:8443/agent/v2/{path}");
        let mut words = vec!["-sS", "-k", "-w", "\n%{http_code}", "--resolve"];
        words.extend(["appliance.firstlight.internal:8443:10.77.0.1", "--data", &data]);
        words.extend(["-H", "content-type: application/json"]);
        words.extend(who);
        words.push(&url);
        let answer = self.host.run("curl", &words).expect("an answer");
        let (body, status) = answer.trim_end().rsplit_once('\n').unwrap_or(("", answer.trim_end()));
        (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn with_token(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post(path, body, &["-H", &format!("Authorization: Bearer {}", self.token)])
    }

    /// Tells what it is.
    fn hello(&self, serial: &str, uuid: &str) {
        let inventory = json!({ "system": { "vendor": "ACME", "serial": serial, "uuid": uuid } });
        let (status, body) = self.with_token("hello", &json!({ "clock": 0, "inventory": inventory }));
        assert_eq!(status, 204, "{body}");
    }

    /// A new key and a request to certify it.
    fn request(&self, name: &str) -> String {
        let (key, request) = (self.file(name, "key"), self.file(name, "csr"));
        let words = [
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
        ];
        let words = [&words[..], &["-keyout", &key, "-out", &request]].concat();
        self.host.run("openssl", &words).expect("a certificate request");
        std::fs::read_to_string(request).expect("the request")
    }

    fn file(&self, name: &str, ending: &str) -> String {
        self.host.dir().join(format!("{name}.{ending}")).display().to_string()
    }

    /// Trades the token; on success the certificate lies beside the key.
    fn enrol(&self, name: &str) -> (u16, Value) {
        let (status, body) = self.with_token("enrol", &json!({ "request": self.request(name) }));
        if status == 200 {
            assert_eq!(body["step"], "certificate");
            std::fs::write(self.file(name, "crt"), body["certificate"].as_str().expect("PEM"))
                .expect("write it");
        }
        (status, body)
    }

    fn with_certificate(&self, name: &str, path: &str, body: &Value) -> (u16, Value) {
        self.post(path, body, &["--cert", &self.file(name, "crt"), "--key", &self.file(name, "key")])
    }
}

fn check_in() -> Value {
    json!({ "place": "ramdisk", "boot_id": "b-1", "kernel": "6.1", "phase": "waiting" })
}

fn state(appliance: &Appliance<'_>, mac: &str) -> Value {
    appliance.node(mac).expect("a node")["state"].clone()
}

#[test]
fn tokens_and_certificates() {
    let rack = Rack::new("trust").expect("a rack");
    let mut appliance = ramdisk::appliance(&rack, firstlight(), "");
    let honest = Booted::boot(rack.host_raw("honest").expect("a host"));
    honest.hello("SN-1", "11111111-0000-0000-0000-000000000001");

    // Nobody is certified before somebody vouches for the node.
    let (status, body) = honest.enrol("early");
    assert_eq!(status, 409, "{body}");
    assert!(body["error"]["message"].as_str().expect("why").contains("node approve"), "{body}");
    let (_, orders) = honest.with_token("check-in", &check_in());
    assert_eq!(orders["instruction"]["do"], "wait");
    appliance.ok(&["node", "approve", "SN-1"]);
    let (_, orders) = honest.with_token("check-in", &check_in());
    assert_eq!(orders["instruction"]["do"], "enrol", "{orders}");

    // A token opens no secrets.
    let (status, body) = honest.with_token("desired", &json!({ "generation": "" }));
    assert_eq!(status, 403, "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|why| why.contains("certificate")), "{body}");

    // A thief who read the token on the wire, at another address.
    let mut thief = Booted::boot(rack.host_raw("thief").expect("a host"));
    thief.token.clone_from(&honest.token);
    let (status, _) = thief.enrol("stolen");
    assert_eq!(status, 403, "the token is bound to the address of its boot");

    // The honest one; its certificate speaks for it, and nothing else does any more.
    let (status, body) = honest.enrol("good");
    assert_eq!(status, 200, "{body}");
    let (status, orders) = honest.with_certificate("good", "check-in", &check_in());
    assert_eq!((status, &orders["instruction"]["do"]), (200, &json!("wait")), "{orders}");
    let (status, _) = thief.with_certificate_of(&honest, "good");
    assert_eq!(status, 200, "a certificate and its key are good from anywhere: the key is what counts");

    // The same request again, since the answer may have been lost; another key is somebody else.
    let again =
        json!({ "request": std::fs::read_to_string(honest.file("good", "csr")).expect("the request") });
    assert_eq!(honest.with_token("enrol", &again).0, 200, "asked again with the same key");
    let (status, body) = honest.enrol("replay");
    assert_eq!(status, 403, "{body}");
    assert_eq!(state(&appliance, &honest.mac), "quarantined", "a token that was traded in by two keys");
    let (status, _) = honest.with_certificate("good", "check-in", &check_in());
    assert_eq!(status, 403, "whoever holds the certificates of a node in quarantine is not let in");
    assert!(honest.script().contains("in quarantine"), "and iPXE says so");
    assert!(appliance.json(&["node", "show", "SN-1"])["reason"].as_str().expect("why").contains("two keys"));

    // An operator has looked at it: it starts over.
    appliance.ok(&["node", "approve", "SN-1"]);
    let honest = Booted { token: honest.fetch_token().expect("a boot"), ..honest };
    honest.hello("SN-1", "11111111-0000-0000-0000-000000000001");
    assert_eq!(honest.enrol("second").0, 200);
    let (status, body) =
        honest.with_certificate("second", "renew", &json!({ "request": honest.request("third") }));
    assert_eq!(status, 200, "{body}");
    std::fs::write(honest.file("third", "crt"), body["certificate"].as_str().expect("PEM"))
        .expect("write it");
    assert_eq!(honest.with_certificate("third", "check-in", &check_in()).0, 200, "the renewed one");

    // Retired: revoked.
    appliance.ok(&["node", "retire", "SN-1", "--no-wipe", "--yes"]);
    assert_eq!(honest.with_certificate("third", "check-in", &check_in()).0, 403, "revoked");
    appliance.stop();
}

impl Booted {
    fn with_certificate_of(&self, other: &Booted, name: &str) -> (u16, Value) {
        self.post(
            "check-in",
            &check_in(),
            &["--cert", &other.file(name, "crt"), "--key", &other.file(name, "key")],
        )
    }
}

#[test]
fn clones_are_found_out() {
    let rack = Rack::new("clones").expect("a rack");
    let mut appliance = ramdisk::appliance(&rack, firstlight(), "");
    let first = Booted::boot(rack.host_raw("first").expect("a host"));
    first.hello("SN-1", "11111111-0000-0000-0000-000000000001");
    appliance.ok(&["node", "approve", "SN-1"]);
    appliance.ok(&["node", "set", "SN-1", "--name", "first"]);
    assert_eq!(first.enrol("good").0, 200);

    // Another machine with the serial of the first.
    let clone = Booted::boot(rack.host_raw("clone").expect("a host"));
    clone.hello("SN-1", "22222222-0000-0000-0000-000000000002");
    assert_eq!(state(&appliance, &clone.mac), "quarantined");
    let told = appliance.node(&clone.mac).expect("a node");
    assert!(told["reason"].as_str().expect("why").contains("serial 'SN-1' is that of node first"), "{told}");
    let explained = appliance.ok(&["node", "explain", clone.mac.as_str()]);
    assert!(explained.contains("SN-1"), "{explained}");

    // Another machine with the MAC of the first, which is off: its own hardware gives it away.
    let again = Booted { token: first.fetch_token().expect("a boot"), ..first };
    again.hello("SN-9", "99999999-0000-0000-0000-000000000009");
    assert_eq!(state(&appliance, &again.mac), "quarantined");
    let told = appliance.json(&["node", "show", "first"]);
    let reason = told["reason"].as_str().expect("why");
    assert!(reason.contains("'SN-9', and was 'SN-1'"), "{reason}");
    assert_eq!(
        again.with_certificate("good", "check-in", &check_in()).0,
        403,
        "its certificates are revoked"
    );
    assert_eq!(
        appliance.json(&["node", "hardware", "first"])["inventory"]["system"]["serial"],
        "SN-1",
        "kept"
    );

    // The board was replaced: an operator says that it is right.
    appliance.ok(&["node", "approve", "first"]);
    let replaced = Booted { token: again.fetch_token().expect("a boot"), ..again };
    replaced.hello("SN-9", "99999999-0000-0000-0000-000000000009");
    assert_eq!(state(&appliance, &replaced.mac), "enrolled");
    assert_eq!(replaced.enrol("new").0, 200);
    appliance.stop();
}

#[test]
fn an_allow_list_lets_in_who_is_on_it() {
    let rack = Rack::new("allow").expect("a rack");
    let list = rack.dir().join("allow.csv");
    std::fs::write(&list, "serial,switch,port,name\nSN-7,,,web-7\n,leaf-1,Ethernet3,\n")
        .expect("write the list");
    let tables = format!("[enrolment]\npolicy = \"allowlist\"\nallowlist = \"{}\"\n", list.display());
    let mut appliance = ramdisk::appliance(&rack, firstlight(), &tables);
    let listed = Booted::boot(rack.host_raw("listed").expect("a host"));
    assert_eq!(state(&appliance, &listed.mac), "discovered", "its MAC alone says nothing");
    listed.hello("SN-7", "");
    let told = appliance.node(&listed.mac).expect("a node");
    assert_eq!((&told["state"], &told["name"]), (&json!("enrolled"), &json!("web-7")), "{told}");
    let other = Booted::boot(rack.host_raw("other").expect("a host"));
    other.hello("SN-8", "");
    assert_eq!(state(&appliance, &other.mac), "discovered");

    // By the port of the switch that it is plugged into.
    let lldp = json!({ "system_name": "leaf-1", "port": "Ethernet3" });
    let inventory = json!({ "system": { "serial": "SN-8" }, "nics": [{ "name": "eth0", "lldp": lldp }] });
    assert_eq!(other.with_token("hello", &json!({ "clock": 0, "inventory": inventory })).0, 204);
    assert_eq!(state(&appliance, &other.mac), "enrolled");

    // The list may grow while the appliance runs.
    let late = Booted::boot(rack.host_raw("late").expect("a host"));
    late.hello("SN-10", "");
    assert_eq!(state(&appliance, &late.mac), "discovered");
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(&list, "serial\nSN-10\n").expect("write the list");
    late.hello("SN-10", "");
    assert_eq!(state(&appliance, &late.mac), "enrolled");
    appliance.stop();
}
