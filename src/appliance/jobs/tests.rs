//! Jobs of nodes that are cut off, tell twice, are installed anew or go: on a store of their own, with no network.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::appliance::{Actor, CheckIn, InstallReport};

use crate::boot::{FirmwareTable, Place, Scripts};
use crate::bundle::desired::Applied;
use crate::bundle::secret::SecretKey;
use crate::config::Config;

use crate::model::{Certificate, MacAddr, Order, Selector, Sha256Digest, State};
use crate::store::blobs::Blobs;
use crate::store::{EventQuery, Store};
use crate::trust::Authority;

const NODE: NodeId = NodeId(1);
const OLD: Duration = Duration::from_secs(60);

async fn open(folder: &Path) -> Appliance {
    let text = format!(
        "state_dir = \"{}\"\n[[network]]\ninterface = \"eth1\"\nsubnet = \"10.77.0.0/24\"\nranges = [\"10.77.0.100-10.77.0.200\"]\n",
        folder.display()
    );
    let config = Arc::new(Config::parse(&text, Path::new("firstlight.toml")).expect("a configuration"));
    Appliance::new(
        Arc::clone(&config),
        Arc::new(FirmwareTable::new(&[]).expect("a table")),
        Scripts::new(&[]).expect("scripts"),
        Store::open(folder).expect("a store"),
        Blobs::open(folder).await.expect("blobs"),
        Authority::open(&folder.join("ca")).expect("an authority"),
        SecretKey::generate(),
    )
}

/// An appliance that knows one node, which is ready.
async fn appliance() -> (TempDir, Appliance) {
    let folder = tempfile::tempdir().expect("a folder");
    let appliance = open(folder.path()).await;
    let mut node =
        Node::discovered(NODE, "n1".parse().expect("a name"), MacAddr([2, 0, 0, 0, 0, 1]), Timestamp(1));
    node.state = State::Ready;
    node.observed.boot_id = Some("b".into());
    node.certificates =
        vec![Certificate { fingerprint: Sha256Digest([7; 32]), expires: Timestamp(u64::MAX) }];
    put(&appliance, Change::put_node(node)).await;
    (folder, appliance)
}

async fn put(appliance: &Appliance, change: Change) {
    let put = appliance.store.transact(move |tx| {
        tx.put(change);
        Ok::<_, AppError>(())
    });
    put.await.expect("written");
}

async fn edit(appliance: &Appliance, edit: impl FnOnce(&mut Node)) {
    let mut node = node(appliance);
    edit(&mut node);
    put(appliance, Change::put_node(node)).await;
}

fn node(appliance: &Appliance) -> Node {
    appliance.view().node(NODE).expect("the node").clone()
}

fn caller() -> Caller {
    Caller::Certificate { fingerprint: Sha256Digest([7; 32]), ip: [10, 77, 0, 21].into() }
}

fn actor() -> Actor {
    Actor("root".into())
}

fn sign(place: Place, busy: Option<bool>, bundles: Option<Applied>) -> CheckIn {
    CheckIn {
        place,
        boot_id: "b".into(),
        kernel: "6.1".into(),
        phase: if place == Place::Host { "ready" } else { "waiting" }.into(),
        message: String::new(),
        progress: None,
        drained: false,
        left: false,
        busy,
        os: None,
        image: None,
        disk: None,
        bundles,
        serf: None,
        evicted: Vec::new(),
    }
}

fn applied(generation: &str, last: Option<Outcome>) -> Applied {
    Applied { generation: generation.into(), last, ..Applied::default() }
}

fn outcome(result: ApplyResult, reason: &str) -> Outcome {
    let (reason, generation) = (reason.to_owned(), "g1".to_owned());
    let (changes, left_over) = (Vec::new(), Vec::new());
    Outcome { generation, result, reason, bundle: None, changes, left_over, elapsed_ms: 5 }
}

fn report(run: &str, lines: &[&str], outcome: Option<Outcome>) -> JobReport {
    JobReport {
        kind: "apply".into(),
        subject: "g1".into(),
        run: run.into(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        outcome,
        bundles: vec!["etcd@2".into()],
    }
}

fn job(appliance: &Appliance, id: u64) -> Job {
    appliance.view().job(id).expect("the job").clone()
}

/// Makes a job begin a minute earlier than it did.
async fn age(appliance: &Appliance, id: u64) {
    let job = job(appliance, id);
    let started = Timestamp(job.started.0 - u64::try_from(OLD.as_millis()).expect("small"));
    put(appliance, Change::PutJob(Job { started, ..job })).await;
}

fn told(appliance: &Appliance) -> usize {
    let events = appliance.store.events(&EventQuery { node: Some(NODE), after: None, limit: 100 });
    let events = events.expect("events");
    events.iter().filter(|event| matches!(event.kind, EventKind::Configured { .. })).count()
}

#[tokio::test]
async fn a_job_that_the_node_does_not_do_any_more_ends() {
    let (host, rolled) = (Place::Host, outcome(ApplyResult::RolledBack, "the host went down\n  in it"));
    for (name, place, busy, bundles, old, result) in [
        ("it is at it", host, Some(true), Some(applied("", None)), true, ""),
        ("an agent of before", host, None, Some(applied("", None)), true, ""),
        ("it began just now", host, Some(false), Some(applied("", None)), false, ""),
        ("it cannot tell yet", host, Some(false), None, true, ""),
        (
            "rolled back at its start",
            host,
            Some(false),
            Some(applied("g0", Some(rolled))),
            true,
            "rolled-back",
        ),
        ("done, and not told", host, Some(false), Some(applied("g1", None)), true, "applied"),
        ("nothing is left of it", host, Some(false), Some(applied("g0", None)), true, "lost"),
        ("it is in its ramdisk", Place::Ramdisk, Some(false), None, true, "lost"),
    ] {
        let (_folder, appliance) = appliance().await;
        let id = appliance.job_report(caller(), report("r1", &["a"], None)).await.expect("taken");
        if old {
            age(&appliance, id).await;
        }
        appliance.check_in(caller(), sign(place, busy, bundles)).await.expect("taken");
        let job = job(&appliance, id);
        assert_eq!((job.result.as_str(), job.ended.is_some()), (result, !result.is_empty()), "{name}");
        assert_eq!(told(&appliance), usize::from(!result.is_empty()), "{name}: it is on the timeline");
        assert_eq!(job.cut_off, ["lost", "rolled-back"].contains(&result), "{name}");
        if result == "rolled-back" {
            assert_eq!(job.reason, "the host went down\n  in it", "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_told_twice_is_one_job() {
    let (_folder, appliance) = appliance().await;
    let ended = || Some(outcome(ApplyResult::RolledBack, &"why\n\u{1b}[1m".repeat(2_000)));
    let first = appliance.job_report(caller(), report("r1", &["one"], None)).await.expect("taken");
    for lines in [&["two"][..], &["two"]] {
        let again = appliance.job_report(caller(), report("r1", lines, ended())).await.expect("taken");
        assert_eq!(again, first);
    }
    assert_eq!((appliance.jobs(None, 9).len(), told(&appliance)), (1, 1));
    assert_eq!(appliance.job_log(first, 0).expect("its output").text, "one\ntwo\n");
    let reason = job(&appliance, first).reason;
    assert!(reason.starts_with("why\n[1mwhy\n") && reason.len() <= 4096, "its lines are kept: {reason}");

    // Another run of the same is another job, and what the node was at before is lost.
    let second = appliance.job_report(caller(), report("r2", &[], None)).await.expect("taken");
    let third = appliance.job_report(caller(), report("r3", &[], None)).await.expect("taken");
    assert_eq!((second, third), (first + 1, first + 2));
    assert_eq!(job(&appliance, second).result, "lost");
}

#[tokio::test]
async fn a_node_that_is_installed_anew_has_no_bundles() {
    let (installing, retiring) = (State::Installing, State::Retiring);
    for (name, state, how) in [
        ("installed", installing, "installed"),
        ("wiped to be free", State::Reloading, "wiped"),
        ("wiped to be retired", retiring.clone(), "wiped"),
        ("retired as it is", State::Ready, "retired"),
    ] {
        let (_folder, appliance) = appliance().await;
        let id = appliance.job_report(caller(), report("r1", &[], None)).await.expect("taken");
        edit(&appliance, |node| {
            node.state = state;
            node.order = (how == "wiped").then_some(Order::Wipe);
            node.observed.bundles = Some(applied("g1", None));
        })
        .await;
        match how {
            "installed" => {
                let (image, disk) = ("debian@12".parse().expect("an image"), "SN".into());
                let report = InstallReport { image, disk, bytes: 1, elapsed_ms: 1 };
                appliance.installed(caller(), report).await.expect("taken");
            }
            "wiped" => appliance.wiped(caller(), Vec::new()).await.expect("taken"),
            _ => drop(appliance.retire(Selector::new("n1"), false, false, actor()).await.expect("retired")),
        }
        assert_eq!(node(&appliance).observed.bundles, None, "{name}");
        let gone = node(&appliance).state == State::Retired;
        assert_eq!(job(&appliance, id).ended.is_some(), gone, "{name}: nobody will tell of it any more");
    }
    // Whoever installed it: a host that has none says so.
    let (_folder, appliance) = appliance().await;
    edit(&appliance, |node| node.observed.bundles = Some(applied("g1", None))).await;
    appliance.check_in(caller(), sign(Place::Host, Some(false), None)).await.expect("taken");
    assert_eq!(node(&appliance).observed.bundles, Some(applied("g1", None)), "no news");
    let none = Some(Applied::default());
    appliance.check_in(caller(), sign(Place::Host, Some(false), none)).await.expect("taken");
    assert_eq!(node(&appliance).observed.bundles, Some(Applied::default()));
}

#[tokio::test]
async fn what_was_forgiven_is_so_after_a_restart() {
    let (folder, appliance) = appliance().await;
    let failed = Some(outcome(ApplyResult::RolledBack, "it does not start"));
    let id = appliance.job_report(caller(), report("r1", &[], failed)).await.expect("taken");
    assert!(retries(&appliance.view()).is_empty());
    appliance.retry_bundles(Selector::new("n1"), actor()).await.expect("forgiven");
    appliance.close();
    let appliance = open(folder.path()).await;
    let ended = job(&appliance, id).ended.expect("it ended");
    let retries = retries(&appliance.view());
    assert!(retries.get("etcd@2").is_some_and(|at| *at >= ended.0), "{retries:?}");
}
