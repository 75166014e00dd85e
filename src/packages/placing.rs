//! Where a package may go: bounds, and no two packages that a node could not tell apart.

use std::collections::BTreeSet;

use super::names::Name;
use super::repository::Listed;
use super::repository_error::{Conflict, RepositoryError};
use super::state::{Kind, Package, State, Suite};
use crate::model::Sha256Digest;

/// Suites of a kind, and components of a suite.
const SUITES: usize = 64;

/// The suite of this name; made when it is new.
pub(super) fn suite_mut<'s>(
    state: &'s mut State,
    kind: Kind,
    name: &Name,
) -> Result<&'s mut Suite, RepositoryError> {
    let suites = state.suites_mut(kind);
    if suites.len() >= SUITES && !suites.contains_key(name) {
        return Err(RepositoryError::Full(format!("{SUITES} suites for {kind}")));
    }
    Ok(suites.entry(name.clone()).or_default())
}

/// The packages of a component; made when it is new.
pub(super) fn component_mut<'s>(
    suite: &'s mut Suite,
    name: &Name,
) -> Result<&'s mut BTreeSet<Sha256Digest>, RepositoryError> {
    if suite.components.len() >= SUITES && !suite.components.contains_key(name) {
        return Err(RepositoryError::Full(format!("{SUITES} components of the suite")));
    }
    Ok(suite.components.entry(name.clone()).or_default())
}

/// Refuses other bytes under a name, version and architecture that are taken: anywhere for apt, whose pool is one for
/// all suites, and within the suite for dnf, where EL 8 and EL 9 may have packages of the same name.
pub(super) fn check(state: &State, listed: &Listed) -> Result<(), RepositoryError> {
    let Package { kind, name, version, architecture, .. } = &listed.package;
    for (suite_name, suite) in state.suites(*kind) {
        if *kind == Kind::Dnf && *suite_name != listed.suite {
            continue;
        }
        for (component, digests) in &suite.components {
            for known in digests.iter().filter(|known| **known != listed.digest) {
                let Some(package) = state.packages.get(known) else { continue };
                let same = bare(*kind, &package.version) == bare(*kind, version);
                if same && (&package.name, &package.architecture) == (name, architecture) {
                    return Err(Box::new(Conflict {
                        name: name.clone(),
                        version: version.clone(),
                        architecture: architecture.clone(),
                        place: format!("{kind} {suite_name}/{component}"),
                        known: *known,
                        pushed: listed.digest,
                    })
                    .into());
                }
            }
        }
    }
    Ok(())
}

/// An RPM's file name has no epoch, so two that differ in it alone would lie at the same path.
fn bare(kind: Kind, version: &str) -> &str {
    match kind {
        Kind::Apt => version,
        Kind::Dnf => version.split_once(':').map_or(version, |(_, rest)| rest),
    }
}
