//! One attempt: compare, go forward, and back when that fails.

use std::collections::BTreeSet;

use super::check::{Checked, check};
use super::desired::{ApplyResult, Desired, DriftPolicy, Outcome};
use super::error::{Failure, Result};
use super::host::Host;
use super::journal::Opened;
use super::log::{Lines, Log};
use super::mask::{Mask, places};
use super::plan::plan;
use super::rollback;
use super::store::Current;
use super::transaction::{Transaction, begin};

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The appliance wants it.
    Apply,
    /// What was changed by hand is put right.
    Repair,
    /// Everything goes, once every bundle has taken its leave.
    Leave,
    /// Everything goes: a bundle that can't take its leave does not hold that up.
    Remove,
}

/// Makes `desired` the host's generation. Never fails: what went wrong is in the outcome.
pub(super) fn attempt(
    host: &Host,
    desired: &Desired,
    digest: &str,
    purpose: Purpose,
    log: &mut dyn Log,
) -> Outcome {
    let nothing = |result, reason: Failure| Outcome {
        generation: digest.to_owned(),
        result,
        reason: reason.text,
        bundle: reason.bundle,
        changes: Vec::new(),
        left_over: Vec::new(),
        elapsed_ms: 0,
    };
    let (current, former, new) = match compared(host, desired) {
        Ok(all) => all,
        Err(error) => return nothing(ApplyResult::RolledBack, error.into()),
    };
    match tried(host, &current, &former, &new, digest, purpose, log) {
        Ok(outcome) => outcome,
        Err(error) => nothing(ApplyResult::RolledBack, error),
    }
}

fn compared(host: &Host, desired: &Desired) -> Result<(Current, Checked, Checked)> {
    let current = host.store.current()?;
    let former = host.former(&current)?;
    let new = check(desired, host.manager())?;
    Ok((current, former, new))
}

/// An error means that nothing was touched.
fn tried(
    host: &Host,
    current: &Current,
    former: &Checked,
    new: &Checked,
    digest: &str,
    purpose: Purpose,
    log: &mut dyn Log,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome {
        generation: digest.to_owned(),
        result: ApplyResult::Unchanged,
        reason: String::new(),
        bundle: None,
        changes: Vec::new(),
        left_over: Vec::new(),
        elapsed_ms: 0,
    };
    let same = current.number > 0 && current.desired == new.desired;
    if same && current.digest == digest && purpose == Purpose::Apply {
        let drifts = |file| host.as_wanted(file, current.facts.get(&file.path)).map(|good| !good);
        let mut repair = false;
        for file in new.files.iter().filter(|_| new.desired.drift == DriftPolicy::Repair) {
            repair |= drifts(file)?;
        }
        if !repair {
            return Ok(outcome);
        }
    }
    let mut lines = Lines::new(log, Mask::of([former, new]));
    let plan = plan(host, current, former, new)?;
    let mut next = Current {
        serial: current.serial + 1,
        number: if same { current.number } else { current.number + 1 },
        digest: digest.to_owned(),
        desired: new.desired.clone(),
        masks: places(new),
        ..current.clone()
    };
    if plan.is_empty() {
        if current.digest != digest || current.desired != new.desired {
            host.store.commit(&next)?;
            host.store.tidy(&next)?;
        }
        return Ok(outcome);
    }
    // Before this line nothing was changed.
    let opened = begin(host, current, &plan, digest)?;
    next.originals.clone_from(&current.originals);
    let lines = &mut lines;
    let (changes, left_over, stopped) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut transaction = Transaction {
        host,
        lines,
        current,
        former,
        new,
        purpose,
        plan,
        opened,
        next,
        changes,
        left_over,
        stopped,
    };
    let forward = transaction.forward();
    let forward = forward.and_then(|()| Ok(host.store.commit(&transaction.next)?));
    let Transaction { lines, mut opened, next, changes, left_over, .. } = transaction;
    outcome.changes = changes.iter().map(|line| lines.clean(line)).collect();
    let Err(failure) = forward else {
        outcome.result = ApplyResult::Applied;
        if !left_over.is_empty() {
            outcome.reason = format!(
                "all of it is there; not all of what it does without is gone: {}",
                left_over.join("; ")
            );
        }
        outcome.left_over = left_over;
        // It is current; what is left over is cleared at the next start at the latest.
        if let Err(error) = opened.end(&host.store).and_then(|()| host.store.tidy(&next)) {
            lines.say("", "tidy", &error.to_string());
        }
        return Ok(outcome);
    };
    let text = lines.clean(&failure.text);
    lines.say(failure.bundle.as_deref().unwrap_or_default(), "failed", &text);
    let (result, reason) = returned(host, lines, former, &mut opened, text);
    if result != ApplyResult::Broken || opened.journal.done_with {
        let ended = opened.end(&host.store);
        if let Err(error) = ended.and_then(|()| host.store.tidy(current)) {
            lines.say("", "tidy", &error.to_string());
        }
    }
    (outcome.result, outcome.reason, outcome.bundle) = (result, reason, failure.bundle);
    Ok(outcome)
}

/// Rolls back; says how that went, with `why` it had to be.
fn returned(
    host: &Host,
    lines: &mut Lines<'_>,
    former: &Checked,
    opened: &mut Opened,
    why: String,
) -> (ApplyResult, String) {
    let (troubles, sick) = rollback::back(host, lines, former, opened);
    opened.journal.done_with = troubles.is_empty();
    if !troubles.is_empty() {
        let reason = format!(
            "{why}\nand the way back failed, too; it is tried again at the next start: {}",
            troubles.join("; ")
        );
        return (ApplyResult::Broken, reason);
    }
    if !sick.is_empty() {
        return (
            ApplyResult::Broken,
            format!(
                "{why}\nall of the former generation is back, but it is not healthy: {}",
                sick.join("; ")
            ),
        );
    }
    (ApplyResult::RolledBack, why)
}

/// Gives up on the way back: the host stays as it is, and the next generation starts from there. What came in is not forgotten.
pub(super) fn give_up(host: &Host) -> Result<()> {
    let Some(opened) = Opened::left(&host.store)? else { return Ok(()) };
    let mut current = host.store.current()?;
    if let (Some(manager), Some(step)) = (&host.packages, &opened.journal.packages) {
        let installed = manager.installed()?;
        let fresh = installed.keys().filter(|name| !step.before.contains_key(*name));
        let touched = |name: &&String| step.touched.as_ref().is_none_or(|touched| touched.contains(*name));
        current.brought.extend(fresh.filter(touched).cloned());
    }
    current.folders.extend(opened.journal.folders.iter().cloned());
    current.serial = opened.journal.serial;
    host.store.commit(&current)?;
    opened.end(&host.store)
}

/// Finishes or rolls back what a crash left; none when it left nothing.
pub(super) fn recover(host: &Host, log: &mut dyn Log) -> Result<Option<Outcome>> {
    let current = host.store.current()?;
    let Some(mut opened) = Opened::left(&host.store)? else { return Ok(None) };
    let outcome = |result, generation: &str, reason| Outcome {
        generation: generation.to_owned(),
        result,
        reason,
        bundle: None,
        changes: Vec::new(),
        left_over: Vec::new(),
        elapsed_ms: 0,
    };
    let digest = opened.journal.digest.clone();
    if opened.journal.serial == current.serial {
        opened.end(&host.store)?;
        host.store.tidy(&current)?;
        return Ok(Some(outcome(ApplyResult::Applied, &digest, String::new())));
    }
    let former = host.former(&current)?;
    let mut lines = Lines::new(log, Mask::of([&former]));
    let why = "the agent or the host went down in the middle of it".to_owned();
    let (result, reason) = returned(host, &mut lines, &former, &mut opened, why);
    if opened.journal.done_with {
        opened.end(&host.store)?;
        host.store.tidy(&current)?;
    }
    Ok(Some(outcome(result, &digest, reason)))
}
