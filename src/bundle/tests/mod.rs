//! Bundles as their authors write them, well and badly.

mod hostile;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, json};

use super::facts::ClusterFacts;
use super::render::Secrets;
use super::secret::{MASK, SecretError, SecretKey, close};
use super::*;

fn sources(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

fn bundle(text: &str, files: &[(&str, &str)]) -> Arc<Bundle> {
    Arc::new(Bundle::new(text.to_owned(), sources(files)).unwrap_or_else(|error| panic!("{error}")))
}

const HEAD: &str = "name = \"a\"\nversion = \"1\"\n";

#[test]
fn every_mistake_is_told_with_its_line() {
    for (name, text, message) in [
        ("no TOML", "name = ", "bundle.toml, line 1"),
        ("no name", "version = \"1\"", "name is missing"),
        ("a bad name", "name = \"A b\"\nversion = \"1\"", "line 1: name 'A b'"),
        (
            "a key that is misspelt",
            "name = \"a\"\nversion = \"1\"\ndescripton = \"x\"",
            "line 3: unknown key 'descripton'; did you mean 'description'?",
        ),
        ("needs itself", "name = \"a\"\nversion = \"1\"\nneeds = [\"a\"]", "does not need itself"),
        ("a file without its source", "[[file]]\npath = \"/etc/x\"", "source is missing"),
        (
            "a source that is not there",
            "[[file]]\npath = \"/etc/x\"\nsource = \"files/y\"",
            "did you mean 'files/x'?",
        ),
        ("a source outside", "[[file]]\npath = \"/etc/x\"\nsource = \"../x\"", "no '..'"),
        ("a relative path", "[[file]]\npath = \"etc/x\"\nsource = \"files/x\"", "must be absolute"),
        ("a path with '..'", "[[file]]\npath = \"/etc/../x\"\nsource = \"files/x\"", "may not have '..'"),
        ("a path of the kernel", "[[file]]\npath = \"/proc/x\"\nsource = \"files/x\"", "the kernel's"),
        (
            "a path twice",
            "[[file]]\npath = \"/x\"\nsource = \"files/x\"\n[[file]]\npath = \"/x\"\nsource = \"files/x\"",
            "is written by the [[file]] of line 3 already",
        ),
        (
            "a mode that is none",
            "[[file]]\npath = \"/x\"\nsource = \"files/x\"\nmode = \"rw\"",
            "octal digits",
        ),
        (
            "an owner that is none",
            "[[file]]\npath = \"/x\"\nsource = \"files/x\"\nowner = \"a b\"",
            "owner 'a b'",
        ),
        ("a unit without suffix", "[[unit]]\nname = \"etcd\"", "ends in one of"),
        ("two probes", "[[health]]\nname = \"x\"\ntcp = \"a:1\"\nunit = \"x.service\"", "exactly one"),
        ("no probe", "[[health]]\nname = \"x\"", "exactly one"),
        (
            "a time that is none",
            "[[health]]\nname = \"x\"\ntcp = \"a:1\"\nwithin = \"soon\"",
            "within: a duration",
        ),
        ("a type that is none", "[variables.x]\ntype = \"text\"", "'text' is no type"),
        ("a default of another type", "[variables.x]\ntype = \"integer\"\ndefault = \"1\"", "is no integer"),
        (
            "a secret with a default",
            "[variables.x]\ntype = \"secret\"\ndefault = \"1\"",
            "a secret has no default",
        ),
        ("a variable that templates have", "[variables.node]\ntype = \"string\"", "take another"),
        (
            "an expression that is none",
            "[[unit]]\nname = \"x.service\"\nwhen = \"role ==\"",
            "line 5: [[unit]]: when",
        ),
        ("a hook that is no argv", "[hooks]\nprepare = \"x\"", "an argv"),
        ("a package without name", "[[package]]\nversion = \"1\"", "a package has a name"),
        ("a port that is none", "[[service]]\nname = \"x\"\nport = 0", "from 1 to 65535"),
        (
            "a template that is broken",
            "[[file]]\npath = \"/x\"\nsource = \"files/bad.j2\"",
            "files/bad.j2, line 2",
        ),
    ] {
        let text =
            if text.starts_with('[') || text.is_empty() { format!("{HEAD}{text}") } else { text.to_owned() };
        let mut files = sources(&[("files/x", "x")]);
        if name == "a template that is broken" {
            files.insert("files/bad.j2".into(), b"fine\n{{ x".to_vec());
        }
        let told = Bundle::new(text, files).expect_err(name).to_string();
        assert!(told.contains(message), "{name}: {told}");
    }
    let both =
        Bundle::new("name = \"A\"\nversion = \" \"".into(), BTreeMap::new()).expect_err("two mistakes");
    assert_eq!(both.to_string().lines().count(), 2, "{both}");
}

#[test]
fn what_a_node_would_refuse_is_told_with_its_line() {
    for (name, text, message) in [
        ("a name that nothing can be pinned to", "name = \"a.b\"\nversion = \"1\"", "line 1: name 'a.b'"),
        (
            "a version that nothing can be pinned to",
            "name = \"a\"\nversion = \"1.0~rc1\"",
            "line 2: version '1.0~rc1'",
        ),
        ("a package with its architecture", "[[package]]\nname = \"libc6:i386\"", "no architecture"),
        (
            "a path of the agent",
            "[[file]]\npath = \"/run/firstlight/x\"\nsource = \"files/x\"",
            "line 4: [[file]]: path '/run/firstlight/x': /run/firstlight is the agent's own",
        ),
        ("a check by https", "[[health]]\nname = \"x\"\nhttp = \"https://a/\"", "starts with http://"),
        (
            "a check of no port",
            "[[health]]\nname = \"x\"\ntcp = \"localhost\"",
            "line 5: [[health]]: tcp 'localhost'",
        ),
        ("a check of no unit", "[[health]]\nname = \"x\"\nunit = \"etcd\"", "ends in one of"),
        ("a check by nothing", "[[health]]\nname = \"x\"\ncommand = [\"\"]", "first word is blank"),
        (
            "a hook that runs nothing",
            "[hooks]\nstop = [\" \", \"x\"]",
            "line 4: [hooks]: stop: its first word",
        ),
    ] {
        let text = if text.starts_with('[') { format!("{HEAD}{text}") } else { text.to_owned() };
        let told = Bundle::new(text, sources(&[("files/x", "x")])).expect_err(name).to_string();
        assert!(told.contains(message), "{name}: {told}");
    }
}

#[test]
fn the_nearer_value_counts_and_maps_are_merged() {
    let one = bundle(
        &format!(
            "{HEAD}[variables.port]\ntype = \"integer\"\ndefault = 1\n[variables.map]\ntype = \"map\"\ndefault = {{ a = 1, b = {{ c = 2 }} }}\n\
             [variables.must]\ntype = \"string\"\n[variables.hush]\ntype = \"secret\"\ndefault = \"\"\n"
        ),
        &[],
    );
    let map = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
    let all = [
        ("appliance", map(json!({ "port": 2, "must": "far", "map": { "b": { "d": 3 } } }))),
        ("group g", map(json!({ "port": 3, "porrt": 9 }))),
        ("role r", map(json!({ "hush": "x" }))),
        ("node n", map(json!({ "port": "no number", "must": "near", "map": { "a": null } }))),
    ];
    let layers: Vec<Layer<'_>> =
        all.iter().map(|(origin, values)| Layer { origin: (*origin).into(), values }).collect();
    let merged = merge(&[&one.manifest], &layers);
    let shown: Vec<String> =
        merged.shown.iter().map(|one| format!("{}={} {}", one.name, one.value, one.origin)).collect();
    assert_eq!(
        shown,
        [
            format!("hush=\"{MASK}\" role r"),
            "map.a=null node n".into(),
            "map.b.c=2 default of a".into(),
            "map.b.d=3 appliance".into(),
            "must=\"near\" node n".into(),
            "port=3 group g".into(),
        ]
    );
    assert_eq!(merged.problems, ["variable 'port' of a is a integer, but node n says \"no number\""]);
    assert_eq!(
        merged.unknown,
        ["'porrt' is set for group g, and no bundle here asks for it; did you mean 'port'?"]
    );
    let missing = merge(&[&one.manifest], &[]);
    assert!(
        missing.problems.iter().any(|text| text.contains("'must' of a is not set")),
        "{:?}",
        missing.problems
    );
}

#[test]
fn secrets_open_for_the_appliance_only() {
    let (key, other) = (SecretKey::generate(), SecretKey::generate());
    let closed = close(&key.recipient(), "hush").expect("encrypted");
    assert_eq!(key.open(&closed).map(|secret| secret.expose().to_owned()), Ok("hush".into()));
    assert!(matches!(other.open(&closed), Err(SecretError::Closed(_))));
    assert_eq!(key.open("hush").map(|_| ()), Err(SecretError::Plain));
    // What may be closed can be opened again; nothing is cut.
    let longest = "ä".repeat(secret::LONGEST / 2);
    let closed = close(&key.recipient(), &longest).expect("it closes");
    assert!(secret::is_closed(&json!(closed)));
    assert_eq!(key.open(&closed).map(|text| text.expose() == longest), Ok(true));
    assert_eq!(close(&key.recipient(), &(longest + "x")), Err(SecretError::Long));
    assert!(close("age1nobody", "x").is_err());
    let again = SecretKey::parse(key.text().expose()).expect("the same key");
    assert_eq!(again.recipient(), key.recipient());
    assert_eq!(format!("{:?} {:?}", key, key.open(&closed)), format!("{MASK} Ok({MASK})"));
}

fn about() -> About {
    let mut about = About { role: Some("control".into()), ..About::default() };
    about.node.name = "n1".into();
    about.cluster = Some(ClusterFacts { name: "prod".into(), ..ClusterFacts::default() });
    about
}

fn text_of(rendered: &Rendered, path: &str) -> (String, String, bool) {
    let files = rendered.bundles.iter().flat_map(|bundle| &bundle.files);
    let file = files.clone().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"));
    let text = String::from_utf8(STANDARD.decode(&file.content).expect("base64")).expect("UTF-8");
    (text, file.mode.clone(), file.secret)
}

#[test]
fn templates_see_the_node_and_secrets_are_marked() {
    let one = bundle(
        &format!(
            "{HEAD}[variables.hush]\ntype = \"secret\"\n[variables.list]\ntype = \"list\"\ndefault = [1, 2]\n\
             [[file]]\npath = \"/etc/{{{{ node.name }}}}\"\nsource = \"files/open.j2\"\nrestart = [\"x.service\"]\n\
             [[file]]\npath = \"/etc/hidden\"\nsource = \"files/hidden.j2\"\n\
             [[file]]\npath = \"/etc/raw\"\nsource = \"files/raw\"\n\
             [[file]]\npath = \"/etc/not\"\nsource = \"files/raw\"\nwhen = \"role == 'worker'\"\n\
             [[unit]]\nname = \"x.service\"\nsource = \"units/x.service.j2\"\n\
             [[service]]\nname = \"x\"\nport = \"{{{{ list[1] }}}}\"\n"
        ),
        &[
            (
                "files/open.j2",
                "{% if cluster %}\n{{ cluster.name }} {{ role }} {{ list | join(',') }}\n{% endif %}\n",
            ),
            ("files/hidden.j2", "password = {{ hush | shell_quote }}\n"),
            ("files/raw", "{{ as it is }}\n"),
            ("units/x.service.j2", "[Service]\nExecStart=/bin/{{ node.name }}\n"),
        ],
    );
    let key = SecretKey::generate();
    let mut values = Map::new();
    values.insert("hush".into(), close(&key.recipient(), "it's").expect("encrypted").into());
    let merged = merge(&[&one.manifest], &[Layer { origin: "appliance".into(), values: &values }]);
    let bundles = [Arc::clone(&one)];
    let rendered = render(&bundles, &merged, &about(), Secrets::Opened(&key)).expect("it renders");
    assert_eq!(text_of(&rendered, "/etc/n1"), ("prod control 1,2\n".into(), "0644".into(), false));
    assert_eq!(text_of(&rendered, "/etc/hidden"), ("password = 'it'\\''s'\n".into(), "0600".into(), true));
    assert_eq!(text_of(&rendered, "/etc/raw").0, "{{ as it is }}\n");
    assert_eq!(text_of(&rendered, "/etc/systemd/system/x.service").0, "[Service]\nExecStart=/bin/n1\n");
    assert_eq!(rendered.bundles[0].files.len(), 4, "the one for workers is not there");
    assert_eq!((rendered.services[0].name.as_str(), rendered.services[0].port), ("x", 2));
    assert_eq!(rendered.masks.iter().collect::<Vec<_>>(), ["it's"]);
    let masked = render(&bundles, &merged, &about(), Secrets::Masked).expect("it renders");
    assert!(masked.masks.is_empty());
    assert_eq!(text_of(&masked, "/etc/hidden").0, format!("password = '{MASK}'\n"));
    let desired = Desired { bundles: rendered.bundles, ..Desired::default() };
    assert_eq!(desired.digest(&key).len(), 64);
    let told = Desired { masks: rendered.masks, ..desired.clone() };
    assert_eq!(told.digest(&key), desired.digest(&key), "secrets are no part of what it is called");
    let again = SecretKey::parse(key.text().expose()).expect("the same key");
    assert_eq!(desired.digest(&again), desired.digest(&key));
    assert_ne!(
        desired.digest(&SecretKey::generate()),
        desired.digest(&key),
        "who has all of it but the appliance's key cannot tell"
    );
    assert!(!format!("{told:?}").contains("it's"));
    let shown = diff::generations(&Desired::default(), &desired);
    assert!(shown.contains("+ bundle a@1") && !shown.contains("it's"), "{shown}");
}

#[test]
fn playbooks_count_among_what_a_node_gets() {
    let filler = "x".repeat(900 << 10);
    for (plays, fits) in [(2, true), (3, false)] {
        let names: Vec<String> = (0..plays).map(|play| format!("play/{play}.yml")).collect();
        let fillers: Vec<String> = (0..7).map(|at| format!("play/fill{at}")).collect();
        let mut files: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "- hosts: all\n")).collect();
        files.extend(fillers.iter().map(|name| (name.as_str(), filler.as_str())));
        let plays: Vec<String> =
            names.iter().map(|name| format!("[[ansible]]\nplaybook = \"{name}\"\n")).collect();
        let one = bundle(&format!("{HEAD}{}", plays.concat()), &files);
        let rendered = render(&[one], &Merged::default(), &about(), Secrets::Masked);
        match rendered {
            Ok(rendered) => {
                let desired = Desired { bundles: rendered.bundles, ..Desired::default() };
                let length = serde_json::to_vec(&desired).expect("JSON").len();
                assert!(fits && length < 32 << 20, "{length} bytes are what an agent takes");
            }
            Err(errors) => {
                let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
                assert!(!fits && told.concat().contains("bundle.toml, line 7: with it"), "{told:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_rendered_says_where() {
    let file = |name: &str, needs: &str, path: &str, template: &str| {
        let text = format!(
            "name = \"{name}\"\nversion = \"1\"\nneeds = [{needs}]\n[[file]]\npath = \"{path}\"\nsource = \"f.j2\"\n"
        );
        bundle(&text, &[("f.j2", template)])
    };
    for (name, bundles, message) in [
        (
            "an unknown name",
            vec![file("a", "", "/x", "one\n{{ node.nothing }}\n")],
            "a@1, f.j2, line 2: `node.nothing` has no value",
        ),
        ("a missing need", vec![file("a", "\"b\"", "/x", "")], "it needs bundle 'b', which is not pinned"),
        (
            "needs that go round",
            vec![file("a", "\"b\"", "/x", ""), file("b", "\"a\"", "/y", "")],
            "need one another",
        ),
        (
            "one path, two bundles",
            vec![file("a", "", "/x", ""), file("b", "", "/x", "")],
            "is written by bundle a@1 too",
        ),
        ("a path outside", vec![file("a", "", "/{{ node.name }}/../x", "")], "may not have '..'"),
        (
            "a template without end",
            vec![file(
                "a",
                "",
                "/x",
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            )],
            "f.j2",
        ),
    ] {
        let manifests: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest).collect();
        let errors = render(&bundles, &merge(&manifests, &[]), &about(), Secrets::Masked).expect_err(name);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|text| text.contains(message)), "{name}: {told:?}");
    }
    // Each part is right, and together they are not; the node would refuse them.
    let health = |probe: &str| bundle(&format!("{HEAD}[[health]]\nname = \"x\"\n{probe}\n"), &[]);
    let hook = bundle(&format!("{HEAD}[hooks]\nstop = [\"{{{{ node.serial }}}}\"]\n"), &[]);
    let package = |name: &str, version: &str| {
        let part = format!("[[package]]\nname = \"p\"\nversion = \"{version}\"\n");
        bundle(&format!("name = \"{name}\"\nversion = \"1\"\n{part}"), &[])
    };
    for (name, bundles, message) in [
        (
            "a file below a file",
            vec![file("a", "", "/x", ""), file("b", "", "/x/y", "")],
            "file /x/y: lies below /x, which is a file of a@1",
        ),
        (
            "a probe that is none",
            vec![health("http = \"{{ node.name }}\"")],
            "a@1, bundle.toml, line 3: check 'x'",
        ),
        ("a port that is none", vec![health("tcp = \"{{ node.name }}\"")], "ADDRESS:PORT"),
        (
            "a hook that becomes blank",
            vec![hook],
            "bundle.toml, line 3: hook 'stop': its first word is blank",
        ),
        (
            "a package in two versions",
            vec![package("a", "1"), package("b", "2")],
            "package p: is wanted as 1 by a@1 and as 2 by b@1",
        ),
    ] {
        let errors = render(&bundles, &Merged::default(), &about(), Secrets::Masked).expect_err(name);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|text| text.contains(message)), "{name}: {told:?}");
    }
    let order = [file("a", "\"c\"", "/x", ""), file("b", "", "/y", ""), file("c", "", "/z", "")];
    let rendered = render(&order, &Merged::default(), &about(), Secrets::Masked).expect("it renders");
    let names: Vec<&str> = rendered.bundles.iter().map(|bundle| bundle.bundle.as_str()).collect();
    assert_eq!(names, ["b@1", "c@1", "a@1"], "each after what it needs");
}

#[test]
fn needs_that_go_round_and_names_that_nobody_declares_are_told_before_a_node_is_pinned() {
    let make = |name: &str, needs: &[&str], variable: &str, template: &str| {
        let needs = json!(needs).to_string();
        let text = format!(
            "name = \"{name}\"\nversion = \"1\"\nneeds = {needs}\n[variables.{variable}]\ntype = \"string\"\n\
             [[file]]\npath = \"/etc/{name}\"\nsource = \"f.j2\"\n"
        );
        bundle(&text, &[("f.j2", template)])
    };
    let a = |template: &str| make("a", &["b"], "of_a", template);
    let (b, c) = (make("b", &["c"], "of_b", ""), make("c", &[], "of_c", ""));
    let back = make("c", &["a"], "of_c", "");
    let two = make("b", &["a"], "of_b", "");
    for (name, bundle, others, message) in [
        ("all is well", a("{{ of_a }}{{ of_b }}{{ of_c }}"), vec![&b, &c], ""),
        (
            "a name that nobody declares",
            a("\n{{ of_bb }}"),
            vec![&b, &c],
            "f.j2, line 2: unknown name 'of_bb'; did you mean",
        ),
        ("one that is not there yet may declare it", a("{{ of_d }}"), vec![&b], ""),
        ("two", a(""), vec![&two], "bundle.toml, line 3: needs go round: a needs b, b needs a; break"),
        ("three", a(""), vec![&b, &back], "needs go round: a needs b, b needs c, c needs a; break"),
    ] {
        let find =
            |name: &str| others.iter().find(|one| one.manifest.name == name).map(|one| Arc::clone(one));
        let told =
            needs::check(&bundle, find).map_or_else(|problems| problems.to_string(), |()| String::new());
        assert!(told.contains(message) && told.is_empty() == message.is_empty(), "{name}: {told}");
    }
}

#[test]
fn two_defaults_of_one_variable_are_told() {
    let make = |name: &str, kind: &str, default: &str| {
        let variable = format!("[variables.x]\ntype = \"{kind}\"\ndefault = {default}\n");
        bundle(&format!("name = \"{name}\"\nversion = \"1\"\n{variable}"), &[])
    };
    let set = |value: serde_json::Value| json!({ "x": value }).as_object().cloned().unwrap_or_default();
    for (name, one, other, values, message) in [
        ("the same", make("a", "integer", "1"), make("b", "integer", "1"), Map::new(), ""),
        (
            "others",
            make("a", "integer", "1"),
            make("b", "integer", "2"),
            Map::new(),
            "variable 'x' is 1 by default in a@1 and 2 in b@1; give both the same default, or set it",
        ),
        ("others, and one is set", make("a", "integer", "1"), make("b", "integer", "2"), set(json!(3)), ""),
        (
            "maps, which are laid over it",
            make("a", "map", "{ a = 1 }"),
            make("b", "map", "{ a = 2 }"),
            set(json!({ "b": 3 })),
            "give both the same default",
        ),
    ] {
        let layers = [Layer { origin: "appliance".into(), values: &values }];
        let told = merge(&[&one.manifest, &other.manifest], &layers).problems.join("\n");
        assert!(told.contains(message) && told.is_empty() == message.is_empty(), "{name}: {told}");
    }
}

#[test]
fn a_folder_packs_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("files")).expect("a folder");
    std::fs::write(folder.path().join("bundle.toml"), HEAD).expect("write");
    std::fs::write(folder.path().join("files/x"), "x").expect("write");
    std::fs::write(folder.path().join(".hidden"), "x").expect("write");
    let read = Bundle::read(folder.path()).expect("a bundle");
    assert_eq!(read.sources.keys().collect::<Vec<_>>(), ["files/x"]);
    let packed = read.pack().expect("it packs");
    assert_eq!(Bundle::unpack(&packed).expect("it unpacks"), read);
    assert_eq!(Bundle::read(folder.path()).expect("a bundle").pack().expect("it packs"), packed);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("files/link")).expect("a link");
    let told = Bundle::read(folder.path()).expect_err("a link").to_string();
    assert!(told.contains("files/link"), "{told}");
}

proptest::proptest! {
    #[test]
    fn nobodys_text_or_archive_panics(text in ".{0,400}", bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
        let _ = Bundle::new(text, BTreeMap::new());
        let _ = Bundle::unpack(&bytes);
    }
}
