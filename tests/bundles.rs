//! The bundles that come with the program: each is well, has a page that says what it needs, and can be rendered for every role.
//! And the command line against a real appliance: what is refused, what is shown, and what never is. Needs root.

mod appliance;
mod rack;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use appliance::{Appliance, NETWORK};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firstlight::bundle::facts::{ApplianceFacts, ClusterFacts};
use firstlight::bundle::render::Secrets;
use firstlight::bundle::secret::{SecretKey, close};
use firstlight::bundle::{About, Bundle, Layer, Member, NodeFacts, check, merge, render};
use rack::Rack;
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

/// What no output may ever have.
const HUSH: &str = "correct-horse-battery";

/// Writes a bundle's folder.
fn folder(rack: &Rack, name: &str, manifest: &str, files: &[(&str, &str)]) -> String {
    let folder = rack.dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("bundle.toml"), manifest).expect("write");
    for (path, text) in files {
        std::fs::write(folder.join(path), text).expect("write");
    }
    folder.display().to_string()
}

fn app(version: &str, more: &str) -> String {
    format!(
        "name = \"app\"\nversion = \"{version}\"\n[variables.hush]\ntype = \"secret\"\ndefault = \"\"\n\
         [variables.port]\ntype = \"integer\"\ndefault = 80\n[variables.map]\ntype = \"map\"\ndefault = {{ a = {{ x = 1 }} }}\n\
         [[file]]\npath = \"/etc/app.conf\"\nsource = \"app.j2\"\n{more}"
    )
}

const TEMPLATE: &[(&str, &str)] = &[("app.j2", "port={{ port }} key={{ hush }} {{ map | tojson }}\n")];

/// Runs a command with `input`; whether it was done, and all that it said.
fn fed(appliance: &Appliance<'_>, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = appliance.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("run the CLI");
    // It may end before it has read all.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn what_is_wrong_is_refused_at_push_with_its_line() {
    let rack = Rack::new("pushes").expect("a rack");
    let appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    for (name, manifest, told) in [
        (
            "key",
            app("1", "modee = \"0600\"\n"),
            "line 15: [[file]]: unknown key 'modee'; did you mean 'mode'?",
        ),
        ("name", app("1", "").replace("\"app\"", "\"a.b\""), "bundle.toml, line 1: name 'a.b'"),
        ("version", app("1.0~rc1", ""), "bundle.toml, line 2: version '1.0~rc1'"),
        ("probe", app("1", "[[health]]\nname = \"x\"\ntcp = \"a\"\n"), "line 17: [[health]]: tcp 'a'"),
    ] {
        let path = folder(&rack, name, &manifest, TEMPLATE);
        for verb in ["check", "push"] {
            let refused = appliance.refused(&["bundle", verb, &path]);
            assert!(refused.contains(told), "{verb} {name}: {refused}");
        }
    }
    let one = folder(&rack, "one", &app("1", ""), TEMPLATE);
    assert!(appliance.ok(&["bundle", "push", &one]).contains("app@1 pushed"));
    assert!(appliance.ok(&["bundle", "push", &one]).contains("is there already"));
    let other = folder(&rack, "other", &app("1", "mode = \"0600\"\n"), TEMPLATE);
    let refused = appliance.refused(&["bundle", "push", &other]);
    assert!(refused.contains("app@1 was pushed with other content"), "{refused}");

    // Nobody is pinned to these; all the same they are looked at together.
    let needing = |name: &str, version: &str, needs: &str, template: &str| {
        let manifest = format!(
            "name = \"{name}\"\nversion = \"{version}\"\nneeds = [\"{needs}\"]\n[[file]]\npath = \"/etc/{name}\"\nsource = \"f.j2\"\n"
        );
        folder(&rack, &format!("{name}-{version}"), &manifest, &[("f.j2", template)])
    };
    let (left, right) = (needing("left", "1", "right", ""), needing("right", "1", "left", ""));
    let refused = appliance.refused(&["bundle", "check", &left, &right]);
    assert!(refused.contains("line 3: needs go round: left needs right, right needs left"), "{refused}");
    appliance.ok(&["bundle", "push", &left]);
    let refused = appliance.refused(&["bundle", "push", &right]);
    assert!(refused.contains("line 3: needs go round: right needs left, left needs right"), "{refused}");
    let unknown = needing("user", "1", "app", "one\n{{ portt }}\n");
    let refused = appliance.refused(&["bundle", "push", &unknown]);
    assert!(refused.contains("f.j2, line 2: unknown name 'portt'; did you mean 'port'?"), "{refused}");
    appliance.ok(&["bundle", "push", &needing("user", "1", "app", "{{ port }}")]);

    // Rendered for who is pinned to one of its name.
    appliance.meet("n1");
    appliance.ok(&["bundle", "pin", "app@1", "--node", "n1"]);
    let below = "[[file]]\npath = \"/etc/app.conf/{{ node.name }}\"\nsource = \"app.j2\"\n";
    let two = folder(&rack, "two", &app("2", below), TEMPLATE);
    let refused = appliance.refused(&["bundle", "push", &two]);
    assert!(refused.contains("n1: app@2, file /etc/app.conf/n1: lies below /etc/app.conf"), "{refused}");
}

#[test]
fn secrets_are_stored_encrypted_and_shown_to_nobody() {
    let rack = Rack::new("hush").expect("a rack");
    let appliance = Appliance::start(&rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    appliance.meet("n1");
    appliance.ok(&["group", "create", "rack1"]);
    appliance.ok(&["node", "set", "n1", "--group", "rack1"]);
    appliance.ok(&["node", "approve", "n1"]);

    // Stored before any bundle said that it is one.
    appliance.ok(&["vars", "set", &format!("hush={HUSH}"), "--group", "rack1"]);
    let one = folder(&rack, "one", &app("1", ""), TEMPLATE);
    let refused = appliance.refused(&["bundle", "push", &one]);
    assert!(
        refused.contains("variable 'hush' is secret in app@1")
            && refused.contains("firstlight vars set --secret hush --group rack1 < FILE")
            && !refused.contains(HUSH),
        "{refused}"
    );
    let set = ["vars", "set", "--secret", "hush", "--group", "rack1"];
    let (done, said) = fed(&appliance, &set, &format!("{HUSH}\n"));
    assert!(done, "{said}");
    appliance.ok(&["bundle", "push", &one]);

    // From now on it is taken encrypted only, and whole.
    for value in [format!("hush={HUSH}"), "hush=1234".into()] {
        let refused = appliance.refused(&["vars", "set", &value, "--node", "n1"]);
        assert!(
            refused.contains("'hush' is a secret of bundle app@1") && !refused.contains(HUSH),
            "{refused}"
        );
    }
    let (done, said) = fed(&appliance, &set, &"x".repeat((64 << 10) + 1));
    assert!(!done && said.contains("more than 65536 bytes"), "{said}");
    let (done, said) =
        fed(&appliance, &["vars", "set", "--secret", "hush", "--node", "n1"], &"y".repeat(64 << 10));
    assert!(done, "{said}");
    appliance.ok(&["bundle", "pin", "app@1", "--group", "rack1"]);
    appliance.wait("it can be opened", std::time::Duration::from_secs(20), || {
        let node = appliance.json(&["node", "bundles", "n1"]);
        assert_ne!(node["standing"], "broken", "{node}");
        node["generation"].as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    });
    appliance.ok(&["vars", "unset", "hush", "--node", "n1"]);

    // Whose value counts, and where it comes from.
    appliance.ok(&["vars", "set", "port=81", r#"map={"b": 2}"#]);
    appliance.ok(&["vars", "set", r#"map={"a": {"y": 3}}"#, "firstlight_drift=repair", "--node", "n1"]);
    let refused = appliance.refused(&["vars", "set", "firstlight_drift=repiar"]);
    assert!(refused.contains("report or repair"), "{refused}");
    let vars = appliance.json(&["node", "vars", "n1"]);
    let shown: Vec<String> = vars
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| format!("{}={} {}", one["name"].as_str().unwrap_or_default(), one["value"], one["origin"]))
        .collect();
    assert_eq!(
        shown,
        [
            "hush=\"••••••\" \"group rack1\"",
            "map.a.x=1 \"default of app\"",
            "map.a.y=3 \"node n1\"",
            "map.b=2 \"appliance\"",
            "port=81 \"appliance\"",
            "firstlight_drift=\"repair\" \"node n1\"",
        ]
    );
    let inventory = appliance.json(&["inventory", "--list"]);
    let of_node = &inventory["_meta"]["hostvars"]["n1"];
    assert_eq!(of_node["map"], json!({ "a": { "y": 3 }, "b": 2 }), "maps are merged as for bundles");
    assert!(of_node["hush"].is_null(), "{of_node}");

    what_is_shown_has_no_secret(&rack, &appliance);
}

fn what_is_shown_has_no_secret(rack: &Rack, appliance: &Appliance<'_>) {
    // What a node would get, without the secret.
    let rendered = appliance.ok(&["bundle", "render", "n1"]);
    assert!(rendered.contains("--- /etc/app.conf 0600 root:root\nport=81 key=•••••• {"), "{rendered}");
    let rendered = appliance.json(&["bundle", "render", "n1"]);
    assert_eq!(rendered["drift"], "repair");
    let content = rendered["bundles"][0]["files"][0]["content"].as_str().expect("base64");
    let content = String::from_utf8(STANDARD.decode(content).expect("base64")).expect("text");
    assert!(content.starts_with("port=81 key=••••••"), "{content}");
    assert!(rendered["masks"].is_null(), "{rendered}");
    let two = folder(rack, "two", &app("2", "mode = \"0640\"\n"), TEMPLATE);
    assert!(appliance.ok(&["bundle", "push", &two]).contains("rendered for 1 nodes"));
    let diff = appliance.ok(&["bundle", "diff", "app@1", "app@2"]);
    assert!(diff.contains("+mode = \"0640\"") && diff.contains("-version = \"1\""), "{diff}");
    assert!(
        appliance
            .json(&["bundle", "diff", "app@1", "app@2"])
            .as_str()
            .is_some_and(|text| text.contains("+mode"))
    );

    for command in [
        &["vars", "list"][..],
        &["node", "vars", "n1"],
        &["node", "bundles", "n1"],
        &["bundle", "show", "app@1"],
        &["bundle", "render", "n1"],
        &["bundle", "diff", "app@1", "app@2"],
        &["inventory", "--list"],
        &["event", "list"],
    ] {
        for output in ["table", "json"] {
            let said = appliance.cli(&[command, &["--output", output]].concat());
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(!said.is_empty() && !said.contains(HUSH), "{command:?}: {said}");
            assert!(!said.contains(&STANDARD.encode(HUSH)[..16]), "{command:?}: {said}");
        }
    }
    assert!(!appliance.log().contains(HUSH));
}
