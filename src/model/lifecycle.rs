//! The node lifecycle: one pure function, one table.
//!
//! `discovered → enrolled → installing → booting → configuring → ready`; from ready
//! `draining → reloading | installing` and `retiring → retired`. `failed` and `quarantined` hold the reason
//! and the state they came from. Whether a node is reachable is a separate fact, never a state.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where in its life a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Seen on the network, not yet trusted.
    Discovered,
    /// Approved; waits for an image to be pinned, or to be powered on.
    Enrolled,
    /// An image is being written to its disk.
    Installing,
    /// It was handed its pinned image and has not reported since.
    Booting,
    /// Its operating system runs and applies its configuration.
    Configuring,
    /// It runs what it should.
    Ready,
    /// It gives up its work before a reload, an upgrade or its retirement.
    Draining,
    /// It restarts into the image it has.
    Reloading,
    /// It is being wiped.
    Retiring,
    /// It is gone; its address is free.
    Retired,
    /// It stopped on the way; a new boot or a new approval takes it on.
    Failed {
        /// What went wrong, for a person.
        reason: String,
        /// The state it failed in.
        from: Box<State>,
    },
    /// It is not what it says it is; only an operator can free it.
    Quarantined {
        /// What did not match.
        reason: String,
        /// The state it was in.
        from: Box<State>,
    },
}

impl State {
    /// The state's one-word name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Enrolled => "enrolled",
            Self::Installing => "installing",
            Self::Booting => "booting",
            Self::Configuring => "configuring",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Reloading => "reloading",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Failed { .. } => "failed",
            Self::Quarantined { .. } => "quarantined",
        }
    }

    /// The reason held by `failed` and `quarantined`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason, .. } | Self::Quarantined { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether an operator or a policy has vouched for the node, so that it may get its pinned image.
    pub fn is_trusted(&self) -> bool {
        match self {
            Self::Discovered | Self::Retiring | Self::Retired | Self::Quarantined { .. } => false,
            Self::Failed { from, .. } => from.is_trusted(),
            _ => true,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What can happen to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// An operator or a policy vouches for it.
    Approve,
    /// It was handed the boot script of its pinned image.
    BootImage,
    /// Its agent begins to write its image to its disk.
    Install,
    /// What its agent wrote has been verified on the disk; it restarts.
    Installed,
    /// It gives up its work, since an operator ordered something that needs it.
    Drain,
    /// It has given up its work, and restarts.
    Restart,
    /// A host that was installed by others has enrolled.
    Adopt,
    /// Its system came up and reports that it is being configured.
    ReportConfiguring,
    /// It reports that it runs what it should.
    ReportReady,
    /// It reports, or the appliance sees, that it cannot go on.
    Fail(String),
    /// Its identity does not match what is known.
    Quarantine(String),
    /// An operator removes it from service.
    Retire,
    /// Its disks are wiped and its secrets gone.
    Wiped,
}

impl Signal {
    fn describe(&self) -> &'static str {
        match self {
            Self::Approve => "be approved",
            Self::BootImage => "boot its image",
            Self::Install => "be installed",
            Self::Installed => "have been installed",
            Self::Drain => "be drained",
            Self::Restart => "be restarted",
            Self::Adopt => "be adopted",
            Self::ReportConfiguring => "report 'configuring'",
            Self::ReportReady => "report 'ready'",
            Self::Fail(_) => "fail",
            Self::Quarantine(_) => "be quarantined",
            Self::Retire => "be retired",
            Self::Wiped => "be wiped",
        }
    }
}

/// What a transition asks of the appliance, in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Turn the node's leases into reservations.
    ReserveAddresses,
    /// Give the node's addresses back to the pool.
    ReleaseAddresses,
    /// Forget boot tokens and other secrets.
    ForgetSecrets,
}

/// A signal that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a node that is {state} cannot {signal}{hint}")]
pub struct Refused {
    /// The state's name.
    pub state: &'static str,
    signal: &'static str,
    hint: &'static str,
}

/// The whole lifecycle: the next state and what has to be done, or why not.
///
/// # Errors
/// [`Refused`] when the table has no row for the pair.
#[expect(clippy::match_same_arms, reason = "each row stands where a reader looks for it")]
pub fn step(state: &State, signal: &Signal) -> Result<(State, Vec<Effect>), Refused> {
    use Effect::{ForgetSecrets, ReleaseAddresses, ReserveAddresses};
    use Signal as G;
    use State as S;

    let refused = |hint| Err(Refused { state: state.name(), signal: signal.describe(), hint });
    match (state, signal) {
        (S::Retired, G::Approve) => Ok((S::Enrolled, vec![ReserveAddresses])),
        (S::Retired, _) => refused("; approve it to take it back into service"),

        (S::Discovered, G::Approve) => Ok((S::Enrolled, vec![ReserveAddresses])),
        // An operator who approves a node in quarantine has looked at it: it starts over.
        (S::Quarantined { .. }, G::Approve) => Ok((S::Enrolled, vec![ReserveAddresses])),
        (S::Failed { from, .. }, G::Approve) if !from.is_trusted() => {
            Ok((S::Enrolled, vec![ReserveAddresses]))
        }
        (S::Failed { .. }, G::Approve) => Ok((S::Enrolled, vec![])),
        (_, G::Approve) => refused("; it is approved already"),

        (S::Retiring, G::Wiped) => Ok((S::Retired, vec![ReleaseAddresses, ForgetSecrets])),
        (S::Reloading, G::Wiped) => Ok((S::Enrolled, vec![])),
        (_, G::Wiped) => refused("; order it with `node wipe` or `node retire` first"),
        // A node that never was trusted holds nothing to wipe.
        (S::Discovered | S::Enrolled, G::Retire) => Ok((S::Retired, vec![ReleaseAddresses, ForgetSecrets])),
        (S::Retiring, G::Retire) => Ok((S::Retiring, vec![])),
        (_, G::Retire) => Ok((S::Retiring, vec![])),

        (S::Quarantined { .. }, _) => refused("; look at `node show`, then approve or retire it"),
        (_, G::Quarantine(reason)) => Ok((
            S::Quarantined { reason: reason.clone(), from: Box::new(state.clone()) },
            vec![ForgetSecrets],
        )),

        (S::Failed { from, .. }, G::Fail(reason)) => {
            Ok((S::Failed { reason: reason.clone(), from: from.clone() }, vec![]))
        }
        (_, G::Fail(reason)) => {
            Ok((S::Failed { reason: reason.clone(), from: Box::new(state.clone()) }, vec![]))
        }

        (S::Discovered, G::BootImage) => refused("; approve it first"),
        (S::Retiring, G::BootImage) => refused("; it is being retired"),
        (S::Failed { from, .. }, G::BootImage) if !from.is_trusted() => refused("; approve it first"),
        // A power cycle may come at any time, so every trusted state can boot again.
        (_, G::BootImage) => Ok((S::Booting, vec![])),

        (S::Discovered | S::Retiring, G::Install | G::Installed | G::Drain | G::Restart) => {
            refused("; approve it first")
        }
        (S::Failed { from, .. }, G::Install | G::Installed | G::Drain | G::Restart) if !from.is_trusted() => {
            refused("; approve it first")
        }
        (_, G::Install) => Ok((S::Installing, vec![])),
        (S::Installing | S::Failed { .. }, G::Installed) => Ok((S::Booting, vec![])),
        (_, G::Installed) => refused("; nothing is being installed on it"),
        (S::Ready | S::Draining, G::Drain) => Ok((S::Draining, vec![])),
        // There is no work on it that could be given up.
        (_, G::Drain | G::Restart) => Ok((S::Reloading, vec![])),

        (S::Discovered | S::Enrolled, G::Adopt) => Ok((S::Ready, vec![ReserveAddresses])),
        (_, G::Adopt) => refused("; it is known already and boots over the network"),

        (S::Booting | S::Installing | S::Configuring | S::Reloading, G::ReportConfiguring) => {
            Ok((S::Configuring, vec![]))
        }
        // The agent reports again after an outage of the appliance: no news.
        (S::Ready, G::ReportConfiguring | G::ReportReady) => Ok((S::Ready, vec![])),
        (S::Booting | S::Configuring | S::Reloading, G::ReportReady) => Ok((S::Ready, vec![])),
        // It went on after all: what the node says of itself with a valid token counts.
        (S::Failed { from, .. }, G::ReportConfiguring) if from.is_trusted() => Ok((S::Configuring, vec![])),
        (S::Failed { from, .. }, G::ReportReady) if from.is_trusted() => Ok((S::Ready, vec![])),
        (_, G::ReportConfiguring | G::ReportReady) => refused("; it was not handed an image"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(from: State) -> State {
        State::Failed { reason: "x".into(), from: Box::new(from) }
    }

    #[test]
    fn the_way_from_power_on_to_ready() {
        let mut state = State::Discovered;
        for (signal, next) in [
            (Signal::Approve, "enrolled"),
            (Signal::BootImage, "booting"),
            (Signal::ReportConfiguring, "configuring"),
            (Signal::ReportReady, "ready"),
            (Signal::BootImage, "booting"),
            (Signal::Fail("no disk".into()), "failed"),
            (Signal::BootImage, "booting"),
            (Signal::ReportReady, "ready"),
            (Signal::Retire, "retiring"),
            (Signal::Wiped, "retired"),
            (Signal::Approve, "enrolled"),
        ] {
            state = step(&state, &signal).unwrap_or_else(|refused| panic!("{refused}")).0;
            assert_eq!(state.name(), next, "after {signal:?}");
        }
    }

    #[test]
    fn the_way_of_an_installed_node() {
        let mut state = State::Enrolled;
        for (signal, next) in [
            (Signal::Install, "installing"),
            (Signal::Fail("power cut".into()), "failed"),
            (Signal::Install, "installing"),
            (Signal::Installed, "booting"),
            (Signal::ReportConfiguring, "configuring"),
            (Signal::ReportReady, "ready"),
            (Signal::Drain, "draining"),
            (Signal::Restart, "reloading"),
            (Signal::Install, "installing"),
            (Signal::Installed, "booting"),
            (Signal::ReportReady, "ready"),
            (Signal::Drain, "draining"),
            (Signal::Restart, "reloading"),
            (Signal::Wiped, "enrolled"),
        ] {
            state = step(&state, &signal).unwrap_or_else(|refused| panic!("{refused}")).0;
            assert_eq!(state.name(), next, "after {signal:?}");
        }
        assert_eq!(step(&State::Enrolled, &Signal::Adopt).map(|done| done.0), Ok(State::Ready));
        for state in [State::Discovered, State::Retiring, failed(State::Discovered)] {
            assert!(step(&state, &Signal::Install).is_err(), "nobody installs on a node that is {state}");
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        let quarantined = State::Quarantined { reason: "other serial".into(), from: Box::new(State::Ready) };
        for (name, state, signal, why) in [
            ("an unknown node gets no image", State::Discovered, Signal::BootImage, "approve it first"),
            ("nor through a failure", failed(State::Discovered), Signal::BootImage, "approve it first"),
            (
                "a node in quarantine does not boot",
                quarantined.clone(),
                Signal::BootImage,
                "approve or retire",
            ),
            ("nor report", quarantined, Signal::ReportReady, "approve or retire"),
            ("nobody is ready without a boot", State::Enrolled, Signal::ReportReady, "not handed an image"),
            ("approved twice", State::Ready, Signal::Approve, "approved already"),
            ("a retired node does not boot", State::Retired, Signal::BootImage, "approve it"),
            ("wiped only when retiring", State::Ready, Signal::Wiped, "order it"),
        ] {
            let refused = step(&state, &signal).expect_err(name);
            assert!(refused.to_string().contains(why), "{name}: {refused}");
        }
    }

    #[test]
    fn approval_reserves_and_retirement_releases() {
        assert_eq!(
            step(&State::Discovered, &Signal::Approve).map(|r| r.1),
            Ok(vec![Effect::ReserveAddresses])
        );
        assert_eq!(
            step(&State::Retiring, &Signal::Wiped).map(|r| r.1),
            Ok(vec![Effect::ReleaseAddresses, Effect::ForgetSecrets])
        );
    }

    #[test]
    fn failures_do_not_nest() {
        let twice = step(&failed(State::Booting), &Signal::Fail("y".into())).map(|r| r.0);
        assert_eq!(twice, Ok(State::Failed { reason: "y".into(), from: Box::new(State::Booting) }));
    }
}
