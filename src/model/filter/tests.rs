//! Expressions a person would write, right and wrong.

use proptest::prelude::*;

use super::*;

const FIELDS: &[Field] = &[
    Field { name: "memory", kind: Kind::Number, help: "" },
    Field { name: "disk.nvme", kind: Kind::Number, help: "" },
    Field { name: "disk.size", kind: Kind::Number, help: "" },
    Field { name: "vendor", kind: Kind::Text, help: "" },
    Field { name: "bios", kind: Kind::Text, help: "" },
    Field { name: "asset", kind: Kind::Text, help: "" },
    Field { name: "secureboot", kind: Kind::Flag, help: "" },
    Field { name: "switch", kind: Kind::List, help: "" },
];

fn node(field: &str) -> Option<Value> {
    Some(match field {
        "memory" => Value::Number(128 << 30),
        "disk.nvme" => Value::Number(2),
        "disk.size" => Value::Number(1_920_000_000_000),
        "vendor" => Value::Text("Dell Inc.".into()),
        "bios" => Value::Text("2.10.1".into()),
        "secureboot" => Value::Text("no".into()),
        "switch" => Value::List(vec!["leaf1".into(), "leaf2".into()]),
        _ => return None,
    })
}

#[test]
fn expressions_match_as_a_person_expects() {
    for (text, expected) in [
        ("memory>=64GiB and disk.nvme>0", true),
        ("memory >= 128 GiB", true),
        ("memory = 137438953472", true),
        ("memory==128GiB", true),
        ("memory > 128GiB", false),
        ("memory<0.5TiB", true),
        ("disk.size=1.92TB", true),
        ("disk.size >= 2tb", false),
        ("vendor ~ dell", true),
        ("vendor = 'dell inc.'", true),
        ("vendor=\"HPE\"", false),
        ("vendor != HPE", true),
        ("not vendor ~ dell", false),
        ("NOT (vendor ~ hpe OR memory < 1GiB)", true),
        ("vendor~hpe or memory<1GiB or disk.nvme=2", true),
        ("vendor~hpe and memory>1 or disk.nvme=2", true),
        ("disk.nvme=2 or vendor~hpe and memory<1", true),
        ("(disk.nvme=2 or vendor~hpe) and memory<1", false),
        ("bios > 2.9", true),
        ("bios < 2.10.2", true),
        ("bios >= 2.010.1", true),
        ("bios < 2.10", false),
        ("secureboot = off", true),
        ("secureboot", false),
        ("not secureboot and memory", true),
        ("switch = leaf2", true),
        ("switch ~ LEAF", true),
        ("switch != leaf2", false),
        ("switch != leaf3", true),
        ("asset = x", false),
        ("asset != x", true),
        ("asset", false),
        ("not asset", true),
        ("not not not asset", true),
    ] {
        let filter = Filter::parse(text, FIELDS).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&node), expected, "{text}");
    }
}

#[test]
fn errors_say_where_and_what_to_write() {
    let deep = format!("{}memory{}", "(".repeat(100), ")".repeat(100));
    let nots = "not ".repeat(200) + "memory";
    let long = "memory or ".repeat(200) + "memory";
    for (text, message) in [
        ("", "the filter is empty"),
        ("  ", "the filter is empty"),
        (&long, "at most 1024"),
        (&deep, "column 33: nested more than 32"),
        (&nots, "column 129: nested more than 32"),
        ("memroy>=1GiB", "column 1: there is no field \"memroy\"; did you mean memory?"),
        ("memory>1 and disk.nvm>0", "column 14: there is no field \"disk.nvm\"; did you mean disk.nvme?"),
        ("xyzzy=1", "node list --help"),
        ("memory>=64G", "column 9: \"64G\" cannot be used: say which unit"),
        ("memory>=lots", "column 9: \"lots\" cannot be used: write a number"),
        ("memory>=1.2.3GiB", "write a number"),
        ("memory>=1.5", "decimals need a unit"),
        ("memory>=64zib", "the units are"),
        ("memory>=99999999999999999999", "too large"),
        ("memory>=99999999PiB", "too large"),
        ("memory ~ 6", "column 8: memory is a number"),
        ("secureboot > on", "secureboot is yes or no"),
        ("secureboot = maybe", "write yes or no"),
        ("switch < a", "switch is a list"),
        ("vendor = \"Dell", "column 10: this \" is never closed"),
        ("vendor = ", "column 10: expected a value (keywords in quotes), found the end"),
        ("vendor = and", "expected a value"),
        ("memory>1 && disk.nvme>0", "column 10: '&' means nothing here; write and"),
        ("! memory", "write != or not"),
        ("(memory>1", "column 10: expected a closing parenthesis, found the end"),
        ("memory>1)", "column 9: expected and, or, or the end, found )"),
        ("memory>1 vendor", "column 10: expected and, or, or the end, found \"vendor\""),
        ("and", "column 1: expected a field"),
        ("ä=1 or ü", "column 1: there is no field"),
    ] {
        let error = Filter::parse(text, FIELDS).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,300}") {
        let _ = Filter::parse(&text, FIELDS);
    }

    #[test]
    fn no_sequence_of_its_own_words_panics(words in proptest::collection::vec(
        proptest::sample::select(vec!["memory", "vendor", "switch", "secureboot", "and", "or", "not", "(", ")", "=", "!=",
            "<", ">=", "~", "64GiB", "1.5TB", "'a b'", "on", "\"", "ß", "0", ".", "1."]), 0..40)
    ) {
        if let Ok(filter) = Filter::parse(&words.join(" "), FIELDS) {
            let _ = filter.matches(&node);
            let _ = filter.matches(&|_| None);
        }
    }

    #[test]
    fn versions_have_one_order(a in "[0-9a.]{0,8}", b in "[0-9a.]{0,8}") {
        prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
    }
}
