//! Signs of life: each is taken note of, and answered with what the agent is to do.

use crate::boot::{InstructContext, Instruction, Place, instruct};
use crate::model::{Change, EventKind, NodeName, Signal, State, Timestamp};

use super::super::fleet::awaits_bundles;
use super::super::jobs;
use super::super::leaving;
use super::super::presence::Heard;
use super::super::transition::transition;
use super::super::views::address_of;
use super::super::{AppError, Appliance, now};
use super::observed::{cut, observe, tell_differences};
use super::signal::signal;
use super::{Caller, CheckIn, HEARTBEAT_SECONDS, Orders};

/// Seconds between two questions of an agent in the ramdisk, in front of which somebody may stand.
const RAMDISK_SECONDS: u32 = 2;
/// Seconds between two signs of life of a host that waits for its turn, or is at it.
const PENDING_SECONDS: u32 = 3;
/// A certificate is renewed when less than this is left of it: a third of its life.
const RENEW_WITHIN_MS: u64 = 30 * 86_400_000;

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
                    tx.put(Change::put_node(node));
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
