//! Signs of life: what they mean for a node's state, and what the agent is told to do.

use crate::boot::{InstructContext, Instruction, Place, instruct};
use crate::bundle::desired::Applied;
use crate::model::{
    Change, EventKind, Installed, Node, NodeName, Order, OsRelease, Signal, State, Timestamp,
};

use crate::store::Tx;

use super::super::fleet::awaits_bundles;
use super::super::jobs;
use super::super::leaving;
use super::super::presence::Heard;
use super::super::transition::transition;
use super::super::views::address_of;
use super::super::{AppError, Appliance, now};
use super::{Caller, CheckIn, HEARTBEAT_SECONDS, InstallReport, Orders, reason, text};

/// Seconds between two questions of an agent in the ramdisk, in front of which somebody may stand.
const RAMDISK_SECONDS: u32 = 2;
/// Seconds between two signs of life of a host that waits for its turn, or is at it.
const PENDING_SECONDS: u32 = 3;
/// A certificate is renewed when less than this is left of it: a third of its life.
const RENEW_WITHIN_MS: u64 = 30 * 86_400_000;
/// Paths and checks that are kept of what a node tells.
const SHOWN: usize = 64;
/// Why an order is not carried out, where the firmware starts the disk.
const STRAYED: &str = "it restarted from its disk instead of the network, so the order was not carried out: \
    put the network first in its firmware's boot order and restart it";

impl Appliance {
    /// Takes a sign of life, and says what to do. Writes nothing when nothing is new.
    ///
    /// # Errors
    /// When the caller speaks for no node.
    pub async fn check_in(&self, caller: Caller, check_in: CheckIn) -> Result<Orders, AppError> {
        let (at, mut check_in) = (now(), cut(check_in));
        let id = {
            let world = self.view();
            let node = caller.node(&world)?;
            let up = check_in.place == Place::Host && check_in.phase == "ready";
            if up && awaits_bundles(&world, node, &check_in) {
                check_in.phase = "configuring".into();
            }
            node.id
        };
        let heard = Heard {
            at,
            moved: at,
            place: check_in.place,
            phase: check_in.phase.clone(),
            message: check_in.message.clone(),
            progress: check_in.progress,
            missed: false,
        };
        let missed = self.presence.hear(id, heard);
        let (signal, changes) = {
            let world = self.view();
            let node = caller.node(&world)?;
            let signal = signal(node, &check_in);
            let mut observed = node.clone();
            observe(&mut observed, &check_in, at);
            let cut_off = jobs::cut_off(&world, node.id, &check_in, at).is_some();
            (signal, observed != *node || cut_off)
        };
        let leaves = {
            let world = self.view();
            check_in.drained && leaving::has_left(&world, caller.node(&world)?, check_in.left).is_some()
        };
        if signal.is_some() || changes || missed || leaves {
            let drained = check_in.drained;
            let check_in = check_in.clone();
            let guard = self.guard();
            let retired = self
                .store
                .transact(move |tx| {
                    let mut node = caller.node(tx.world())?.clone();
                    let retiring = node.state == State::Retiring;
                    if missed {
                        tx.append(at, Some(&node), None, EventKind::Reachable { reachable: true });
                    }
                    // Decided anew: the state may be another by now.
                    if let Some(signal) = self::signal(&node, &check_in) {
                        if signal == Signal::Install {
                            if let Some(image) = tx.world().pin_of(&node).cloned() {
                                tx.append(at, Some(&node), None, EventKind::Installing { image });
                            }
                        } else if !drained {
                            let (phase, message) = (check_in.phase.clone(), check_in.message.clone());
                            tx.append(at, Some(&node), None, EventKind::Report { phase, message });
                        }
                        transition(tx, &mut node, &signal, at, None)?;
                    }
                    if check_in.drained {
                        guard.let_go(tx, &node, check_in.left, at)?;
                    }
                    let before = node.clone();
                    observe(&mut node, &check_in, at);
                    tell_differences(tx, &before, &node, at);
                    if let Some((job, end)) = jobs::cut_off(tx.world(), node.id, &check_in, at) {
                        jobs::end(tx, &node, job, end, at);
                    }
                    let retired = retiring && node.state == State::Retired;
                    if retired {
                        (node.installed, node.installing_on, node.observed.bundles) = (None, None, None);
                    }
                    let name = node.name.clone();
                    tx.put(Change::PutNode(node));
                    Ok::<_, AppError>(retired.then_some(name))
                })
                .await?;
            if leaves {
                self.wake.notify_one();
            }
            if let Some(name) = retired {
                // Its certificate is forgotten: this is the last that it hears.
                self.presence.forget(id);
                return Ok(farewell(name, at));
            }
        }
        if let Some(lines) = check_in.serf.take()
            && self.gossip.hear(id, lines, at)
        {
            self.wake.notify_one();
        }
        if !check_in.evicted.is_empty() {
            self.evicted(caller, std::mem::take(&mut check_in.evicted), at).await?;
        }
        let generation = self.generation_for(caller, &check_in, at).await?;
        self.orders(caller, &check_in, generation, at)
    }

    fn orders(
        &self,
        caller: Caller,
        check_in: &CheckIn,
        generation: Option<String>,
        at: Timestamp,
    ) -> Result<Orders, AppError> {
        let world = self.view();
        let node = caller.node(&world)?;
        let ip = address_of(&world, node).unwrap_or(caller.ip());
        let network = self.config.networks.iter().find(|network| network.subnet.contains(ip));
        let instruction = instruct(
            node,
            &InstructContext {
                world: &world,
                place: check_in.place,
                certified: caller.is_certified(),
                drained: check_in.drained,
                network: network.map(|network| (network, ip)),
                domain: self.config.domain.as_deref(),
                ssh_keys: &self.config.ssh_keys,
            },
        );
        let last = node.certificates.last();
        Ok(Orders {
            node: node.name.clone(),
            state: node.state.name().into(),
            instruction,
            again_seconds: match check_in.place {
                Place::Ramdisk => RAMDISK_SECONDS,
                Place::Host if self.is_pending(node) => PENDING_SECONDS,
                Place::Host => HEARTBEAT_SECONDS,
            },
            generation,
            leave: leaving::goes_for_good(node),
            force: node.forced,
            evict: self.evictions_by(node.id),
            renew: caller.is_certified()
                && last.is_some_and(|last| last.expires.0.saturating_sub(at.0) < RENEW_WITHIN_MS),
            time: at,
        })
    }

    /// An image is on a node's disk, and was read back there.
    ///
    /// # Errors
    /// When the caller speaks for no node, or nothing was being installed.
    pub async fn installed(&self, caller: Caller, report: InstallReport) -> Result<(), AppError> {
        let at = now();
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate can speak for an installed disk".into()));
        }
        let InstallReport { image, disk, bytes, elapsed_ms } = report;
        let disk = text(&disk);
        self.store
            .transact(move |tx| {
                let mut node = caller.node(tx.world())?.clone();
                transition(tx, &mut node, &Signal::Installed, at, None)?;
                let kind =
                    EventKind::Installed { image: image.clone(), disk: disk.clone(), bytes, elapsed_ms };
                tx.append(at, Some(&node), None, kind);
                node.installed = Some(Installed { image, disk, at });
                // The disk was written anew: nothing of bundles is on it.
                node.observed.bundles = None;
                node.installing_on = None;
                node.order = node.order.filter(|order| *order != Order::Install);
                node.next_boot = None;
                tx.put(Change::PutNode(node));
                Ok(())
            })
            .await
    }

    /// A node's disks are erased; `certificates` tell how.
    ///
    /// # Errors
    /// When the caller speaks for no node, or nobody ordered it.
    pub async fn wiped(&self, caller: Caller, certificates: Vec<serde_json::Value>) -> Result<(), AppError> {
        let at = now();
        let id = self
            .store
            .transact(move |tx| {
                let mut node = caller.node(tx.world())?.clone();
                if node.order != Some(Order::Wipe) {
                    return Err(AppError::Refused("nobody ordered a wipe".into()));
                }
                for certificate in certificates.into_iter().take(64) {
                    tx.append(at, Some(&node), None, EventKind::Erased { certificate });
                }
                node.order = None;
                (node.installed, node.installing_on, node.observed.bundles) = (None, None, None);
                node.observed.bundles = None;
                transition(tx, &mut node, &Signal::Wiped, at, None)?;
                let id = node.id;
                tx.put(Change::PutNode(node));
                Ok::<_, AppError>(id)
            })
            .await?;
        self.presence.forget(id);
        Ok(())
    }
}

/// The last orders of a host that is retired.
fn farewell(node: NodeName, at: Timestamp) -> Orders {
    Orders {
        node,
        state: State::Retired.name().into(),
        instruction: Instruction::Continue,
        again_seconds: 3600,
        renew: false,
        generation: None,
        leave: false,
        force: false,
        evict: Vec::new(),
        time: at,
    }
}

fn cut(check_in: CheckIn) -> CheckIn {
    CheckIn {
        boot_id: text(&check_in.boot_id),
        kernel: text(&check_in.kernel),
        os: check_in.os.map(OsRelease::bounded),
        phase: text(&check_in.phase),
        message: text(&check_in.message),
        disk: check_in.disk.as_deref().map(text),
        ..check_in
    }
}

/// What a node says of its bundles, kept short.
fn bounded(mut applied: Applied) -> Applied {
    let lists =
        [(&mut applied.bundles, jobs::BUNDLES), (&mut applied.drift, SHOWN), (&mut applied.unhealthy, SHOWN)];
    for (list, most) in lists {
        list.truncate(most);
        for one in list.iter_mut() {
            *one = text(one);
        }
    }
    applied.generation = text(&applied.generation);
    if let Some(last) = &mut applied.last {
        (last.generation, last.reason) = (text(&last.generation), reason(&last.reason));
        last.bundle = last.bundle.as_deref().map(text);
        last.changes.clear();
    }
    applied
}

/// Tells of drift and health when they are others than before.
fn tell_differences(tx: &mut Tx, before: &Node, node: &Node, at: Timestamp) {
    let list = |node: &Node, which: fn(&Applied) -> &Vec<String>| {
        node.observed.bundles.as_ref().map(which).cloned().unwrap_or_default()
    };
    let (old, new) = (list(before, |applied| &applied.drift), list(node, |applied| &applied.drift));
    if old != new {
        tx.append(at, Some(node), None, EventKind::Drifted { paths: new });
    }
    let (old, new) = (list(before, |applied| &applied.unhealthy), list(node, |applied| &applied.unhealthy));
    if old != new {
        tx.append(at, Some(node), None, EventKind::Unhealthy { checks: new });
    }
}

/// What a sign of life means for the node's state; `None` when it is no news.
fn signal(node: &Node, check_in: &CheckIn) -> Option<Signal> {
    let state = &node.state;
    match (check_in.place, check_in.phase.as_str()) {
        (_, "failed") if state.reason() != Some(check_in.message.as_str()) => {
            Some(Signal::Fail(check_in.message.clone()))
        }
        (Place::Ramdisk, "installing") if state.is_trusted() && *state != State::Installing => {
            Some(Signal::Install)
        }
        (Place::Ramdisk, "wiping") if node.order == Some(Order::Wipe) => match state {
            State::Retiring | State::Reloading => None,
            State::Failed { from, .. } if **from == State::Retiring => Some(Signal::Retire),
            _ => Some(Signal::Restart),
        },
        (Place::Host, _) if strayed(node, check_in) => {
            (state.reason() != Some(STRAYED)).then(|| Signal::Fail(STRAYED.into()))
        }
        (Place::Host, _) if check_in.drained && *state == State::Draining => Some(Signal::Restart),
        // Its disks stay, and what bundles brought is gone.
        (Place::Host, _) if check_in.drained && *state == State::Retiring && node.order.is_none() => {
            Some(Signal::Wiped)
        }
        (Place::Host, "configuring") => {
            let from = matches!(state, State::Booting | State::Installing | State::Reloading);
            let failed = matches!(state, State::Failed { from, .. } if from.is_trusted());
            ((from && has_restarted(node, check_in)) || failed).then_some(Signal::ReportConfiguring)
        }
        (Place::Host, "ready") => {
            let from = matches!(state, State::Booting | State::Configuring | State::Reloading);
            let failed = matches!(state, State::Failed { from, .. } if from.is_trusted());
            ((from && has_restarted(node, check_in)) || failed).then_some(Signal::ReportReady)
        }
        _ => None,
    }
}

/// Whether the system has started anew since it was last heard: before that, a restart that was ordered is still to come.
fn has_restarted(node: &Node, check_in: &CheckIn) -> bool {
    node.state != State::Reloading || node.observed.boot_id.as_deref() != Some(check_in.boot_id.as_str())
}

/// Whether the system has started anew from its disk, where it was to come to the ramdisk.
fn strayed(node: &Node, check_in: &CheckIn) -> bool {
    let ordered = matches!(node.order, Some(Order::Install | Order::Wipe));
    let known = node.observed.boot_id.as_deref().is_some_and(|known| known != check_in.boot_id);
    let on_its_way = matches!(node.state, State::Reloading | State::Retiring) && known;
    ordered && !check_in.drained && (on_its_way || node.state.reason() == Some(STRAYED))
}

fn observe(node: &mut Node, check_in: &CheckIn, at: Timestamp) {
    if check_in.place == Place::Ramdisk && check_in.phase == "installing" && check_in.disk.is_some() {
        node.installing_on.clone_from(&check_in.disk);
    }
    if check_in.place != Place::Host {
        return;
    }
    if node.order == Some(Order::Reload) && node.state == State::Ready {
        node.order = None;
    }
    // While it is about to restart, the boot that counts is the next one.
    if matches!(node.state, State::Draining | State::Reloading | State::Retiring) {
        return;
    }
    let observed = &mut node.observed;
    if let Some(bundles) = &check_in.bundles {
        observed.bundles = Some(bounded(bundles.clone()));
    }
    observed.image = check_in.image.clone().or(observed.image.take());
    observed.kernel = Some(check_in.kernel.clone());
    // An agent that does not tell is older than this: what another one told holds.
    observed.os = check_in.os.clone().map(Box::new).or(observed.os.take());
    let new_boot = observed.boot_id.as_deref() != Some(check_in.boot_id.as_str());
    observed.boot_id = Some(check_in.boot_id.clone());
    if node.state == State::Ready && (new_boot || observed.ready_at.is_none()) {
        observed.ready_at = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MacAddr;

    fn node(state: State, order: Option<Order>) -> Node {
        let name = "n1".parse().expect("a name");
        let mut node =
            Node::discovered(crate::model::NodeId(1), name, MacAddr([2, 0, 0, 0, 0, 1]), Timestamp(1));
        (node.state, node.order) = (state, order);
        node.observed.boot_id = Some("old".into());
        node
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn signs_of_life_move_a_node() {
        let failed = |reason: &str, from| State::Failed { reason: reason.into(), from: Box::new(from) };
        let (install, wipe, reload) = (Some(Order::Install), Some(Order::Wipe), Some(Order::Reload));
        let (host, ramdisk) = (Place::Host, Place::Ramdisk);
        for (name, state, order, place, boot_id, phase, drained, expected) in [
            ("up for the first time", State::Booting, None, host, "new", "configuring", false, "configuring"),
            ("ready", State::Configuring, None, host, "new", "ready", false, "ready"),
            ("no news", State::Ready, None, host, "old", "ready", false, ""),
            ("work given up", State::Draining, install, host, "old", "ready", true, "restart"),
            ("a restart still to come", State::Reloading, reload, host, "old", "ready", true, ""),
            ("restarted", State::Reloading, reload, host, "new", "ready", false, "ready"),
            (
                "in the ramdisk as ordered",
                State::Reloading,
                install,
                ramdisk,
                "new",
                "installing",
                false,
                "install",
            ),
            (
                "an upgrade strays to the disk",
                State::Reloading,
                install,
                host,
                "new",
                "configuring",
                false,
                "fail",
            ),
            ("a wipe strays to the disk", State::Retiring, wipe, host, "new", "ready", false, "fail"),
            ("a wipe is about to restart it", State::Retiring, wipe, host, "old", "ready", true, ""),
            (
                "a host whose disks stay gives up its work",
                State::Retiring,
                None,
                host,
                "old",
                "ready",
                false,
                "",
            ),
            ("it has given up all of it", State::Retiring, None, host, "old", "ready", true, "wiped"),
            (
                "it strayed, and that is known",
                failed(STRAYED, State::Reloading),
                install,
                host,
                "new",
                "ready",
                false,
                "",
            ),
            (
                "it strayed, and the order was taken back",
                failed(STRAYED, State::Ready),
                None,
                host,
                "new",
                "ready",
                false,
                "ready",
            ),
            (
                "it strayed, and then came to the ramdisk",
                failed(STRAYED, State::Reloading),
                install,
                ramdisk,
                "newer",
                "installing",
                false,
                "install",
            ),
            ("wiping begins", State::Ready, wipe, ramdisk, "new", "wiping", false, "restart"),
            ("wiping nobody ordered", State::Ready, None, ramdisk, "new", "wiping", false, ""),
            ("nobody approved the host", State::Discovered, None, host, "new", "ready", false, ""),
            (
                "nobody approved what installs",
                State::Discovered,
                None,
                ramdisk,
                "new",
                "installing",
                false,
                "",
            ),
        ] {
            let check_in = CheckIn {
                place,
                boot_id: boot_id.into(),
                kernel: String::new(),
                os: None,
                phase: phase.into(),
                message: String::new(),
                progress: None,
                drained,
                left: false,
                busy: None,
                image: None,
                disk: None,
                bundles: None,
                serf: None,
                evicted: Vec::new(),
            };
            let found = match signal(&node(state, order), &check_in) {
                None => "",
                Some(Signal::ReportConfiguring) => "configuring",
                Some(Signal::ReportReady) => "ready",
                Some(Signal::Restart) => "restart",
                Some(Signal::Install) => "install",
                Some(Signal::Fail(_)) => "fail",
                Some(Signal::Wiped) => "wiped",
                Some(other) => panic!("{name}: {other:?}"),
            };
            assert_eq!(found, expected, "{name}");
        }
    }
}
