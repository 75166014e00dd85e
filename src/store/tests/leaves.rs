//! Leaves: what is written into them is what is read, and they stay small.

use proptest::prelude::*;

use super::*;
use crate::store::codec::{Put, Write};
use crate::store::leaves::{LEAF, lies_in_one, merge, records};

/// A database with leaves alone.
fn database() -> sled::Db {
    sled::Config::new().temporary(true).open().expect("sled opens")
}

type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn write(db: &sled::Db, writes: &Model) -> Vec<Write> {
    let writes: Vec<Put<'_>> = writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    let changed = merge(db, &writes).expect("leaves");
    for (key, value) in &changed {
        match value {
            Some(value) => drop(db.insert(key, value.as_slice()).expect("it writes")),
            None => drop(db.remove(key).expect("it writes")),
        }
    }
    changed
}

/// All records, and how many bytes each leaf holds. Each leaf holds those of its table from its own key up to the next one.
fn read(db: &sled::Db) -> (BTreeMap<Vec<u8>, Vec<u8>>, Vec<usize>) {
    let leaves: Vec<_> = db.iter().map(|leaf| leaf.expect("it reads")).collect();
    let mut all = BTreeMap::new();
    for (at, (key, value)) in leaves.iter().enumerate() {
        let held = records(key, value).expect("a leaf").expect("whole records");
        assert!(!held.is_empty(), "an empty leaf stays at {key:?}");
        let next = leaves.get(at + 1).map(|(next, _)| &next[1..]);
        for (record, value) in held {
            assert!(
                record >= &key[1..] && next.is_none_or(|next| record < next),
                "{record:?} lies in {key:?}"
            );
            assert_eq!(record.first(), key.get(1), "of one table");
            assert_eq!(all.insert(record.to_vec(), value.to_vec()), None, "each lies there once");
        }
    }
    (all, leaves.iter().map(|(_, value)| value.len()).collect())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(&b"ln6"[..]), prop_oneof![0..40_u16, any::<u16>()])
        .prop_map(|(table, n)| [&[table][..], &n.to_be_bytes()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn they_are_a_map(rounds in prop::collection::vec(
        prop::collection::btree_map(key(), prop::option::of(0..120_usize), 1..60), 1..12))
    {
        let (db, mut model) = (database(), BTreeMap::new());
        for round in rounds {
            let writes: Model = round
                .into_iter()
                .map(|(key, size)| (key.clone(), size.map(|size| key.iter().copied().cycle().take(size).collect())))
                .collect();
            write(&db, &writes);
            for (key, value) in writes {
                match value {
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
            let (all, sizes) = read(&db);
            prop_assert_eq!(&all, &model);
            prop_assert!(sizes.iter().all(|size| *size <= 2 * LEAF + 131), "{sizes:?}");
        }
    }
}

fn numbered(from: u16, to: u16, size: usize) -> Model {
    (from..to).map(|n| ([&b"l"[..], &n.to_be_bytes()].concat(), Some(vec![7; size]))).collect()
}

#[test]
fn they_are_full_where_records_come_in_order_and_few_are_written_again() {
    let db = database();
    for at in 0..100 {
        let changed = write(&db, &numbered(at * 3, at * 3 + 3, 20));
        assert!(changed.len() <= 2, "{} leaves are written for three records", changed.len());
    }
    let (all, sizes) = read(&db);
    assert_eq!(all.len(), 300);
    assert!(sizes.iter().rev().skip(1).all(|size| *size >= LEAF), "{sizes:?}");
    // The same again: nothing is written.
    assert_eq!(write(&db, &numbered(0, 300, 20)), []);
    // One record that changes is one leaf, and none is divided for it.
    assert_eq!(write(&db, &numbered(77, 78, 21)).len(), 1);
    // A record of its own size lies where it belongs.
    write(&db, &numbered(100, 101, 9 * LEAF));
    assert_eq!(read(&db).0.len(), 300);
    let none: Model = numbered(0, 300, 0).into_keys().map(|key| (key, None)).collect();
    write(&db, &none);
    assert_eq!(db.len(), 0, "empty leaves go");
}

/// What a leaf held may be all that stands in the last of those it is divided into.
#[test]
fn a_part_that_is_as_the_whole_was_is_written() {
    let db = database();
    // It begins below what it holds.
    let removed = (b"l\0\0".to_vec(), None);
    write(&db, &numbered(50, 55, 40).into_iter().chain([removed]).collect());
    let (_, whole) = read(&db);
    write(&db, &numbered(1, 21, 40));
    let (all, sizes) = read(&db);
    assert_eq!((all.len(), whole.len(), sizes.last()), (25, 1, whole.first()));
}

#[test]
fn what_is_looked_for_by_its_key_lies_alone() {
    for (key, expected) in [
        (codec::lease_key(Ipv4Addr::LOCALHOST), true),
        (b"n12345678".to_vec(), true),
        (codec::event_key(7), false),
        (codec::inventory_key(NodeId(1), Timestamp(1)), false),
        (codec::SCHEMA_KEY.to_vec(), false),
        (b"rl".to_vec(), false),
        (Vec::new(), false),
    ] {
        assert_eq!(lies_in_one(&key), expected, "{}", key.escape_ascii());
    }
}

#[test]
fn a_damaged_leaf_is_an_error() {
    let db = database();
    write(&db, &numbered(0, 5, 20));
    let (key, value) = db.first().expect("it reads").expect("a leaf");
    for cut in 1..value.len() {
        let whole = records(&key, &value[..cut]).expect("a leaf");
        let error = whole.map_or_else(|error| error.to_string(), |held| format!("{} records", held.len()));
        // Records that end where it was cut are whole: sled sums what it writes.
        assert!(error.contains("restore a backup") || cut % 31 == 0, "cut at {cut}: {error}");
        db.insert(&key, &value[..cut]).expect("it writes");
        let writes = numbered(2, 3, 20);
        let writes: Vec<Put<'_>> =
            writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        assert_eq!(merge(&db, &writes).is_err(), cut % 31 != 0, "cut at {cut}");
    }
}
