//! The bundles that come with the program: each is well, has a page that says what it needs, and can be rendered for every role.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use firstlight::bundle::facts::{ApplianceFacts, ClusterFacts};
use firstlight::bundle::render::Secrets;
use firstlight::bundle::secret::{SecretKey, close};
use firstlight::bundle::{About, Bundle, Layer, Member, NodeFacts, check, merge, render};
use serde_json::{Map, Value, json};

fn all() -> Vec<Arc<Bundle>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
    let folders =
        std::fs::read_dir(folder).expect("the bundles").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    let read = |path: &std::path::PathBuf| {
        Bundle::read(path).unwrap_or_else(|error| panic!("{}:\n{error}", path.display()))
    };
    folders.iter().map(|path| Arc::new(read(path))).collect()
}

fn about(role: &str, index: u32, bootstrap: bool) -> About {
    let member = |index: u32, role: &str| Member {
        name: format!("n{index}"),
        address: format!("10.77.0.2{index}"),
        role: Some(role.into()),
        index,
    };
    let members = vec![member(0, "control"), member(1, "control"), member(2, "control"), member(3, "worker")];
    let of = |role: &str| members.iter().filter(|one| one.role.as_deref() == Some(role)).cloned().collect();
    About {
        node: NodeFacts {
            name: format!("n{index}"),
            address: format!("10.77.0.2{index}"),
            mac: "52:54:00:00:00:01".into(),
            group: Some("rack1".into()),
            arch: "x86_64".into(),
            index,
            ..NodeFacts::default()
        },
        role: Some(role.into()),
        appliance: ApplianceFacts {
            address: "10.77.0.1".into(),
            url: "http://10.77.0.1:8080".into(),
            domain: "mgmt.example".into(),
        },
        cluster: Some(ClusterFacts {
            name: "prod".into(),
            seed: members[0].clone(),
            index,
            bootstrap,
            roles: BTreeMap::from([("control".into(), of("control")), ("worker".into(), of("worker"))]),
            peers: members.iter().filter(|one| one.index != index).cloned().collect(),
            members,
        }),
    }
}

#[test]
fn each_is_well_and_says_what_it_needs() {
    let bundles = all();
    let names: Vec<&str> = bundles.iter().map(|bundle| bundle.manifest.name.as_str()).collect();
    for name in
        ["base", "consul", "etcd", "netmaster", "netplugin", "openvswitch", "serf", "volmaster", "volplugin"]
    {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
    for bundle in &bundles {
        let name = bundle.reference();
        assert!(bundle.sources.contains_key("README.md"), "{name} has no README.md");
        assert_eq!(
            check::unused(&bundle.manifest, &bundle.sources),
            Vec::<&str>::new(),
            "{name}: named nowhere"
        );
        assert!(!bundle.manifest.description.is_empty(), "{name} says what it is");
        let packed = bundle.pack().expect("it packs");
        assert_eq!(
            packed,
            Bundle::unpack(&packed).expect("it unpacks").pack().expect("it packs"),
            "{name}: the same bytes"
        );
    }
}

#[test]
fn all_together_render_for_every_role() {
    let bundles = all();
    let manifests: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest).collect();
    // Of etcd and consul, and of what speaks to them, every variable without a default gets a value.
    let key = SecretKey::generate();
    let mut values = Map::new();
    for (name, variable) in manifests.iter().flat_map(|manifest| &manifest.variables) {
        if variable.default.is_none() {
            let value = match variable.kind.to_string().as_str() {
                "secret" => Value::from(close(&key.recipient(), "hush").expect("a secret")),
                "integer" => Value::from(1),
                "boolean" => Value::from(true),
                "list" => Value::from(Vec::<String>::new()),
                "map" => Value::Object(Map::new()),
                _ => Value::from("eth1"),
            };
            values.insert(name.clone(), value);
        }
    }
    let merged = merge(&manifests, &[Layer { origin: "appliance".into(), values: &values }]);
    assert_eq!(merged.problems, Vec::<String>::new());
    for (role, index, bootstrap) in
        [("control", 0, true), ("control", 0, false), ("control", 1, false), ("worker", 3, false)]
    {
        let rendered = render(&bundles, &merged, &about(role, index, bootstrap), Secrets::Opened(&key));
        let rendered = rendered.unwrap_or_else(|errors| panic!("{role}: {errors:#?}"));
        assert_eq!(rendered.bundles.len(), bundles.len());
        let has = |name: &str| rendered.services.iter().any(|offer| offer.name == name);
        assert_eq!(has("etcd-client"), role == "control", "{role}");
        let again = render(&bundles, &merged, &about(role, index, bootstrap), Secrets::Opened(&key));
        assert_eq!(again.as_ref(), Ok(&rendered), "the same each time");
    }
}

/// What `base` writes when all of it is asked for.
#[test]
fn base_with_people_settings_and_each_clock() {
    let bundles: Vec<_> = all().into_iter().filter(|bundle| bundle.manifest.name == "base").collect();
    let manifests: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest).collect();
    for (time, clock, unit) in [
        ("chrony", "/etc/chrony/conf.d/50-firstlight.conf", Some("chrony.service")),
        ("timesyncd", "/etc/systemd/timesyncd.conf.d/50-firstlight.conf", Some("systemd-timesyncd.service")),
        ("none", "/etc/sudoers.d/50-firstlight", None),
    ] {
        let values = json!({
            "time": time,
            "time_servers": ["10.0.0.1", "ntp.example"],
            "root_keys": ["ssh-ed25519 AAAA root"],
            "users": {
                "alice": { "keys": ["ssh-ed25519 BBBB alice"], "sudo": true, "uid": 2001, "shell": "/bin/sh" },
                "bob": { "keys": [] },
            },
            "sysctl": { "vm.swappiness": 10 },
        });
        let Value::Object(values) = values else { panic!("an object") };
        let merged = merge(&manifests, &[Layer { origin: "appliance".into(), values: &values }]);
        let rendered = render(&bundles, &merged, &about("worker", 3, false), Secrets::Masked)
            .unwrap_or_else(|errors| panic!("{time}: {errors:#?}"));
        let base = &rendered.bundles[0];
        let text = |path: &str| {
            let file = base.files.iter().find(|file| file.path == path);
            let content = &file.unwrap_or_else(|| panic!("{time}: no {path}")).content;
            let bytes = base64::engine::general_purpose::STANDARD.decode(content).expect("base64");
            String::from_utf8(bytes).expect("text")
        };
        assert!(time == "none" || text(clock).contains("ntp.example"), "{}", text(clock));
        assert!(unit.is_none_or(|unit| base.units.iter().any(|one| one.name == unit)), "{:?}", base.units);
        assert_eq!(base.files.iter().any(|file| file.path.contains("chrony")), time == "chrony");
        assert_eq!(base.files.iter().any(|file| file.path.contains("timesyncd")), time == "timesyncd");
        let accounts = text("/etc/sysusers.d/50-firstlight.conf");
        assert!(accounts.contains("u alice 2001 \"alice\" /home/alice /bin/sh\n"), "{accounts}");
        assert!(accounts.contains("u bob - \"bob\" /home/bob /bin/bash\n"), "{accounts}");
        let sudoers = text("/etc/sudoers.d/50-firstlight");
        assert!(sudoers.contains("\nalice ALL=") && !sudoers.contains("bob"), "{sudoers}");
        let keys = text("/etc/ssh/firstlight_authorized_keys");
        assert!(keys.ends_with("\nroot ssh-ed25519 AAAA root\nalice ssh-ed25519 BBBB alice\n"), "{keys}");
        assert!(text("/etc/sysctl.d/60-firstlight.conf").ends_with("\nvm.swappiness = 10\n"));
        let script = text("/usr/local/libexec/firstlight-base");
        assert!(script.contains("home=/home/bob\n") || script.contains("home='/home/bob'\n"), "{script}");
        let checked = std::process::Command::new("sh").args(["-nc", &script]).status().expect("run sh");
        assert!(checked.success(), "{script}");
    }
}
