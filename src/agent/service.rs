//! The agent of an installed host: signs of life, and what the appliance orders.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::bundles::{self, Bundles};
use super::client::{As, Client};
use super::credentials::{self, Settings};
use super::install::efi::{EFIVARS, network_next};
use super::members::Members;
use super::{AgentError, machine};
use crate::appliance::{CheckIn, Enrol, EnrolStep, HEARTBEAT_SECONDS, Orders};
use crate::boot::{Instruction, Place};
use crate::bundle::desired::Applied;
use crate::model::Timestamp;
use crate::trust::client::{Credentials, request};

/// Longest pause between two tries to reach the appliance.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// What the host does before it gives up its work, where the file is there and may be run.
const DRAIN_HOOK: &str = "/etc/firstlight/hooks/drain";
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(20 * 60);
/// While the system comes up, the appliance is told so more often.
const COMING_UP: Duration = Duration::from_secs(3);

/// Runs for ever.
///
/// # Errors
/// When there are no credentials, or the appliance knows this host no more.
pub async fn run(folder: &Path) -> Result<(), AgentError> {
    let (settings, credentials) = credentials::read(folder)?;
    let bundles = Bundles::open(Path::new(bundles::FOLDER)).await;
    let members = Members::watch();
    let mut service = Service { folder, settings, credentials, bundles, members, server: 0, drained: false };
    let mut pause = Duration::from_secs(1);
    loop {
        match service.beat().await {
            Ok(next) => {
                pause = Duration::from_secs(1);
                tokio::select! {
                    () = tokio::time::sleep(jitter(next)) => {}
                    // All members see it at once; they need not all tell it at once.
                    () = service.members.changed() => tokio::time::sleep(jitter(COMING_UP)).await,
                }
            }
            Err(error) if error.is_final() => {
                // A host that was retired, or cloned: it goes on as it is, and asks seldom.
                tracing::error!(%error, "the appliance does not know this host");
                tokio::time::sleep(jitter(LONGEST_PAUSE)).await;
            }
            Err(error) => {
                tracing::warn!(%error, pause_seconds = pause.as_secs(), "no sign of life could be given");
                service.server = service.server.wrapping_add(1);
                tokio::time::sleep(jitter(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Between 80 % and 120 % of a pause, so that ten thousand hosts which started together do not speak together.
fn jitter(pause: Duration) -> Duration {
    let mut byte = [0; 2];
    // Without randomness all pauses are of full length: no harm.
    if getrandom::fill(&mut byte).is_err() {
        return pause;
    }
    let share = f64::from(u16::from_be_bytes(byte)) / f64::from(u16::MAX);
    pause.mul_f64(0.8 + 0.4 * share)
}

struct Service<'a> {
    folder: &'a Path,
    settings: Settings,
    credentials: Credentials,
    bundles: Bundles,
    members: Members,
    /// Which of the servers is tried next.
    server: usize,
    drained: bool,
}

impl Service<'_> {
    fn client(&self) -> Result<Client, AgentError> {
        let servers = &self.settings.servers;
        let server = self.server.checked_rem(servers.len()).and_then(|index| servers.get(index));
        let server =
            server.ok_or_else(|| AgentError::machine("reach the appliance", "agent.toml names no server"))?;
        Client::new(server, self.settings.authority, As::Certificate(&self.credentials), Timestamp(0))
    }

    /// One sign of life, and what follows from the answer; the pause until the next.
    async fn beat(&mut self) -> Result<Duration, AgentError> {
        let up = is_up().await;
        let client = self.client()?;
        let applied = self.bundles.observed().await;
        if let Some(applied) = &applied {
            self.bundles.repair(applied).await;
        }
        let sign = self.sign_of_life(up, applied).await;
        let orders: Orders = client.ask("/agent/v2/check-in", &sign).await?;
        self.members.evict(orders.evict);
        if orders.renew {
            self.renew().await?;
        }
        match orders.instruction {
            Instruction::Drain => {
                tracing::info!("gives up its work, as it was told");
                drain().await;
                self.bundles.drain(orders.leave).await;
                self.drained = true;
                return Ok(Duration::ZERO);
            }
            Instruction::Reboot { reason } => {
                tracing::info!(reason, "restarts, as it was told");
                restart().await?;
                return Ok(Duration::from_secs(u64::from(HEARTBEAT_SECONDS)));
            }
            Instruction::Continue => {
                if let Some(generation) = orders.generation
                    && let Err(error) = self.bundles.follow(&client, generation).await
                {
                    tracing::warn!(%error, "cannot go to the generation that the appliance named");
                }
            }
            other => tracing::info!(?other, "nothing that an installed host can do"),
        }
        let pause = Duration::from_secs(u64::from(orders.again_seconds.clamp(1, 3600)));
        Ok(if up && !self.bundles.is_busy() { pause } else { COMING_UP.min(pause) })
    }

    async fn sign_of_life(&mut self, up: bool, bundles: Option<Applied>) -> CheckIn {
        CheckIn {
            place: Place::Host,
            boot_id: machine::boot_id(),
            kernel: machine::kernel(),
            os: machine::os_release(),
            phase: if up { "ready" } else { "configuring" }.into(),
            message: String::new(),
            progress: None,
            drained: self.drained,
            image: self.settings.image.clone(),
            disk: None,
            bundles,
            serf: self.members.serf(),
            evicted: self.members.evicted().await,
        }
    }

    async fn renew(&mut self) -> Result<(), AgentError> {
        let (key, request) = request().map_err(|error| AgentError::machine("make a key", error))?;
        let enrol = Enrol { request, ..Enrol::default() };
        match self.client()?.ask("/agent/v2/renew", &enrol).await? {
            EnrolStep::Certificate { certificate, expires, .. } => {
                let credentials = Credentials { key, certificate };
                credentials::write_credentials(self.folder, &credentials)?;
                self.credentials = credentials;
                tracing::info!(%expires, "has a new certificate");
                Ok(())
            }
            EnrolStep::Challenge { kind, .. } => {
                Err(AgentError::machine(format!("answer the challenge '{kind}'"), "this agent is too old"))
            }
        }
    }
}

/// Whether the system has come up: systemd says so, or there is none.
async fn is_up() -> bool {
    let mut systemctl = Command::new("systemctl");
    systemctl.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(10), systemctl.output()).await {
        Ok(Ok(output)) => !matches!(output.stdout.trim_ascii(), b"initializing" | b"starting"),
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

/// Runs the hook. One that fails does not keep the host: the operator's order stands.
async fn drain() {
    if !Path::new(DRAIN_HOOK).exists() {
        return;
    }
    let mut hook = Command::new(DRAIN_HOOK);
    hook.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(DRAIN, hook.status()).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::warn!(%status, "the drain hook failed"),
        Ok(Err(error)) => tracing::warn!(%error, "the drain hook cannot be run"),
        Err(_) => tracing::warn!("the drain hook took too long"),
    }
}

/// Restarts, over the network if the firmware can be told so.
async fn restart() -> Result<(), AgentError> {
    let efivars = Path::new(EFIVARS);
    if efivars.exists() {
        match network_next(efivars) {
            Ok(Some(entry)) => tracing::info!(entry, "the firmware boots over the network next"),
            Ok(None) => tracing::warn!("the firmware has no entry for the network; its boot order counts"),
            Err(error) => tracing::warn!(%error, "the firmware cannot be told; its boot order counts"),
        }
    }
    let orderly = Command::new("systemctl").arg("reboot").stdin(Stdio::null()).status().await;
    if orderly.is_ok_and(|status| status.success()) { Ok(()) } else { machine::restart() }
}
