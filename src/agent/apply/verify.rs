//! What a transaction should have taken away: whether it is gone, and whether what was there before is back.

use super::error::Result;
use super::journal::Former;
use super::transaction::Transaction;

/// What is still there although it should not be, or not back although it should be: one line each.
pub(super) fn left_over(done: &Transaction<'_, '_>) -> Result<Vec<String>> {
    let (host, plan, before) = (done.host, &done.plan, done.current);
    let mut left = Vec::new();
    let originals = host.store.path("originals");
    for path in &plan.take {
        let was = before.originals.get(path).unwrap_or(&Former::Absent);
        // A package that goes takes its configuration along, which was there before any bundle changed it.
        let went_along = !plan.loose.is_empty() && host.root.look(path)?.is_none();
        if !went_along && !was.is_at(&host.root, path, &originals)? {
            let why =
                if *was == Former::Absent { "" } else { ": what was there before any bundle is not back" };
            left.push(format!("file {path}{why}"));
        }
    }
    let nothing = done.new.files.is_empty();
    for folder in &done.next.folders {
        let below = format!("{folder}/");
        let wanted = done.new.files.iter().any(|file| file.path.starts_with(&below));
        let due = nothing || plan.take.iter().any(|path| path.starts_with(&below));
        // The deepest says it for those above.
        let deepest = !done.next.folders.iter().any(|other| other.starts_with(&below));
        if due && deepest && !wanted && host.root.look(folder)?.is_some() {
            left.push(format!("folder {folder}: other files are in it"));
        }
    }
    if let Some(manager) = host.packages.as_ref().filter(|_| !plan.loose.is_empty()) {
        let installed = manager.installed()?;
        let kept = host.wanted(&done.new.desired.bundles)?;
        // What the packages that stay need is no left-over.
        let due = plan.loose.iter().filter(|name| kept.is_empty() || plan.asked.contains(*name));
        let there = due.filter(|name| installed.contains_key(*name));
        left.extend(there.map(|name| format!("package {name}: another package needs it")));
    }
    for unit in &plan.gone_units {
        let was = before.units.get(unit).copied().unwrap_or_default();
        let now = host.units.state(unit)?;
        if now.active && !was.active {
            left.push(format!("unit {unit} still runs"));
        }
        if now.enabled == Some(true) && was.enabled != Some(true) {
            left.push(format!("unit {unit} still starts with the system"));
        }
        if was.known && was.active && !now.active {
            left.push(format!("unit {unit} ran before any bundle, and does not now"));
        }
        if was.known && was.enabled == Some(true) && now.enabled == Some(false) {
            left.push(format!("unit {unit} started with the system before any bundle, and does not now"));
        }
    }
    Ok(left)
}
