//! What is refused before anything is touched.

use super::super::check::check;
use super::*;

#[test]
fn what_breaks_a_rule_is_refused() {
    let with = |change: fn(&mut DesiredBundle)| {
        let mut one = bundle("base@1", vec![file("/etc/a", "a")]);
        change(&mut one);
        desired(vec![one])
    };
    let package =
        |apt: &str| super::super::desired::DesiredPackage { apt: Some(apt.into()), dnf: None, version: None };
    assert!(check(&with(|_| ()), None).is_ok());
    let mut option = with(|_| ());
    option.bundles[0].packages.push(package("-o=evil"));
    for (name, wanted) in [
        ("relative path", with(|one| one.files[0].path = "etc/a".into())),
        ("path with ..", with(|one| one.files[0].path = "/etc/../a".into())),
        ("path with //", with(|one| one.files[0].path = "/etc//a".into())),
        ("the root", with(|one| one.files[0].path = "/".into())),
        ("folder", with(|one| one.files[0].path = "/etc/a/".into())),
        ("kernel's tree", with(|one| one.files[0].path = "/proc/sys/kernel/panic".into())),
        ("control character", with(|one| one.files[0].path = "/etc/a\nb".into())),
        ("path twice", with(|one| one.files.push(file("/etc/a", "b")))),
        ("file below file", with(|one| one.files.push(file("/etc/a/b", "b")))),
        ("mode", with(|one| one.files[0].mode = "rw-r--r--".into())),
        ("mode too large", with(|one| one.files[0].mode = "10644".into())),
        ("owner", with(|one| one.files[0].owner = "a:b".into())),
        ("base64", with(|one| one.files[0].content = "%".into())),
        ("unit without kind", with(|one| one.units.push(unit("etcd")))),
        ("unit as option", with(|one| one.units.push(unit("--root=x.service")))),
        ("unit with slash", with(|one| one.units.push(unit("../x.service")))),
        ("package as option", option),
        ("empty check", with(|one| one.health.push(health("x", Probe::Command(Vec::new()))))),
        (
            "https check",
            with(|one| {
                one.health
                    .push(health("x", Probe::Http { url: "https://a".into(), contains: String::new() }));
            }),
        ),
        ("bundle twice", desired(vec![bundle("a@1", Vec::new()), bundle("a@2", Vec::new())])),
    ] {
        assert!(check(&wanted, Some("apt")).is_err(), "{name}");
    }
}
