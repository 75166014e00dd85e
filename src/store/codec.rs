//! What records look like: keys with a one-byte table prefix, values in JSON; and several of them in one piece.
//!
//! All are in one tree, so that a batch over several tables is atomic; most lie in [`super::leaves`] there. JSON, so that a
//! record can gain a field without a migration and a person can read a broken one; encoding takes about a microsecond, a
//! commit a hundred.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::model::{Change, NodeId, Timestamp};

/// The newest schema this build writes, and reads.
pub const SCHEMA: u32 = 4;
/// Where the schema's number lies.
pub const SCHEMA_KEY: &[u8] = b"m/schema";
/// There while records are moved to where this schema has them.
pub const MOVING: &[u8] = b"m/moving";
/// The table of what is said of the database itself.
pub const META: u8 = b'm';

const NODE: u8 = b'n';
const GROUP: u8 = b'g';
const IMAGE: u8 = b'i';
const LEASE: u8 = b'l';
/// IPv6 leases, by address.
const LEASE6: u8 = b'6';
const INVITATION: u8 = b'v';
const BUNDLE: u8 = b'b';
/// Variables, by their scope.
const VARIABLES: u8 = b'x';
const JOB: u8 = b'j';
const CLUSTER: u8 = b'c';
/// The table of what nodes are made of, by node, then moment.
pub const INVENTORY: u8 = b'h';
/// The table of events, by the sequence number of the first of those that lie together.
pub const EVENT: u8 = b'e';
/// Events by node, then sequence number, in schema 1.
pub const TIMELINE: u8 = b't';

/// A key, and the value to put there; `None` removes.
pub type Write = (Vec<u8>, Option<Vec<u8>>);
/// The same, borrowed.
pub type Put<'w> = (&'w [u8], Option<&'w [u8]>);

fn key(table: u8, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + id.len());
    key.push(table);
    key.extend_from_slice(id);
    key
}

/// Where events lie of which this is the first.
pub fn event_key(seq: u64) -> Vec<u8> {
    key(EVENT, &seq.to_be_bytes())
}

/// Where the lease of an address lies.
pub fn lease_key(ip: Ipv4Addr) -> Vec<u8> {
    key(LEASE, &ip.octets())
}

/// Where what a node told then lies.
pub fn inventory_key(node: NodeId, at: Timestamp) -> Vec<u8> {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&node.0.to_be_bytes());
    id[8..].copy_from_slice(&at.0.to_be_bytes());
    key(INVENTORY, &id)
}

/// The node and the moment of an inventory's key.
fn inventory_of(key: &[u8]) -> Option<(NodeId, Timestamp)> {
    let (node, at) = key.get(1..)?.split_first_chunk::<8>()?;
    let at: [u8; 8] = at.try_into().ok()?;
    Some((NodeId(u64::from_be_bytes(*node)), Timestamp(u64::from_be_bytes(at))))
}

/// The sequence number at the end of an event's key.
pub fn seq_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// A record as it is written.
pub fn encode(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Database(format!("encoding a record: {error}")))
}

/// Reads a record back.
pub fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt {
        key: key.escape_ascii().to_string(),
        cause: error.to_string(),
    })
}

/// What a change writes.
pub fn writes(change: &Change) -> Result<Vec<Write>, StoreError> {
    let put = |key, value| vec![(key, Some(value))];
    Ok(match change {
        Change::PutNode(node) => put(key(NODE, &node.id.0.to_be_bytes()), encode(node.as_ref())?),
        Change::DeleteNode(id) => vec![(key(NODE, &id.0.to_be_bytes()), None)],
        Change::PutGroup(group) => put(key(GROUP, group.name.as_str().as_bytes()), encode(group)?),
        Change::DeleteGroup(name) => vec![(key(GROUP, name.as_str().as_bytes()), None)],
        Change::PutImage(image) => put(key(IMAGE, image.image.to_string().as_bytes()), encode(image)?),
        Change::DeleteImage(image) => vec![(key(IMAGE, image.to_string().as_bytes()), None)],
        Change::PutBundle(bundle) => put(key(BUNDLE, bundle.bundle.to_string().as_bytes()), encode(bundle)?),
        Change::DeleteBundle(bundle) => vec![(key(BUNDLE, bundle.to_string().as_bytes()), None)],
        Change::PutVariables(scope, variables) => {
            let value = if variables.is_empty() { None } else { Some(encode(variables)?) };
            vec![(key(VARIABLES, scope.to_string().as_bytes()), value)]
        }
        Change::PutCluster(cluster) => put(key(CLUSTER, cluster.name.as_bytes()), encode(cluster)?),
        Change::DeleteCluster(name) => vec![(key(CLUSTER, name.as_bytes()), None)],
        Change::PutJob(job) => put(key(JOB, &job.id.to_be_bytes()), encode(job)?),
        Change::DeleteJob(id) => vec![(key(JOB, &id.to_be_bytes()), None)],
        Change::PutLease(lease) => put(lease_key(lease.ip), encode(lease)?),
        Change::DeleteLease(ip) => vec![(lease_key(*ip), None)],
        Change::PutLease6(lease) => put(key(LEASE6, &lease.ip.octets()), encode(lease)?),
        Change::DeleteLease6(ip) => vec![(key(LEASE6, &ip.octets()), None)],
        Change::PutInventory { node, at, inventory } => {
            put(inventory_key(*node, *at), encode(inventory.as_ref())?)
        }
        Change::DeleteInventory { node, at } => vec![(inventory_key(*node, *at), None)],
        Change::PutInvitation(invitation) => put(key(INVITATION, &invitation.token.0), encode(invitation)?),
        Change::DeleteInvitation(token) => vec![(key(INVITATION, &token.0), None)],
        // Together with others of the same commit: see `past`.
        Change::Append(_) => Vec::new(),
    })
}

/// The change that wrote this key and value; `None` for keys that hold no state of the world.
pub fn read(key: &[u8], value: &[u8]) -> Result<Option<Change>, StoreError> {
    Ok(match key.first() {
        Some(&NODE) => Some(Change::put_node(decode(key, value)?)),
        Some(&GROUP) => Some(Change::PutGroup(decode(key, value)?)),
        Some(&IMAGE) => Some(Change::PutImage(decode(key, value)?)),
        Some(&BUNDLE) => Some(Change::PutBundle(decode(key, value)?)),
        Some(&VARIABLES) => {
            match key.get(1..).and_then(|scope| std::str::from_utf8(scope).ok()?.parse().ok()) {
                Some(scope) => Some(Change::PutVariables(scope, decode(key, value)?)),
                None => None,
            }
        }
        Some(&CLUSTER) => Some(Change::PutCluster(decode(key, value)?)),
        Some(&JOB) => Some(Change::PutJob(decode(key, value)?)),
        Some(&LEASE) => Some(Change::PutLease(decode(key, value)?)),
        Some(&LEASE6) => Some(Change::PutLease6(decode(key, value)?)),
        Some(&INVENTORY) => match inventory_of(key) {
            Some((node, at)) => {
                Some(Change::PutInventory { node, at, inventory: Arc::new(decode(key, value)?) })
            }
            None => None,
        },
        Some(&INVITATION) => Some(Change::PutInvitation(decode(key, value)?)),
        _ => None,
    })
}

/// Bytes that [`pack`] adds to a key and a value.
pub const PACKED: usize = 8;

/// Writes, one after the other: of each the key's length, the key, the value's length and one, the value; zero for one that removes.
/// Lengths have four bytes, little-endian.
pub fn pack<'w>(writes: impl Iterator<Item = Put<'w>> + Clone) -> Vec<u8> {
    let sizes = writes.clone().map(|(key, value)| PACKED + key.len() + value.map_or(0, <[u8]>::len));
    let mut bytes = Vec::with_capacity(sizes.sum());
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    for (key, value) in writes {
        bytes.extend(length(key.len()));
        bytes.extend(key);
        bytes.extend(length(value.map_or(0, |value| value.len() + 1)));
        bytes.extend(value.unwrap_or_default());
    }
    bytes
}

/// The same read back.
pub fn unpack(mut bytes: &[u8]) -> Option<Vec<Put<'_>>> {
    fn part<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
        let (part, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(part)
    }
    fn length(bytes: &mut &[u8]) -> Option<usize> {
        let number = part(bytes, 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(number)).ok()
    }
    let mut writes = Vec::new();
    while !bytes.is_empty() {
        let key = length(&mut bytes)?;
        let key = part(&mut bytes, key)?;
        let value = match length(&mut bytes)?.checked_sub(1) {
            Some(value) => Some(part(&mut bytes, value)?),
            None => None,
        };
        writes.push((key, value));
    }
    Some(writes)
}
