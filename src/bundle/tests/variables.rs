//! Whose value of a variable counts, and secrets.

use serde_json::{Map, json};

use super::super::secret::{MASK, SecretError, SecretKey, close};
use super::*;

#[test]
fn the_nearer_value_counts_and_maps_are_merged() {
    let one = bundle(
        "a",
        "[variables.port]\ntype = \"integer\"\ndefault = 1\n[variables.map]\ntype = \"map\"\ndefault = { a = 1, b = { c = 2 } }\n\
         [variables.must]\ntype = \"string\"\n[variables.hush]\ntype = \"secret\"\ndefault = \"\"\n",
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

#[test]
fn two_defaults_of_one_variable_are_told() {
    let make = |name: &str, kind: &str, default: &str| {
        bundle(name, &format!("[variables.x]\ntype = \"{kind}\"\ndefault = {default}\n"), &[])
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
