//! The store alone: what it promises, and what it refuses.

mod journal;
mod leaves;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{Change, EventKind, Group, GroupName, Lease, LeaseState, MacAddr, Node, Timestamp};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Tries again while it is locked. Other tests start programs: for a moment, until such a one begins, it holds the lock of a store that
/// was just closed.
fn unlocked<T>(attempt: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    for _ in 0..200 {
        match attempt() {
            Err(StoreError::Locked(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
            done => return done,
        }
    }
    panic!("the store stays locked");
}

fn open(dir: &TempDir) -> Store {
    unlocked(|| Store::open(dir.path())).expect("the store opens")
}

/// What lies in it, without us.
fn raw(dir: &TempDir) -> sled::Db {
    let folder = dir.path().join("db");
    unlocked(|| sled::open(&folder).map_err(|error| database::open_error(&folder, error)))
        .expect("sled opens")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

fn lease(n: u8, expires: u64) -> Lease {
    Lease {
        ip: Ipv4Addr::new(10, 0, 0, n),
        mac: MacAddr([2, 0, 0, 0, 0, n]),
        state: LeaseState::Bound,
        expires: Timestamp(expires),
        reserved: false,
        hostname: None,
    }
}

fn node(n: u8) -> Node {
    let name = format!("n{n}").parse().expect("a name");
    Node::discovered(NodeId(n.into()), name, MacAddr([2, 0, 0, 0, 0, n]), Timestamp(0))
}

fn report(text: &str) -> EventKind {
    EventKind::Report { phase: text.into(), message: String::new() }
}

/// Commits one change that cannot be refused.
async fn put(store: &Store, change: Change) {
    let done: Result<(), StoreError> = store
        .transact(move |tx| {
            tx.put(change);
            Ok(())
        })
        .await;
    done.expect("it commits");
}

#[test]
fn a_restart_finds_everything() {
    let dir = folder();
    runtime().block_on(async {
        let store = open(&dir);
        put(&store, Change::put_node(node(1))).await;
        put(&store, Change::PutLease(lease(1, 5))).await;
        let group = Group {
            name: "web".parse().expect("a name"),
            pin: None,
            bundles: Vec::new(),
            created: Timestamp(3),
        };
        put(&store, Change::PutGroup(group)).await;
        let told: Result<(), StoreError> = store
            .transact(|tx| {
                let node = tx.world().node(NodeId(1)).cloned();
                tx.append(Timestamp(7), node.as_ref(), Some("root"), report("here"));
                tx.append(Timestamp(8), None, None, report(&"large".repeat(50_000)));
                Ok(())
            })
            .await;
        told.expect("it commits");
        put(&store, Change::DeleteLease(Ipv4Addr::new(10, 0, 0, 9))).await;
        store.close();

        let store = open(&dir);
        let world = store.view();
        assert_eq!(world.node(NodeId(1)), Some(&node(1)));
        assert_eq!(world.lease(Ipv4Addr::new(10, 0, 0, 1)), Some(&lease(1, 5)));
        assert!(world.group(&"web".parse::<GroupName>().expect("a name")).is_some());
        assert_eq!(world.next_seq(), 3, "numbers go on");
        let events =
            store.events(&EventQuery { node: Some(NodeId(1)), after: None, limit: 10 }).expect("events");
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1]);
        let all = store.events(&EventQuery { node: None, after: Some(0), limit: 10 }).expect("events");
        assert_eq!(all.len(), 2);
        assert!(
            matches!(&all[1].kind, EventKind::Report { phase, .. } if phase.len() == 250_000),
            "a blob reads back"
        );
    });
}

#[test]
fn a_refused_or_broken_transaction_leaves_nothing_and_harms_nobody() {
    let dir = folder();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime(), async {
        let store = Arc::new(open(&dir));
        let group: Vec<_> = (0..30_u8)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::task::spawn_local(async move {
                    store
                        .transact(move |tx| {
                            tx.put(Change::PutLease(lease(n, 1)));
                            match n % 3 {
                                0 => Ok(()),
                                1 => Err(StoreError::Database("refused".into())),
                                _ => panic!("a defect in transaction {n}"),
                            }
                        })
                        .await
                })
            })
            .collect();
        for (n, task) in group.into_iter().enumerate() {
            let answer = task.await.expect("the task ends");
            match n % 3 {
                0 => assert!(answer.is_ok(), "{n}: {answer:?}"),
                1 => assert!(matches!(answer, Err(StoreError::Database(_))), "{n}: {answer:?}"),
                _ => assert!(matches!(answer, Err(StoreError::Closed)), "{n}: {answer:?}"),
            }
        }
        let kept: Vec<u8> = store.view().leases().map(|lease| lease.ip.octets()[3]).collect();
        assert_eq!(kept, (0..30).step_by(3).collect::<Vec<u8>>());
    });
}

#[test]
fn readers_see_only_what_is_durable_and_followers_see_all_of_it_in_order() {
    let dir = folder();
    runtime().block_on(async {
        let store = open(&dir);
        let mut feed = store.subscribe();
        let before = store.view();
        for n in 0..100_u64 {
            let told: Result<(), StoreError> = store
                .transact(move |tx| {
                    tx.append(Timestamp(n), None, None, report(&n.to_string()));
                    Ok(())
                })
                .await;
            told.expect("it commits");
        }
        assert_eq!(before.next_seq(), 1, "a view stays what it was");
        assert_eq!(store.view().next_seq(), 101);
        for n in 0..100 {
            assert_eq!(feed.recv().await.expect("an event").seq, n + 1);
        }
        let newest = store.events(&EventQuery { node: None, after: None, limit: 3 }).expect("events");
        assert_eq!(newest.iter().map(|event| event.seq).collect::<Vec<_>>(), [98, 99, 100]);
        let next = store.events(&EventQuery { node: None, after: Some(10), limit: 3 }).expect("events");
        assert_eq!(next.iter().map(|event| event.seq).collect::<Vec<_>>(), [11, 12, 13]);
    });
}

#[test]
fn what_cannot_be_opened_says_why() {
    let dir = folder();
    let first = open(&dir);
    assert!(matches!(Store::open(dir.path()).err(), Some(StoreError::Locked(_))), "two at once");
    first.close();

    let write = |key: &[u8], value: &[u8]| {
        let db = raw(&dir);
        db.insert(key, value).expect("it writes");
        db.flush().expect("it flushes");
    };
    write(b"n12345678", b"{ not a node");
    let refused = || unlocked(|| Store::open(dir.path())).err();
    let error = refused().expect("a broken record").to_string();
    assert!(error.contains("n12345678") && error.contains("restore a backup"), "{error}");
    write(codec::SCHEMA_KEY, b"99");
    let error = refused().expect("a newer schema").to_string();
    assert!(error.contains("schema 99") && error.contains("newer"), "{error}");

    let file = dir.path().join("a-file");
    std::fs::write(&file, b"").expect("write a file");
    assert!(matches!(Store::open(&file).err(), Some(StoreError::Io { .. })), "a file in the folder's place");
}

/// The numbers of the events that a query finds, and whether each is what was written: even ones are node 2's, odd ones node 1's.
fn found(store: &Store, node: Option<u64>, after: Option<u64>, limit: usize) -> Vec<u64> {
    let events = store.events(&EventQuery { node: node.map(NodeId), after, limit }).expect("events");
    for event in &events {
        assert_eq!(event.node, Some(NodeId(if event.seq % 2 == 0 { 2 } else { 1 })), "{event:?}");
        assert_eq!(event.kind, report(&format!("line\n{}", event.seq)), "{event:?}");
    }
    events.iter().map(|event| event.seq).collect()
}

#[test]
fn the_past_is_found_however_it_was_written_down_and_the_oldest_goes_first() {
    let dir = folder();
    runtime().block_on(async {
        let mut store = open(&dir);
        let mut written = 0;
        // Alone, some together, more than lie together, and past what is kept.
        for count in [1_u64, 3, 64, 65, 200, 1, 700, 700, 700, 50] {
            let told: Result<(), StoreError> = store
                .transact(move |tx| {
                    for _ in 0..count {
                        let seq = tx.world().next_seq();
                        let node = node(if seq % 2 == 0 { 2 } else { 1 });
                        tx.append(Timestamp(seq), Some(&node), None, report(&format!("line\n{seq}")));
                    }
                    Ok(())
                })
                .await;
            told.expect("it commits");
            written += count;
            store.close();
            store = open(&dir);
            assert_eq!(store.view().next_seq(), written + 1, "numbers go on");
            let all = found(&store, None, Some(0), 10_000);
            let oldest = *all.first().expect("events");
            assert_eq!(all, (oldest..=written).collect::<Vec<_>>());
            assert!(all.len() <= 2_300, "{} are kept", all.len());
            assert!(oldest == 1 || all.len() >= 2_000, "{} are kept", all.len());
            for node in [1, 2] {
                let own: Vec<u64> = all.iter().copied().filter(|seq| 2 - seq % 2 == node).collect();
                assert_eq!(found(&store, Some(node), Some(0), 10_000), own);
                let last: Vec<u64> = own.iter().copied().rev().take(3).rev().collect();
                assert_eq!(found(&store, Some(node), None, 3), last, "the newest");
                let next: Vec<u64> = own.iter().copied().filter(|seq| *seq > 66).take(3).collect();
                assert_eq!(found(&store, Some(node), Some(66), 3), next, "the next");
            }
            let last: Vec<u64> = all.iter().copied().rev().take(70).rev().collect();
            assert_eq!(found(&store, None, None, 70), last);
        }
        assert!(found(&store, None, Some(0), 1)[0] > 1, "something was to go");
    });
}

#[test]
fn what_an_older_firstlight_wrote_is_read() {
    let dir = folder();
    let db = raw(&dir);
    for seq in 1..=3_u64 {
        let id = NodeId(2 - seq % 2);
        let name = Some(node(1).name);
        let kind = report(&format!("line\n{seq}"));
        let event = Event { seq, at: Timestamp(seq), node: Some(id), name, actor: None, kind };
        db.insert(codec::event_key(seq), codec::encode(&event).expect("JSON")).expect("it writes");
        let timeline = [&b"t"[..], &id.0.to_be_bytes(), &seq.to_be_bytes()].concat();
        db.insert(timeline, Vec::new()).expect("it writes");
    }
    // More than are moved at once.
    let leases = |n: u16| Lease { ip: Ipv4Addr::from_bits(0x0a00_0000 + u32::from(n)), ..lease(1, n.into()) };
    for n in 0..5_000 {
        db.insert(codec::lease_key(leases(n).ip), codec::encode(&leases(n)).expect("JSON"))
            .expect("it writes");
    }
    db.insert([&b"n"[..], &1_u64.to_be_bytes()].concat(), codec::encode(&node(1)).expect("JSON"))
        .expect("it writes");
    db.insert(codec::SCHEMA_KEY, b"1").expect("it writes");
    db.flush().expect("it flushes");
    drop(db);
    let store = open(&dir);
    assert_eq!(found(&store, None, Some(0), 10), [1, 2, 3]);
    assert_eq!(found(&store, Some(1), None, 10), [1, 3]);
    assert_eq!(store.view().node(NodeId(1)), Some(&node(1)));
    assert_eq!(
        store.view().leases().cloned().collect::<Vec<_>>(),
        (0..5_000).map(leases).collect::<Vec<_>>()
    );
    store.close();
    let db = raw(&dir);
    assert_eq!(db.scan_prefix(b"t").count(), 0, "timelines are not written down any more");
    assert_eq!(db.scan_prefix(b"l").count(), 0, "leases lie in leaves");
    assert!((1_000..3_000).contains(&db.scan_prefix(b"rl").count()), "some to a leaf");
    assert_eq!(db.get(codec::SCHEMA_KEY).expect("it reads").expect("a schema"), b"4");
}

#[test]
fn moving_records_goes_on_where_it_was_cut_off() {
    let dir = folder();
    runtime().block_on(async {
        let store = open(&dir);
        for n in 0..3 {
            put(&store, Change::PutLease(lease(n, 1))).await;
        }
        store.close();
    });
    let db = raw(&dir);
    for n in 3..5 {
        let value = codec::encode(&lease(n, 1)).expect("JSON");
        db.insert(codec::lease_key(lease(n, 1).ip), value).expect("it writes");
    }
    db.insert(codec::MOVING, Vec::new()).expect("it writes");
    db.flush().expect("it flushes");
    drop(db);
    for _ in 0..2 {
        let store = open(&dir);
        assert_eq!(
            store.view().leases().cloned().collect::<Vec<_>>(),
            (0..5).map(|n| lease(n, 1)).collect::<Vec<_>>()
        );
        store.close();
    }
    let db = raw(&dir);
    assert_eq!((db.scan_prefix(b"l").count(), db.contains_key(codec::MOVING)), (0, Ok(false)));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u64),
    Delete(u8),
    Refused(u8),
    Reopen,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is done to it, the store holds what a plain map would.
    #[test]
    fn it_is_a_map(steps in prop::collection::vec(
        prop_oneof![
            4 => (0..8_u8, any::<u64>()).prop_map(|(n, at)| Step::Put(n, at)),
            2 => (0..8_u8).prop_map(Step::Delete),
            1 => (0..8_u8).prop_map(Step::Refused),
            1 => Just(Step::Reopen),
        ], 1..40))
    {
        let dir = folder();
        runtime().block_on(async {
            let mut store = open(&dir);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(n, at) => {
                        put(&store, Change::PutLease(lease(n, at))).await;
                        model.insert(lease(n, at).ip, lease(n, at));
                    }
                    Step::Delete(n) => {
                        put(&store, Change::DeleteLease(lease(n, 0).ip)).await;
                        model.remove(&lease(n, 0).ip);
                    }
                    Step::Refused(n) => {
                        let refused: Result<(), StoreError> = store
                            .transact(move |tx| {
                                tx.put(Change::DeleteLease(lease(n, 0).ip));
                                Err(StoreError::Closed)
                            })
                            .await;
                        prop_assert!(refused.is_err());
                    }
                    Step::Reopen => {
                        store.close();
                        store = open(&dir);
                    }
                }
                let held: Vec<Lease> = store.view().leases().cloned().collect();
                prop_assert_eq!(held, model.values().cloned().collect::<Vec<_>>());
            }
            Ok(())
        })?;
    }
}
