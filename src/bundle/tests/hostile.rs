//! Whatever is given: an answer, and no panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::template::{Engine, Scope, on_deep_stack};
use super::*;

/// What a template makes where there are no variables.
fn made(template: &str) -> Result<String, String> {
    let nothing = Scope::new(BTreeMap::new(), BTreeMap::new());
    let made = on_deep_stack(|| Engine::new().file(&nothing, "x.j2", template)).map_err(|e| e.to_string())?;
    made.map(|made| made.text).map_err(|cause| cause.message)
}

fn try_bundle(text: &str) -> Result<Bundle, String> {
    let sources = sources(&[("f.j2", "{{ a }}"), ("x.j2", "{{ 'x' * 1048000 }}")]);
    Bundle::new(text.to_owned(), sources).map_err(|error| error.to_string())
}

/// Lines of manifests, right and wrong, to be put together in any way.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name", "version", "needs", "path", "source", "mode", "when", "restart", "type", "default",
        "command", "tcp", "http", "timeout", "prepare", "port", "playbook", "apt", "x",
    ]);
    let value = prop_oneof![
        Just("\"etcd\"".to_owned()),
        Just("\"/etc/x\"".to_owned()),
        Just("\"f.j2\"".to_owned()),
        Just("[\"a.service\", 1]".to_owned()),
        Just("{ a = { b = 1 } }".to_owned()),
        Just("[[[[]]]]".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("nan".to_owned()),
        Just("\"{{ x | y }}{% if\"".to_owned()),
        "[ -~]{0,12}",
        "\"\\PC{0,12}\"",
        any::<i128>().prop_map(|number| number.to_string()),
    ];
    let title = prop::sample::select(vec![
        "[[file]]",
        "[[unit]]",
        "[[package]]",
        "[[health]]",
        "[hooks]",
        "[[service]]",
        "[[ansible]]",
        "[variables.a]",
        "[variables]",
        "[file]",
        "[[variables]]",
    ]);
    prop_oneof![
        3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => title.prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 3000 }))]

    #[test]
    fn any_text_as_manifest(text in "\\PC{0,300}") {
        let _ = try_bundle(&text);
    }

    #[test]
    fn any_lines_as_manifest(lines in prop::collection::vec(line(), 0..30)) {
        let text = lines.join("\n");
        match try_bundle(&text) {
            Ok(bundle) => {
                let again = Bundle::unpack(&bundle.pack().expect("packs")).expect("unpacks");
                prop_assert_eq!(&again, &bundle);
            }
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }

    #[test]
    fn any_bytes_as_archive(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Bundle::unpack(&bytes).is_err());
    }

    #[test]
    fn an_archive_with_any_byte_changed(at in 0_usize..4096, byte in any::<u8>()) {
        let bundle = bundle("a", "", &[("f", "x"), ("g/h", "y")]);
        let mut archive = bundle.pack().expect("packs");
        let at = at % archive.len();
        let same = archive[at] == byte;
        archive[at] = byte;
        if let Ok(found) = Bundle::unpack(&archive) {
            prop_assert!(same || found != *bundle);
        }
    }

    #[test]
    fn any_text_as_template(text in "[ a-z0-9{}%#|.()\\[\\]'\"~*+=:,\n-]{0,80}") {
        let _ = made(&text);
        let _ = made(&format!("{{{{ {text} }}}}"));
    }

    /// Were a long tag missed that the engine sees, its recursion would end this process: the engine is asked on
    /// the small stack of this thread.
    #[test]
    fn no_long_tag_hides(pieces in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{%", "%}", "{#", "#}", "{{-", "-}}", "{%+", "-%}", "'", "\"", "\\", "{", "}", "(", ")", "[", "]",
        " ", "\n", "raw", "endraw", " raw ", "{% raw %}", "{% endraw %}", "{%- raw -%}", "{%+ endraw -%}", "-", "+",
        "a", "ä", "if ", "{% set a = ", "LONG", "LONG", "LONG1", "LONG1 }}", "LONG1 %}",
    ]), 0..24)) {
        let text = pieces.concat().replace("LONG", &"-\n".repeat(20_000));
        let nothing = Scope::new(BTreeMap::new(), BTreeMap::new());
        let _ = Engine::new().file(&nothing, "x.j2", &text);
    }

    #[test]
    fn any_paths(path in "\\PC{1,40}", other in "[a-z./]{1,12}") {
        let files = [(path, Vec::new()), (other, Vec::new())];
        if let Ok(bundle) = Bundle::new(HEAD.to_owned(), files.into()) {
            prop_assert_eq!(Bundle::unpack(&bundle.pack().expect("packs")).expect("unpacks"), bundle);
        }
    }
}

#[test]
fn a_path_that_the_archive_cannot_hold_is_refused_when_it_is_read() {
    for (path, holds) in [
        ("n".repeat(100), true),
        ("n".repeat(101), false),
        ("৩".repeat(34), false),
        (format!("{}/{}", "f".repeat(155), "n".repeat(99)), true),
        (format!("{}/n", "f".repeat(156)), false),
    ] {
        let bundle = Bundle::new(HEAD.to_owned(), [(path.clone(), Vec::new())].into());
        assert_eq!(bundle.is_ok(), holds, "{path}");
        if let Ok(bundle) = bundle {
            assert_eq!(Bundle::unpack(&bundle.pack().expect("packs")).expect("unpacks"), bundle);
        }
    }
}

#[test]
fn templates_that_never_end_do_end() {
    for (name, template) in [
        (
            "a doubling",
            "{% set ns = namespace(a='x') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}"
                .to_owned(),
        ),
        ("a doubling in a line", format!("{{% set a = 'xxxxxxxx' %}}{}", "{% set a = a ~ a %}".repeat(60))),
        ("a product", "{{ 'x' * 99999999 }}".to_owned()),
        (
            "a capture",
            format!(
                "{{% set a %}}xxxxxxxx{{% endset %}}{}",
                "{% set a %}{{ a }}{{ a }}{% endset %}".repeat(60)
            ),
        ),
        (
            "a replacement",
            format!("{{% set a = 'aaaaaaaaaa' %}}{}", "{% set a = a | replace('a', a) %}".repeat(9)),
        ),
        (
            "loops in loops",
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}".to_owned(),
        ),
        ("a large range", "{{ range(999999999) | list | length }}".to_owned()),
        ("a macro without end", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned()),
        ("a wide format", "{{ '%999999999d' | format(1) }}".to_owned()),
        ("a deep indent", "{{ 'a\n' * 999999 | indent(99999) }}".to_owned()),
        ("an output of 2 MiB", "{% for i in range(2048) %}{{ 'x' * 1024 }}{% endfor %}".to_owned()),
        ("itself", "{% include 'x.j2' %}".to_owned()),
        ("deep parentheses", format!("{{{{ {}1{} }}}}", "(".repeat(9999), ")".repeat(9999))),
        ("deep lists", format!("{{{{ {}{} }}}}", "[".repeat(9999), "]".repeat(9999))),
        ("deep ifs", format!("{}{}", "{% if 1 %}".repeat(9999), "{% endif %}".repeat(9999))),
        ("many nots", format!("{{{{ {}1 }}}}", "not ".repeat(99999))),
        ("many minuses", format!("{{{{ {}1 }}}}", "-".repeat(99999))),
        ("a long chain", format!("{{{{ 1{} }}}}", " ~ 1".repeat(99999))),
        ("a long path", format!("{{{{ node{} }}}}", ".name".repeat(99999))),
        ("many filters", format!("{{{{ 1{} }}}}", "|abs".repeat(99999))),
        ("many elif", format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(50000))),
    ] {
        eprintln!("{name}");
        let started = std::time::Instant::now();
        let found = made(&template);
        assert!(found.is_err(), "{name}");
        assert!(started.elapsed().as_secs() < 20, "{name} took {:?}", started.elapsed());
    }
}

/// As deep as they may be, in a debug build and on the 2 MiB of stack of a thread: this must come back.
#[test]
fn templates_at_the_limit_are_rendered() {
    let all = "{% if 1 %}".repeat(40) + "x" + &"{% endif %}".repeat(40);
    for (name, template) in [
        ("nots", format!("{{{{ {}1 }}}}", "not ".repeat(599))),
        ("minuses", format!("{{{{ {}1 }}}}", "-".repeat(599))),
        ("a chain", format!("{{{{ 1{} }}}}", "~1".repeat(299))),
        ("powers", format!("{{{{ 1{} }}}}", "**1".repeat(199))),
        ("filters", format!("{{{{ 1{} }}}}", "|abs".repeat(299))),
        ("elifs", format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100))),
        ("brackets", format!("{{{{ {}1{} }}}}", "(".repeat(60), ")".repeat(60))),
        ("ifs", all),
    ] {
        let found = made(&template);
        assert!(found.is_ok(), "{name}: {found:?}");
    }
}

/// Values that nest as deep as the fuel lasts are dropped, printed and compared by recursion.
#[test]
fn values_that_nest_without_end_come_back() {
    let nested = |open: &str, close: &str| {
        let (open, close) = (open.repeat(40), close.repeat(40));
        format!(
            "{{% set ns = namespace(a=[]) %}}{{% for i in range(1300) %}}{{% set ns.a = {open}ns.a{close} %}}{{% endfor %}}"
        )
    };
    let lists = nested("[", "]");
    for (name, template) in [
        ("dropped", lists.clone()),
        ("dropped when the fuel ends", lists.replace("1300", "9999")),
        ("printed", format!("{lists}{{{{ ns.a }}}}")),
        ("as JSON", format!("{lists}{{{{ ns.a | tojson }}}}")),
        ("as YAML", format!("{lists}{{{{ ns.a | yaml }}}}")),
        ("maps as JSON", nested("{'a':", "}") + "{{ ns.a | tojson }}"),
        (
            "compared",
            lists.replace("1300", "600")
                + "{% set a = ns.a %}"
                + &lists.replace("1300", "600")
                + "{{ a == ns.a }}",
        ),
        ("sorted", format!("{lists}{{{{ [ns.a, ns.a] | sort | unique }}}}")),
    ] {
        eprintln!("{name}");
        // Either answer is right, as long as there is one.
        let _ = made(&template);
    }
}

#[test]
fn deep_manifests_are_refused() {
    for (name, value) in [
        ("lists", format!("{}{}", "[".repeat(50_000), "]".repeat(50_000))),
        ("tables", format!("{}1{}", "{a=".repeat(50_000), "}".repeat(50_000))),
    ] {
        let text =
            format!("name = \"a\"\nversion = \"1\"\n[variables.a]\ntype = \"list\"\ndefault = {value}\n");
        assert!(try_bundle(&text).is_err(), "{name}");
    }
    let dotted = format!("name = \"a\"\nversion = \"1\"\n[variables.{}]\n", "a.".repeat(20_000) + "a");
    assert!(try_bundle(&dotted).is_err(), "dotted keys");
}

#[test]
fn the_files_of_a_node_are_bounded() {
    let bundles: Vec<Arc<Bundle>> = (0..20)
        .map(|n| {
            let text = format!(
                "name = \"b{n}\"\nversion = \"1\"\n[[file]]\npath = \"/etc/x{n}\"\nsource = \"x.j2\"\n"
            );
            Arc::new(try_bundle(&text).expect("a bundle"))
        })
        .collect();
    let manifests: Vec<_> = bundles.iter().map(|bundle| &bundle.manifest).collect();
    let variables = merge(&manifests, &[]);
    let errors = render(&bundles, &variables, &About::default(), Secrets::Masked).expect_err("20 MiB");
    assert!(errors[0].to_string().contains("16777216 bytes"), "{errors:?}");
}
