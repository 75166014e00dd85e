//! Leaves: small records lie together in the database, a few kilobytes of neighbours below one key.
//!
//! sled 0.34 keeps at most 16 keys on a page (`Node::should_split`), and what it does for each that is written (log, split, consolidate a
//! page) costs far more than a hundred bytes are worth. So records that are read only when the state is opened lie in leaves, each
//! below the key of the record that it was begun with; a leaf holds those of its table from there up to the next leaf.
//! [`super::past`] does the like for events.

use std::collections::BTreeMap;

use sled::IVec;

use super::StoreError;
use super::codec::{self, Put, Write};
use super::database::database;

/// Bytes of a leaf that was filled from its beginning to its end. Sixteen of twice as many are on one page: up to 128 KiB, sled keeps
/// that in its log, and larger ones in files of their own.
pub const LEAF: usize = if cfg!(test) { 256 } else { 2 << 10 };

/// Before the keys of leaves.
const PREFIX: u8 = b'r';

/// A record's key and value.
type Record<'l> = (&'l [u8], &'l [u8]);

/// Whether a record of this key lies in a leaf. What is looked for by its key lies alone, and so does a leaf.
pub fn lies_in_one(key: &[u8]) -> bool {
    let alone = [codec::EVENT, codec::INVENTORY, codec::META, PREFIX];
    key.first().is_some_and(|table| !alone.contains(table))
}

/// The records of a leaf; `None` for what is no leaf.
pub fn records<'l>(key: &[u8], value: &'l [u8]) -> Option<Result<Vec<Record<'l>>, StoreError>> {
    (key.first() == Some(&PREFIX)).then(|| read(key, value))
}

fn read<'l>(key: &[u8], value: &'l [u8]) -> Result<Vec<Record<'l>>, StoreError> {
    let all = codec::unpack(value)
        .and_then(|all| all.into_iter().map(|(key, value)| Some((key, value?))).collect());
    all.ok_or_else(|| StoreError::Corrupt {
        key: key.escape_ascii().to_string(),
        cause: "it does not hold whole records".into(),
    })
}

/// What becomes of the leaves by these writes, which are in the order of their keys and all lie in leaves.
///
/// # Errors
/// When the database fails, or a leaf cannot be read.
pub fn merge(db: &sled::Db, mut writes: &[Put<'_>]) -> Result<Vec<Write>, StoreError> {
    let mut changed = Vec::new();
    while let Some((first, _)) = writes.first() {
        let start = [&[PREFIX][..], first].concat();
        let of_table = |(key, _): &(IVec, IVec)| key.get(..2) == start.get(..2);
        let failed = |error| database(&error);
        let there = db.range::<&[u8], _>(..=start.as_slice()).next_back().transpose().map_err(failed)?;
        let there = there.filter(of_table);
        let key = there.as_ref().map_or(start.as_slice(), |(key, _)| key);
        let next = db.get_gt(key).map_err(failed)?.filter(of_table);
        let end = next.as_ref().and_then(|(next, _)| next.get(1..));
        let count = writes
            .partition_point(|(key, _)| key.first() == first.first() && end.is_none_or(|end| *key < end));
        // The first is before the end, or there would be a nearer leaf.
        let (own, rest) = writes.split_at(count.max(1));
        changed.extend(merge_one(key, there.as_ref().map(|(_, value)| value.as_ref()), own)?);
        writes = rest;
    }
    Ok(changed)
}

/// What becomes of the leaf below `key`, which holds `old` or is begun.
fn merge_one(key: &[u8], old: Option<&[u8]>, writes: &[Put<'_>]) -> Result<Vec<Write>, StoreError> {
    let before = old.map_or(Ok(Vec::new()), |old| read(key, old))?;
    let grows = before.last().map(|(last, _)| last) < writes.first().map(|(first, _)| first);
    let mut records: BTreeMap<&[u8], &[u8]> = before.into_iter().collect();
    for (key, value) in writes {
        match value {
            Some(value) => drop(records.insert(key, value)),
            None => drop(records.remove(key)),
        }
    }
    if records.is_empty() {
        return Ok(old.map(|_| (key.to_vec(), None)).into_iter().collect());
    }
    let size = |(key, value): (&&[u8], &&[u8])| key.len() + value.len() + codec::PACKED;
    let all: usize = records.iter().map(size).sum();
    let room = match all {
        // What is written from the bottom up fills them.
        _ if grows => LEAF,
        // Elsewhere there may be more to come.
        all if all > 2 * LEAF => all.div_ceil(all.div_ceil(LEAF)),
        all => all,
    };
    let (mut changed, mut piece, mut held) = (Vec::new(), Vec::new(), 0);
    let mut records = records.into_iter().peekable();
    while let Some((record, value)) = records.next() {
        piece.push((record, Some(value)));
        held += size((&record, &value));
        if held >= room || records.peek().is_none() {
            let first = piece.first().map_or(record, |(first, _)| *first);
            // The first goes on below the key of the leaf.
            let key = if changed.is_empty() { key.to_vec() } else { [&[PREFIX][..], first].concat() };
            changed.push((key, Some(codec::pack(std::mem::take(&mut piece).into_iter()))));
            held = 0;
        }
    }
    // Of one that grew, the beginning may be as it was.
    changed.retain(|(to, value)| to != key || value.as_deref() != old);
    Ok(changed)
}
