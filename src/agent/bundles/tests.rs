//! What signs of life tell of bundles, and how long they wait for it.

use super::super::apply::{Machine, Place};
use super::*;
use crate::bundle::desired::Desired;

#[test]
fn a_sign_of_life_stays_small_whatever_happened_to_the_host() {
    let outcome = Outcome {
        generation: "g".repeat(64),
        result: ApplyResult::Broken,
        reason: "ä\n".repeat(100_000),
        bundle: None,
        changes: vec!["file /etc/x".into(); 8192],
        left_over: vec!["/etc/x".into(); 8192],
        elapsed_ms: 1,
    };
    let applied = Applied {
        last: Some(outcome),
        drift: vec!["/etc/".repeat(50); 8192],
        unhealthy: vec!["check".into(); 1024],
        ..Applied::default()
    };
    let told = brief(applied);
    assert!(serde_json::to_vec(&told).expect("JSON").len() < 64 << 10);
    assert_eq!((told.drift.len(), told.unhealthy.len()), (TOLD, TOLD));
    assert!(told.last.expect("it").reason.starts_with("ä\nä\n"), "its lines are kept");
}

#[tokio::test]
async fn a_host_that_never_had_bundles_says_so_and_one_that_cannot_tell_says_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bundles = Bundles::open(&folder.path().join("none"));
    assert_eq!(bundles.observed().await, (false, Some(Applied::default())));
    std::fs::write(folder.path().join("file"), "").expect("write");
    let mut bundles = Bundles::open(&folder.path().join("file"));
    assert!(bundles.is_busy(), "it looks what a crash has left");
    assert_eq!(bundles.observed().await, (false, None));
}

/// A host whose generation has a check that takes long from some time on.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_check_does_not_hold_a_sign_of_life_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, slow) = (folder.path().join("root"), folder.path().join("slow"));
    std::fs::create_dir(&root).expect("a folder");
    let machine = Machine { place: Place::outside(&root), packages: None, units: None };
    let applier = Applier::with(&root, &folder.path().join("state"), machine).expect("an applier");
    let script = format!("[ ! -e {0} ] || {{ sleep 8; [ ! -e {0} ]; }}", slow.display());
    let desired: Desired = serde_json::from_value(serde_json::json!({ "bundles": [{
        "bundle": "a@1",
        "health": [{
            "name": "slow", "probe": { "command": ["/bin/sh", "-c", script] },
            "timeout_seconds": 60, "within_seconds": 60, "interval_seconds": 1,
        }],
    }]}))
    .expect("a generation");
    let outcome = applier.apply(&desired, "g1", &mut Traced);
    assert!(matches!(outcome.result, ApplyResult::Applied | ApplyResult::Unchanged), "{outcome:?}");
    let mut bundles = Bundles::open(&folder.path().join("none"));
    bundles.applier = Some(Arc::new(applier));
    let (busy, seen) = bundles.observed().await;
    let seen = seen.expect("what it has");
    assert_eq!((busy, seen.generation.as_str(), seen.unhealthy.len()), (false, "g1", 0));

    std::fs::write(&slow, "").expect("write");
    let started = Instant::now();
    assert_eq!(bundles.observed().await.1, Some(seen), "what was seen last");
    assert!(started.elapsed() < LOOK * 2, "{:?}", started.elapsed());
    while bundles.observed().await.1.is_some_and(|seen| seen.unhealthy.is_empty()) {
        assert!(started.elapsed() < Duration::from_secs(60), "the look ends");
    }
    assert_eq!(bundles.observed().await.1.expect("it").unhealthy, ["a@1: slow"]);
}
