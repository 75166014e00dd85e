//! The last that bundles do which go: they give up their work, take their leave, and what they ran is stopped.

use super::attempt::Purpose;
use super::error::Failure;
use super::hooks;
use super::transaction::Transaction;

impl Transaction<'_, '_> {
    /// Lets bundles that go give up their work, then take their leave, and stops what they ran.
    pub(super) fn leave(&mut self) -> Result<(), Failure> {
        let former = self.former;
        let going = |bundle: &String| former.desired.bundles.iter().find(|one| one.bundle == *bundle);
        let going: Vec<_> = self.plan.gone.iter().filter_map(going).collect();
        for leaving in &going {
            self.last_hook(&leaving.bundle, "drain", &leaving.hooks.drain, "did not give up its work")?;
        }
        for leaving in &going {
            self.last_hook(&leaving.bundle, "leave", &leaving.hooks.leave, "did not take its leave")?;
        }
        for unit in self.plan.gone_units.clone() {
            let original = self.current.units.get(&unit).copied().unwrap_or_default();
            let state = self.host.units.state(&unit)?;
            if !original.active {
                if state.active {
                    self.before_it_goes(&unit)?;
                }
                // Also one that its leave hook has just ended: it may be about to come back by itself (`Restart=`).
                self.host.units.stop(&unit)?;
                if state.active {
                    self.changed("", "unit", format!("stop {unit}"));
                }
            }
            if state.enabled == Some(true) && original.enabled != Some(true) {
                self.host.units.enable(&unit, false)?;
                self.changed("", "unit", format!("disable {unit}"));
            }
        }
        Ok(())
    }

    /// Runs one of the last hooks of a bundle. One that fails does not hold up the removal of everything.
    fn last_hook(&mut self, bundle: &str, hook: &str, argv: &[String], failed: &str) -> Result<(), Failure> {
        if argv.is_empty() {
            return Ok(());
        }
        if !self.opened.journal.left.iter().any(|left| left == bundle) {
            self.opened.journal.left.push(bundle.to_owned());
            self.opened.keep()?;
        }
        match hooks::run(self.host, self.lines, bundle, hook, argv) {
            Err(error) if self.purpose == Purpose::Remove => {
                let line = self.lines.clean(&format!("bundle {bundle} {failed}: {error}"));
                self.changed(bundle, hook, line);
                Ok(())
            }
            other => other.map_err(|error| error.of(bundle)),
        }
    }

    /// The `stop` hook that a unit had which goes.
    fn before_it_goes(&mut self, unit: &str) -> Result<(), Failure> {
        let bundles = &self.former.desired.bundles;
        let Some(owner) = bundles.iter().find(|one| one.units.iter().any(|own| own.name == unit)) else {
            return Ok(());
        };
        match self.stop_hook(owner) {
            Err(error) if self.purpose == Purpose::Remove => {
                let line = self.lines.clean(&format!("bundle {} did not stop well: {error}", owner.bundle));
                self.changed(&owner.bundle, "stop", line);
                Ok(())
            }
            done => done.map_err(|error| error.of(&owner.bundle)),
        }
    }
}
