//! Past events: how they lie in the database, and which of them are whose.
//!
//! Events of one commit lie together, a line of JSON each, below the number of the first: records of their own would cost sled more
//! than all else that a busy DHCP server writes. Whose they are is known in memory, and learned anew at each start.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use sled::IVec;

use super::codec::{self, EVENT, Write};
use super::records::Records;
use super::{EventQuery, StoreError};
use crate::model::inventory::Inventory;
use crate::model::{Event, NodeId, Timestamp};

/// Events kept; the oldest go first.
const KEPT: u64 = if cfg!(test) { 2_000 } else { 1_000_000 };
/// Events beyond that before any is removed, and removed in one go.
const TRIMMED: u64 = if cfg!(test) { 100 } else { 1_000 };
/// Events that lie together at most.
const TOGETHER: u64 = 64;
/// Their bytes at most, but for one alone.
const BYTES: usize = 32 << 10;
/// Events read at most by one query.
const READ: usize = 10_000;

/// What is known of the past without a look at the disk.
#[derive(Debug, Default)]
pub struct Past {
    oldest: u64,
    by_node: BTreeSet<(NodeId, u64)>,
}

/// Shared by the writer and readers.
pub type Shared = Arc<Mutex<Past>>;

pub fn lock(past: &Mutex<Past>) -> MutexGuard<'_, Past> {
    // No step leaves it half done.
    past.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Past {
    /// Learns of events that lie in the database, the oldest first; the number of the newest.
    pub fn learn(&mut self, key: &[u8], value: &[u8]) -> Option<u64> {
        let first = codec::seq_of(key)?;
        if self.oldest == 0 {
            self.oldest = first;
        }
        let mut newest = first;
        for (seq, node) in whose(first, value) {
            newest = seq;
            self.by_node.extend(node.map(|node| (node, seq)));
        }
        Some(newest)
    }

    /// Learns of events that are about to be written, and forgets the oldest where there are too many: what is to be removed.
    pub fn add(&mut self, records: &Records, events: &[&Event]) -> Result<Vec<Write>, StoreError> {
        if let (0, Some(first)) = (self.oldest, events.first()) {
            self.oldest = first.seq;
        }
        self.by_node.extend(events.iter().filter_map(|event| Some((event.node?, event.seq))));
        events.last().map_or(Ok(Vec::new()), |newest| self.trim(records, newest.seq))
    }

    /// The numbers of the events that `query` asks for, of those before `end`, ascending.
    fn wanted(&self, query: &EventQuery, end: u64) -> Vec<u64> {
        let first = query.after.map_or(0, |after| after.saturating_add(1)).max(self.oldest);
        if first >= end {
            return Vec::new();
        }
        match query.node {
            Some(node) => {
                let all = self.by_node.range((node, first)..(node, end)).map(|(_, seq)| *seq);
                pick(all, query)
            }
            None => pick(first..end, query),
        }
    }

    fn trim(&mut self, records: &Records, newest: u64) -> Result<Vec<Write>, StoreError> {
        let mut removed = Vec::new();
        while newest.saturating_sub(self.oldest) >= KEPT + TRIMMED {
            let until = self.oldest + TRIMMED;
            for (key, value) in records.range(&codec::event_key(self.oldest), &codec::event_key(until))? {
                let Some(first) = codec::seq_of(&key) else { continue };
                for (seq, node) in whose(first, &value) {
                    if let Some(node) = node {
                        self.by_node.remove(&(node, seq));
                    }
                    self.oldest = seq + 1;
                }
                removed.push((key.to_vec(), None));
            }
            self.oldest = self.oldest.max(until);
        }
        Ok(removed)
    }
}

/// The first or the last ones, as many as are asked for.
fn pick(all: impl DoubleEndedIterator<Item = u64>, query: &EventQuery) -> Vec<u64> {
    let limit = query.limit.min(READ);
    if query.after.is_some() {
        return all.take(limit).collect();
    }
    let mut last: Vec<u64> = all.rev().take(limit).collect();
    last.reverse();
    last
}

/// Events that lie together. None of them has a line break of its own: JSON escapes it.
fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b'\n')
}

/// The numbers of events that lie together, from `first` on, and whose each is; the rest of them is not read.
fn whose(first: u64, value: &[u8]) -> impl Iterator<Item = (u64, Option<NodeId>)> {
    #[derive(Deserialize)]
    struct Whose {
        node: Option<NodeId>,
    }
    // One that cannot be read says so when it is asked for.
    let node = |line| serde_json::from_slice(line).ok().and_then(|whose: Whose| whose.node);
    (first..).zip(lines(value).map(node))
}

/// How the events of a commit, in the order of their numbers, are written.
pub fn writes(events: &[&Event]) -> Result<Vec<Write>, StoreError> {
    let mut all: Vec<(u64, u64, Vec<u8>)> = Vec::new();
    for event in events {
        let line = codec::encode(event)?;
        match all.last_mut() {
            Some((first, count, bytes))
                if *first + *count == event.seq && *count < TOGETHER && bytes.len() + line.len() < BYTES =>
            {
                *count += 1;
                bytes.push(b'\n');
                bytes.extend(line);
            }
            _ => all.push((event.seq, 1, line)),
        }
    }
    Ok(all.into_iter().map(|(first, _, bytes)| (codec::event_key(first), Some(bytes))).collect())
}

/// Reads past events beside the writer.
#[derive(Clone)]
pub struct Reader {
    pub records: Records,
    pub past: Shared,
}

impl Reader {
    /// The events that `query` asks for, of those before number `end`: what lies behind is not durable yet.
    pub fn events(&self, query: &EventQuery, end: u64) -> Result<Vec<Event>, StoreError> {
        let wanted = lock(&self.past).wanted(query, end);
        let mut events = Vec::with_capacity(wanted.len());
        let mut near: Option<(u64, IVec)> = None;
        for seq in wanted {
            if near.as_ref().is_none_or(|near| line_of(near, seq).is_none()) {
                near = self.that_holds(seq)?;
            }
            // Trimmed between the two reads: gone is gone.
            if let Some(line) = near.as_ref().and_then(|near| line_of(near, seq)) {
                events.push(codec::decode(&codec::event_key(seq), line)?);
            }
        }
        Ok(events)
    }

    /// The events among which this one lies, if it is there, with the number of the first.
    fn that_holds(&self, seq: u64) -> Result<Option<(u64, IVec)>, StoreError> {
        let entry = self.records.last(&[EVENT], &codec::event_key(seq))?;
        Ok(entry.and_then(|(key, value)| Some((codec::seq_of(&key)?, value))))
    }

    /// What a node told then of what it is made of.
    pub fn inventory(&self, node: NodeId, at: Timestamp) -> Result<Option<Inventory>, StoreError> {
        let key = codec::inventory_key(node, at);
        self.records.get(&key)?.map(|value| codec::decode(&key, &value)).transpose()
    }
}

fn line_of((first, value): &(u64, IVec), seq: u64) -> Option<&[u8]> {
    lines(value).nth(usize::try_from(seq.checked_sub(*first)?).ok()?)
}
