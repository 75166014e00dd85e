//! The journal: what it gives back, and when it says that the disk has lost something.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::store::codec::Write;
use crate::store::journal::{Journal, SIZE, encode};

const BLOCK: usize = 4096;

/// The `n`th commit: a few writes, some with a value of `size` bytes.
fn commit(n: u8, size: usize) -> Vec<Write> {
    vec![(vec![n], Some(vec![n; size])), (vec![n, n], None), (b"last".to_vec(), Some(vec![n]))]
}

fn opened(path: &Path) -> (Journal, Vec<Vec<Write>>) {
    Journal::open(path, SIZE).expect("it opens")
}

/// A journal with these commits.
fn written(path: &Path, order: u64, commits: &[Vec<Write>]) -> Journal {
    let (mut journal, _) = opened(path);
    journal.begin(order).expect("it begins");
    for commit in commits {
        let payload = encode(commit);
        assert!(journal.has_room(payload.len()));
        journal.append(&payload).expect("it is written");
    }
    journal
}

#[test]
fn all_but_what_was_cut_off_is_read_back() {
    let dir = folder();
    let path = dir.path().join("0");
    let commits: Vec<Vec<Write>> =
        [10, 9000, 0, 6000].into_iter().zip(1..).map(|(size, n)| commit(n, size)).collect();
    written(&path, 7, &commits);
    assert_eq!(opened(&path).1, commits);
    let whole = std::fs::read(&path).expect("it is there");
    // The last record takes up two blocks: cut off anywhere within what it holds, it is not there.
    let last = BLOCK * 6;
    for at in (0..6100).step_by(97) {
        let mut torn = whole.clone();
        torn[last + at..].fill(0);
        std::fs::write(&path, &torn).expect("it is written");
        assert_eq!(opened(&path).1, commits[..3], "cut at {at}");
        torn.truncate(last + at);
        std::fs::write(&path, &torn).expect("it is written");
        assert!(at % BLOCK != 0 || opened(&path).1 == commits[..3], "the file ends at {at}");
    }
    // Written in part, in any order.
    let mut torn = whole;
    torn[last..last + BLOCK].fill(0);
    std::fs::write(&path, &torn).expect("it is written");
    assert_eq!(opened(&path).1, commits[..3]);
}

#[test]
fn a_durable_record_that_is_damaged_is_an_error() {
    let dir = folder();
    let path = dir.path().join("0");
    let commits: Vec<Vec<Write>> = (1..5).map(|n| commit(n, 10)).collect();
    written(&path, 7, &commits);
    let whole = std::fs::read(&path).expect("it is there");
    for block in 1..4 {
        for at in [0, 9, 45, 60, 70, 90, 100] {
            let mut damaged = whole.clone();
            damaged[block * BLOCK + at] ^= 1;
            std::fs::write(&path, &damaged).expect("it is written");
            let error = Journal::open(&path, SIZE).expect_err("damaged").to_string();
            let place = format!("at byte {} of {}", block * BLOCK, path.display());
            assert!(error.contains(&place) && error.contains("restore a backup"), "{block}, {at}: {error}");
        }
    }
}

#[test]
fn an_earlier_use_of_the_file_is_forgotten() {
    let dir = folder();
    let path = dir.path().join("0");
    let many: Vec<Vec<Write>> = (1..20).map(|n| commit(n, 10)).collect();
    let mut journal = written(&path, 7, &many);
    for order in 8..12 {
        journal.begin(order).expect("it begins");
        let (reopened, commits) = opened(&path);
        assert_eq!((commits.len(), reopened.order(), reopened.is_empty()), (0, order, true));
        // As many as last time, so that old records of that number follow.
        let few = &many[..=usize::try_from(order).expect("small") % 3];
        for commit in few {
            journal.append(&encode(commit)).expect("it is written");
        }
        assert_eq!(opened(&path).1, few);
    }
    // Whoever was about to use it again had all of it elsewhere.
    let mut torn = std::fs::read(&path).expect("it is there");
    torn[..512].fill(0);
    std::fs::write(&path, &torn).expect("it is written");
    let (journal, commits) = opened(&path);
    assert!(journal.is_empty() && commits.is_empty());
}

#[test]
fn the_newer_journal_counts_whichever_file_it_is_in() {
    for (first, second) in [("0", "1"), ("1", "0")] {
        let dir = folder();
        let journals = dir.path().join("journal");
        std::fs::create_dir(&journals).expect("a folder");
        let put = |n: u8| {
            vec![(codec::lease_key(lease(1, 0).ip), Some(codec::encode(&lease(1, n.into())).expect("JSON")))]
        };
        written(&journals.join(first), 5, &[put(1), put(2)]);
        written(&journals.join(second), 6, &[put(3), put(4)]);
        let store = open(&dir);
        assert_eq!(store.view().lease(lease(1, 0).ip), Some(&lease(1, 4)));
        store.close();
        // They are empty now, and what comes is newer.
        assert!(["0", "1"].iter().all(|name| opened(&journals.join(name)).1.is_empty()));
        runtime().block_on(async {
            let store = open(&dir);
            put_lease(&store, 9).await;
            store.close();
            assert_eq!(open(&dir).view().lease(lease(1, 0).ip), Some(&lease(1, 9)));
        });
    }
}

async fn put_lease(store: &Store, at: u64) {
    super::put(store, Change::PutLease(lease(1, at))).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

#[test]
fn what_the_database_did_not_take_over_is_read_from_the_journal() {
    let (dir, cut) = (folder(), folder());
    open(&dir).close();
    runtime().block_on(async {
        let store = open(&dir);
        copy(&dir.path().join("db"), &cut.path().join("db"));
        for at in 1..20 {
            put_lease(&store, at).await;
        }
        let told: Result<(), StoreError> = store
            .transact(|tx| {
                tx.append(Timestamp(1), Some(&node(1)), None, report("here"));
                Ok(())
            })
            .await;
        told.expect("it commits");
        // The power is cut: the database has nothing of it, and nobody closes anything.
        copy(&dir.path().join("journal"), &cut.path().join("journal"));
        let after = open(&cut);
        assert_eq!(after.view().lease(lease(1, 0).ip), Some(&lease(1, 19)));
        assert_eq!(after.view().next_seq(), 2);
        let events =
            after.events(&EventQuery { node: Some(NodeId(1)), after: None, limit: 9 }).expect("events");
        assert_eq!(events.len(), 1);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Commits small and large, some larger than a journal: what is read is what was committed last, at once and after a restart.
    #[test]
    fn whatever_way_a_commit_takes_it_is_found(sizes in prop::collection::vec(
        prop_oneof![6 => 0..2000_usize, 3 => 2000..60_000_usize, 1 => 120_000..300_000_usize], 1..60), reopen in 0..60_usize)
    {
        let dir = folder();
        runtime().block_on(async {
            let mut store = open(&dir);
            let mut contents = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                let content = format!("{n} {}", "x".repeat(*size));
                let kind = report(&content);
                let told: Result<(), StoreError> = store
                    .transact(move |tx| {
                        tx.append(Timestamp(1), Some(&node(1)), None, kind);
                        tx.put(Change::PutLease(lease(1, n as u64)));
                        Ok(())
                    })
                    .await;
                told.expect("it commits");
                contents.push(report(&content));
                if n == reopen {
                    store.close();
                    store = open(&dir);
                }
                let events = store.events(&EventQuery { node: Some(NodeId(1)), after: Some(0), limit: 100 }).expect("events");
                prop_assert_eq!(events.into_iter().map(|event| event.kind).collect::<Vec<_>>(), contents.clone());
            }
            store.close();
            let store = open(&dir);
            let world = store.view();
            prop_assert_eq!(world.lease(lease(1, 0).ip), Some(&lease(1, sizes.len() as u64 - 1)));
            prop_assert_eq!(world.next_seq(), sizes.len() as u64 + 1);
            Ok(())
        })?;
    }
}
