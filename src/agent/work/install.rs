//! An order to install: which disk, where the bytes come from, who the host will be, and what is told of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Agent, Doing, INSTALL_AGAIN};
use crate::agent::credentials::{self, FOLDER, IDENTITY, SETTINGS, Settings};
use crate::agent::discover::disks;
use crate::agent::enrol::UNIT;
use crate::agent::install::efi::{EFIVARS, Position};
use crate::agent::install::identity::{CloudInit, Network};
use crate::agent::install::{
    Boot, DataPartition, Identity, Order, Phase, Plan, Retry, Source, disk::Disk, holds::holds, install_on,
};
use crate::agent::{AgentError, machine};
use crate::appliance::{InstallReport, Orders, Progress};
use crate::boot::InstallOrder;
use crate::model::disk_rule::{Candidate, Kind, Rule};
use crate::model::inventory::{self, Transport};

/// The name of our boot entry.
const BOOT_ENTRY: &str = "Firstlight";

impl Agent {
    /// Installs, tells that it is done, and restarts. What fails is told, and tried again later or when the order changes.
    pub(super) async fn install(
        &mut self,
        who: &str,
        order: InstallOrder,
        again: Duration,
    ) -> Result<(), AgentError> {
        if self.failed.as_ref().is_some_and(|(failed, at)| *failed == order && at.elapsed() < INSTALL_AGAIN) {
            tokio::time::sleep(again).await;
            return Ok(());
        }
        let started = Instant::now();
        match self.try_install(who, &order).await {
            Ok((disk, bytes)) => {
                let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let report =
                    InstallReport { image: order.image.clone(), disk: disk.clone(), bytes, elapsed_ms };
                self.persist(async |client| client.tell("/agent/v2/installed", &report).await).await?;
                self.console.say(&format!("{who}: {} is on {disk}, verified; restarts", order.image));
                machine::restart()
            }
            Err(error) => {
                self.console.say(&format!("{who}: not installed: {error}"));
                self.doing.send_replace(Doing::new("failed", error.to_string()));
                self.failed = Some((order, Instant::now()));
                Ok(())
            }
        }
    }

    /// The disk's identity, and the bytes that were fetched.
    async fn try_install(&self, who: &str, order: &InstallOrder) -> Result<(String, u64), AgentError> {
        let rule: Rule = order.disk.parse().map_err(|error| failed("use the disk rule", error))?;
        let own = order.own_disks.clone();
        let candidates = tokio::task::spawn_blocking(move || candidates(&own)).await;
        let candidates = candidates.map_err(|error| failed("look at the disks", error))?;
        let chosen = rule.choose(&candidates, order.raw_size, order.allow_wipe);
        let chosen = chosen.map_err(|error| failed("choose a disk", error))?.clone();
        let disk = identity_of(&chosen);
        // Before a byte is written: so that a disk which a power cut leaves half written is known as our own.
        self.doing.send_replace(Doing { disk: Some(disk.clone()), ..Doing::new("installing", "") });
        let told = self.sign_of_life();
        self.persist(async |client| client.ask::<Orders>("/agent/v2/check-in", &told).await).await?;

        let (files, image) = (&self.arguments.files, &order.image);
        let source = Source::new(format!("{files}/images/{}/{}/{}", image.name, image.version(), order.arch));
        let index_digest = order.index.sha256;
        let identity = self.identity(order)?;
        let plan = Plan {
            root: order.plan.root,
            data: order
                .plan
                .data_partition
                .as_ref()
                .map(|data| DataPartition { label: data.label.clone(), size: data.size }),
        };
        let (path, told_disk) = (Path::new("/dev").join(&chosen.name), disk.clone());
        let worked = self.toil(who, move |tell| {
            let index =
                source.index(index_digest).map_err(|error| failed("fetch the image's index", error))?;
            let efi = Path::new("/sys/firmware/efi").exists();
            // The network stays first: at each boot the appliance decides.
            let boot = Boot {
                efivars: PathBuf::from(EFIVARS),
                description: BOOT_ENTRY.into(),
                position: Position::Second,
                loader: None,
            };
            let order = Order {
                index: &index,
                index_sha256: index_digest.0,
                fetch: &source,
                retry: Retry::default(),
                plan,
                identity: Some(&identity),
                boot: efi.then_some(&boot),
            };
            install_on(&path, &order, &mut |progress| {
                let progress_of = Progress { done: progress.done, total: progress.total };
                tell(Doing {
                    progress: (progress.total > 0).then_some(progress_of),
                    disk: Some(told_disk.clone()),
                    ..Doing::new("installing", describe(progress.phase))
                });
            })
            .map_err(|error| failed("install", error))
        });
        let installed = worked.await??;
        for note in &installed.notes {
            self.console.say(note);
        }
        Ok((disk, installed.written_bytes))
    }

    /// Who the host will be, with the agent and this agent's own credentials in it.
    fn identity(&self, order: &InstallOrder) -> Result<Identity, AgentError> {
        let host = &order.host;
        let settings = Settings {
            servers: vec![self.arguments.server.clone()],
            authority: self.arguments.authority,
            image: Some(order.image.clone()),
        };
        let credentials = self.credentials.as_ref().map(credentials::identity_text).unwrap_or_default();
        let within = |name: &str| Path::new(FOLDER).join(name);
        Ok(Identity {
            hostname: host.hostname.to_string(),
            domain: host.domain.clone().unwrap_or_default(),
            network: Some(Network {
                mac: host.mac.0,
                address: host.ip.into(),
                prefix: host.prefix,
                gateway: host.gateway.map(Into::into),
                dns: host.dns.iter().copied().map(Into::into).collect(),
            }),
            ssh_authorized_keys: order.ssh_keys.clone(),
            files: vec![
                (within(SETTINGS), 0o644, settings.text()?.into_bytes()),
                (within(IDENTITY), 0o600, credentials.into_bytes()),
            ],
            cloud_init: order.plan.user_data.clone().map(|user_data| CloudInit { user_data }),
            agent_binary: Some("/init".into()),
            agent_unit: Some(UNIT.into()),
        })
    }
}

fn failed(action: &str, error: impl std::fmt::Display) -> AgentError {
    AgentError::machine(action, error)
}

fn describe(phase: Phase) -> &'static str {
    match phase {
        Phase::Resuming => "looks what is there",
        Phase::Zeroing => "clears unused parts",
        Phase::Writing => "writes",
        Phase::Verifying => "reads back",
        Phase::Growing => "grows the file system",
        Phase::Identifying => "writes name and address",
        Phase::Finishing => "writes the partition table",
        Phase::BootEntry => "sets the boot entry",
    }
}

/// The machine's disks, as the rule sees them; `own` are those that we installed before.
fn candidates(own: &[String]) -> Vec<Candidate> {
    disks::read(Path::new("/")).into_iter().map(|disk| candidate(disk, own)).collect()
}

fn candidate(disk: inventory::Disk, own: &[String]) -> Candidate {
    let kind = match (disk.transport, disk.rotational) {
        (Transport::Nvme, _) => Kind::Nvme,
        (Transport::Virtio, _) => Kind::Virtio,
        (Transport::Usb, _) => Kind::Usb,
        (_, true) => Kind::Hdd,
        (_, false) => Kind::Ssd,
    };
    let path = Path::new("/dev").join(&disk.name);
    let held = Disk::open(&path).and_then(|open| holds(&open));
    let holds_data = held.unwrap_or_else(|error| Some(format!("something that cannot be read ({error})")));
    let mut candidate = Candidate {
        name: disk.name,
        model: disk.model,
        serial: disk.serial,
        wwn: disk.wwn,
        size_bytes: disk.size_bytes,
        kind,
        removable: disk.removable,
        read_only: disk.read_only,
        running: false,
        holds_data,
    };
    if own.contains(&identity_of(&candidate)) {
        candidate.holds_data = None;
    }
    candidate
}

/// What a disk is known by: its serial, else its WWN, else its name.
fn identity_of(disk: &Candidate) -> String {
    let known = [&disk.serial, &disk.wwn, &disk.name];
    known.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default()
}
