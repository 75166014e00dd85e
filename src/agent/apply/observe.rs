//! What a host says of its bundles: cheap enough for every heartbeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::check::decode;
use super::desired::{Applied, DesiredFile, HealthCheck};
use super::error::Result;
use super::health;
use super::host::Host;
use super::root::{Facts, Kind};
use super::store::Current;

/// Facts of files that were touched and yet found to be the same: they are not read at each heartbeat again.
pub(super) type Seen = Mutex<BTreeMap<String, Facts>>;

/// The generation, and how the last attempt went.
pub(super) fn generation(host: &Host) -> Result<(Current, Applied)> {
    let current = host.store.current()?;
    let applied = Applied {
        generation: current.digest.clone(),
        number: current.number,
        bundles: current.desired.bundles.iter().map(|bundle| bundle.bundle.clone()).collect(),
        last: host.store.last()?,
        drift: Vec::new(),
        unhealthy: Vec::new(),
    };
    Ok((current, applied))
}

/// The paths that are not as they were put.
pub(super) fn drift(host: &Host, current: &Current, seen: &Seen) -> Vec<String> {
    let files = current.desired.bundles.iter().flat_map(|bundle| &bundle.files);
    files.filter(|file| drifted(host, current, file, seen)).map(|file| file.path.clone()).collect()
}

/// A file that can't be looked at is one that was changed.
fn drifted(host: &Host, current: &Current, file: &DesiredFile, seen: &Seen) -> bool {
    let (Ok(Some(now)), Some(put)) = (host.root.look(&file.path), current.facts.get(&file.path)) else {
        return true;
    };
    if now == *put {
        return false;
    }
    let about = |facts: &Facts| (facts.kind, facts.size, facts.mode, facts.uid, facts.gid);
    if now.kind != Kind::File || about(&now) != about(put) {
        return true;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.get(&file.path) == Some(&now) {
        return false;
    }
    let Ok(content) = decode(&file.path, &file.content) else { return true };
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let same = host.root.read(&file.path, length).is_ok_and(|read| read.is_some_and(|read| read == content));
    if same {
        seen.insert(file.path.clone(), now);
    }
    !same
}

/// The checks that do not hold now, as `bundle: check`.
pub(super) fn unhealthy(host: &Host, current: &Current) -> Vec<String> {
    let bundles = &current.desired.bundles;
    let checks: Vec<(&str, &HealthCheck)> = bundles
        .iter()
        .flat_map(|bundle| bundle.health.iter().map(|check| (bundle.bundle.as_str(), check)))
        .collect();
    health::failing(host, &checks)
}
