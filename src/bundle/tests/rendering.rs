//! What becomes of bundles on one node.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, json};

use super::super::secret::{MASK, SecretKey, close};
use super::*;

fn text_of(rendered: &Rendered, path: &str) -> (String, String, bool) {
    let files = rendered.bundles.iter().flat_map(|bundle| &bundle.files);
    let file = files.clone().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"));
    let text = String::from_utf8(STANDARD.decode(&file.content).expect("base64")).expect("UTF-8");
    (text, file.mode.clone(), file.secret)
}

#[test]
fn templates_see_the_node_and_secrets_are_marked() {
    let one = bundle(
        "a",
        "[variables.hush]\ntype = \"secret\"\n[variables.list]\ntype = \"list\"\ndefault = [1, 2]\n\
         [[file]]\npath = \"/etc/{{ node.name }}\"\nsource = \"files/open.j2\"\nrestart = [\"x.service\"]\n\
         [[file]]\npath = \"/etc/hidden\"\nsource = \"files/hidden.j2\"\n\
         [[file]]\npath = \"/etc/raw\"\nsource = \"files/raw\"\n\
         [[file]]\npath = \"/etc/not\"\nsource = \"files/raw\"\nwhen = \"role == 'worker'\"\n\
         [[unit]]\nname = \"x.service\"\nsource = \"units/x.service.j2\"\n\
         [[service]]\nname = \"x\"\nport = \"{{ list[1] }}\"\n",
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
        let one = bundle("a", &plays.concat(), &files);
        match rendered(&[one], &Merged::default()) {
            Ok(rendered) => {
                let desired = Desired { bundles: rendered.bundles, ..Desired::default() };
                let length = serde_json::to_vec(&desired).expect("JSON").len();
                assert!(fits && length < 32 << 20, "{length} bytes are what an agent takes");
            }
            Err(told) => assert!(!fits && told.contains("bundle.toml, line 7: with it"), "{told}"),
        }
    }
}

#[test]
fn what_cannot_be_rendered_says_where() {
    let file = |name: &str, needs: &str, path: &str, template: &str| {
        let rest = format!("needs = [{needs}]\n[[file]]\npath = \"{path}\"\nsource = \"f.j2\"\n");
        bundle(name, &rest, &[("f.j2", template)])
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
        let told = rendered(&bundles, &merge(&manifests, &[])).expect_err(name);
        assert!(told.contains(message), "{name}: {told}");
    }
    // Each part is right, and together they are not; the node would refuse them.
    let health = |probe: &str| bundle("a", &format!("[[health]]\nname = \"x\"\n{probe}\n"), &[]);
    let hook = bundle("a", "[hooks]\nstop = [\"{{ node.serial }}\"]\n", &[]);
    let package = |name: &str, version: &str| {
        bundle(name, &format!("[[package]]\nname = \"p\"\nversion = \"{version}\"\n"), &[])
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
        let told = rendered(&bundles, &Merged::default()).expect_err(name);
        assert!(told.contains(message), "{name}: {told}");
    }
    let order = [file("a", "\"c\"", "/x", ""), file("b", "", "/y", ""), file("c", "", "/z", "")];
    let rendered = rendered(&order, &Merged::default()).expect("it renders");
    let names: Vec<&str> = rendered.bundles.iter().map(|bundle| bundle.bundle.as_str()).collect();
    assert_eq!(names, ["b@1", "c@1", "a@1"], "each after what it needs");
}

#[test]
fn needs_that_go_round_and_names_that_nobody_declares_are_told_before_a_node_is_pinned() {
    let make = |name: &str, needs: &[&str], variable: &str, template: &str| {
        let needs = json!(needs).to_string();
        let rest = format!(
            "needs = {needs}\n[variables.{variable}]\ntype = \"string\"\n\
             [[file]]\npath = \"/etc/{name}\"\nsource = \"f.j2\"\n"
        );
        bundle(name, &rest, &[("f.j2", template)])
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
