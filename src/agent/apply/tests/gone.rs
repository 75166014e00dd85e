//! What goes: it is looked whether it is gone, and what read it is told.

use super::super::error::Result;
use super::super::units::{UnitState, Units};
use super::*;

/// Units that do what they are told, but for one that does not stop and stays enabled.
struct Stubborn;

impl Units for Stubborn {
    fn read_again(&self) -> Result<()> {
        Ok(())
    }
    fn state(&self, unit: &str) -> Result<UnitState> {
        let runs = unit == "stubborn.service";
        Ok(UnitState { known: true, enabled: Some(runs), active: runs })
    }
    fn enable(&self, _unit: &str, _enabled: bool) -> Result<()> {
        Ok(())
    }
    fn start(&self, _unit: &str) -> Result<()> {
        Ok(())
    }
    fn stop(&self, _unit: &str) -> Result<()> {
        Ok(())
    }
    fn restart(&self, _unit: &str) -> Result<()> {
        Ok(())
    }
    fn reload(&self, _unit: &str) -> Result<()> {
        Ok(())
    }
    fn boot(&self) -> Result<()> {
        Ok(())
    }
    fn running(&self) -> Vec<String> {
        Vec::new()
    }
    fn last_lines(&self, _unit: &str) -> Vec<String> {
        Vec::new()
    }
}

#[test]
fn what_an_unpinned_bundle_leaves_behind_is_told() {
    let tree = Tree::new();
    tree.write("/etc/motd", "of the distribution");
    let applier = tree.applier();
    let kept = bundle("kept@1", vec![file("/etc/kept", "1")]);
    let gone =
        bundle("gone@1", vec![file("/etc/motd", "ours"), file("/etc/gone", "x"), file("/srv/gone/x", "x")]);
    expect(
        &applier.apply(&desired(vec![kept.clone(), gone.clone()]), "1", &mut Vec::new()),
        ApplyResult::Applied,
    );

    // Unpinned, and all is as it was before.
    let outcome = applier.apply(&desired(vec![kept.clone()]), "2", &mut Vec::new());
    expect(&outcome, ApplyResult::Applied);
    assert_eq!((outcome.left_over, outcome.reason), (Vec::new(), String::new()));
    assert_eq!(tree.read("/etc/motd"), "of the distribution");

    // Something puts it there again, changes what is restored, and keeps a folder full.
    let with = bundle("kept@2", vec![file("/etc/kept", "2")]);
    let both = desired(vec![with.clone(), gone]);
    expect(&applier.apply(&both, "3", &mut Vec::new()), ApplyResult::Applied);
    let mut worse = bundle("kept@3", vec![file("/etc/kept", "3")]);
    worse.hooks.prepare = shell(
        "cd $FIRSTLIGHT_ROOT; echo x > etc/gone; echo other > etc/motd; mkdir -p srv/gone; touch srv/gone/log",
    );
    let mut log = Vec::new();
    let outcome = applier.apply(&desired(vec![worse]), "4", &mut log);
    expect(&outcome, ApplyResult::Applied);
    assert_eq!(
        outcome.left_over,
        [
            "file /etc/motd: what was there before any bundle is not back",
            "file /etc/gone",
            "folder /srv/gone: other files are in it",
        ]
    );
    assert!(outcome.reason.contains("; file /etc/gone; "), "{}", outcome.reason);
    assert!(log.iter().any(|line| line.contains("left over: file /etc/gone")), "{log:?}");
}

#[test]
fn a_unit_that_still_runs_or_starts_with_the_system_is_told() {
    let tree = Tree::new();
    let machine =
        Machine { place: Place::outside(&tree.root()), packages: None, units: Some(Box::new(Stubborn)) };
    let applier = Applier::with(&tree.root(), &tree.state(), machine).unwrap();
    let mut one = bundle("one@1", vec![file("/etc/one", "1")]);
    one.units = vec![unit("stubborn.service")];
    expect(&applier.apply(&desired(vec![one.clone()]), "1", &mut Vec::new()), ApplyResult::Applied);
    // It ran already before: so it may run on. What is kept of that is made to say that it did not.
    let current = tree.state().join("current.json");
    let text = std::fs::read_to_string(&current).unwrap();
    let before = r#"{"known":true,"enabled":true,"active":true}"#;
    assert!(text.contains(before), "{text}");
    std::fs::write(&current, text.replace(before, r#"{"known":false,"enabled":null,"active":false}"#))
        .unwrap();
    let removed = applier.remove_all(&mut Vec::new()).unwrap();
    expect(&removed.outcome, ApplyResult::Applied);
    let told = ["unit stubborn.service still runs", "unit stubborn.service still starts with the system"];
    assert_eq!(removed.left_over, told);
}
