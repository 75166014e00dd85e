//! While packages are at work they start no services: their configuration is not there yet.

use super::check::Checked;
use super::error::Result;
use super::host::Host;
use super::journal::{Former, Opened};
use super::packages::{POLICY, script};
use super::root::New;

/// From here on packages start no services; the journal is brought to disk with it.
pub(super) fn quiet(host: &Host, opened: &mut Opened, kept_down: &Checked) -> Result<()> {
    if host.manager() != Some("apt") {
        return opened.keep();
    }
    if opened.journal.policy.is_none() {
        opened.journal.policy = Some(Former::keep(&host.root, POLICY, opened.folder(), "policy.former")?);
    }
    opened.keep()?;
    let ours = |name: &String| {
        let mut units = kept_down.desired.bundles.iter().flat_map(|bundle| &bundle.units);
        units.any(|unit| unit.name == *name)
    };
    let running: Vec<String> = host.units.running().into_iter().filter(|name| !ours(name)).collect();
    host.root.put(POLICY, New::File(script(&running).as_bytes(), 0o755), 0, 0)
}

/// Packages start their services again.
pub(super) fn loud(host: &Host, opened: &Opened) -> Result<()> {
    match &opened.journal.policy {
        Some(former) => former.restore(&host.root, POLICY, opened.folder()),
        None => Ok(()),
    }
}
