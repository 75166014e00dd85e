//! What the agent of the ramdisk does: tells what the machine is, and then what the appliance says, until it restarts.

mod install;
mod wipe;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::AgentError;
use super::arguments::Arguments;
use super::client::{As, Client};
use super::console::Console;
use super::discover::{Options, discover};
use super::machine;
use crate::appliance::{CheckIn, Enrol, EnrolStep, Hello, Orders, Progress};
use crate::boot::{InstallOrder, Instruction, Place};
use crate::model::Timestamp;
use crate::trust::client::{Credentials, request};

/// First and last pause between two tries to reach the appliance.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long the switches have to tell which port this is.
const NEIGHBOURS: Duration = Duration::from_secs(35);
/// An installation that failed is tried again after so long, or when the order is another one.
const INSTALL_AGAIN: Duration = Duration::from_secs(120);

/// What is told of the work, shared with what reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doing {
    phase: &'static str,
    message: String,
    progress: Option<Progress>,
    disk: Option<String>,
}

impl Doing {
    fn new(phase: &'static str, message: impl Into<String>) -> Self {
        Self { phase, message: message.into(), progress: None, disk: None }
    }
}

/// The agent's state in the ramdisk.
struct Agent {
    arguments: Arguments,
    console: Arc<Console>,
    client: Client,
    credentials: Option<Credentials>,
    doing: watch::Sender<Doing>,
    /// The installation that failed last, and when.
    failed: Option<(InstallOrder, Instant)>,
    rescue: Option<super::rescue_shell::Rescue>,
}

/// Works until the machine restarts; returns only with what makes a restart necessary.
pub async fn run(arguments: Arguments, console: Console, clock: Timestamp) -> Result<(), AgentError> {
    let console = Arc::new(console);
    let client =
        Client::new(&arguments.server, arguments.authority, As::Token(&arguments.token), arguments.time)?;
    let (doing, _) = watch::channel(Doing::new("waiting", ""));
    let mut agent =
        Agent { arguments, console, client, credentials: None, doing, failed: None, rescue: None };
    agent.hello(clock).await?;
    agent.look_for_neighbours();
    loop {
        let orders = agent.check_in().await?;
        machine::set_clock(orders.time);
        agent.obey(orders).await?;
    }
}

impl Agent {
    /// Tells what the machine is, until the appliance has heard it.
    async fn hello(&self, clock: Timestamp) -> Result<(), AgentError> {
        let options = Options { ask_devices: true, raise_links: false, lldp: None };
        let inventory = inventory(options).await?;
        self.persist(async |client| {
            client.tell("/agent/v2/hello", &Hello { clock, inventory: inventory.clone() }).await
        })
        .await
    }

    /// Listens for the switches beside the work, and tells what was heard.
    fn look_for_neighbours(&self) {
        let client = self.client.clone();
        tokio::spawn(async move {
            let options = Options { ask_devices: true, raise_links: true, lldp: Some(NEIGHBOURS) };
            let Ok(inventory) = inventory(options).await else { return };
            if inventory.nics.iter().any(|nic| nic.lldp.is_some()) {
                let hello = Hello { clock: machine::clock(), inventory };
                // The next boot tells it again.
                let _ = client.tell("/agent/v2/hello", &hello).await;
            }
        });
    }

    async fn check_in(&self) -> Result<Orders, AgentError> {
        self.persist(async |client| client.ask("/agent/v2/check-in", &self.sign_of_life()).await).await
    }

    fn sign_of_life(&self) -> CheckIn {
        sign_of_life(&self.doing.borrow())
    }

    /// Asks until there is an answer; a refusal that lasts is an error.
    async fn persist<T>(&self, ask: impl AsyncFn(&Client) -> Result<T, AgentError>) -> Result<T, AgentError> {
        let mut pause = PAUSE.0;
        loop {
            match ask(&self.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    self.console.show(&format!("{error}; tries again"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    async fn obey(&mut self, orders: Orders) -> Result<(), AgentError> {
        let who =
            format!("{} {} {} {}", orders.node, self.arguments.mac, self.arguments.address.0, orders.state);
        let again = Duration::from_secs(u64::from(orders.again_seconds.clamp(1, 300)));
        match orders.instruction {
            Instruction::Continue => tokio::time::sleep(again).await,
            Instruction::Wait { reason } => {
                self.console.show(&format!("{who}: {reason}"));
                self.doing.send_replace(Doing::new("waiting", reason));
                tokio::time::sleep(again).await;
            }
            Instruction::Enrol => self.enrol().await?,
            Instruction::Install(order) => self.install(&who, *order, again).await?,
            Instruction::Wipe => self.wipe(&who).await?,
            Instruction::Rescue { ssh_keys } => {
                if self.rescue.is_none() {
                    self.rescue = Some(
                        super::rescue_shell::Rescue::start(
                            &self.console,
                            &ssh_keys,
                            self.arguments.address.0,
                        )
                        .await?,
                    );
                }
                let told = self.rescue.as_ref().map(|rescue| rescue.told.clone()).unwrap_or_default();
                self.console.show(&format!("{who}: {told}"));
                self.doing.send_replace(Doing::new("rescue", told));
                tokio::time::sleep(again).await;
            }
            Instruction::Drain => {
                self.console.show(&format!("{who}: nothing runs here that could be drained"));
            }
            Instruction::Reboot { reason } => {
                self.console.say(&format!("{who}: restarts: {reason}"));
                machine::restart()?;
            }
        }
        Ok(())
    }

    /// Trades the token for a certificate, and speaks with that from now on.
    async fn enrol(&mut self) -> Result<(), AgentError> {
        let (key, request) = request().map_err(|error| AgentError::machine("make a key", error))?;
        let enrol = Enrol { request, ..Enrol::default() };
        let step: EnrolStep =
            self.persist(async |client| client.ask("/agent/v2/enrol", &enrol).await).await?;
        match step {
            EnrolStep::Certificate { certificate, .. } => {
                let credentials = Credentials { key, certificate };
                let Arguments { server, authority, time, .. } = &self.arguments;
                self.client = Client::new(server, *authority, As::Certificate(&credentials), *time)?;
                self.credentials = Some(credentials);
                Ok(())
            }
            EnrolStep::Challenge { kind, .. } => Err(AgentError::machine(
                format!("answer the challenge '{kind}'"),
                "this agent is older than the appliance; build the ramdisk anew",
            )),
        }
    }

    /// Does a long piece of work in a thread of its own, and tells how far it is all the while.
    async fn toil<T: Send + 'static>(
        &self,
        who: &str,
        work: impl FnOnce(&dyn Fn(Doing)) -> T + Send + 'static,
    ) -> Result<T, AgentError> {
        let (doing, done) = (self.doing.clone(), Arc::new(Notify::new()));
        let working = tokio::task::spawn_blocking(move || {
            work(&|now: Doing| {
                doing.send_replace(now);
            })
        });
        let teller = tokio::spawn(tell_progress(
            self.client.clone(),
            self.doing.subscribe(),
            Arc::clone(&self.console),
            who.to_owned(),
            Arc::clone(&done),
        ));
        let result = working.await.map_err(|error| AgentError::machine("go on", error));
        done.notify_one();
        // It ends by itself; what it had to tell is told again by the next sign of life.
        let _ = teller.await;
        result
    }
}

/// Says on the console and to the appliance how far the work is, until it is done.
async fn tell_progress(
    client: Client,
    doing: watch::Receiver<Doing>,
    console: Arc<Console>,
    who: String,
    done: Arc<Notify>,
) {
    let mut tenth = u64::MAX;
    loop {
        let now = doing.borrow().clone();
        let reached =
            now.progress.and_then(|progress| (progress.done * 10).checked_div(progress.total)).unwrap_or(0);
        if reached != tenth {
            tenth = reached;
            console.show(&format!("{who}: {} {} {}0 %", now.phase, now.message, reached));
        }
        // Lost in an outage of the appliance: the next one tells more.
        let _ = client.ask::<Orders>("/agent/v2/check-in", &sign_of_life(&now)).await;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = done.notified() => return,
        }
    }
}

fn sign_of_life(doing: &Doing) -> CheckIn {
    CheckIn {
        place: Place::Ramdisk,
        boot_id: machine::boot_id(),
        kernel: machine::kernel(),
        os: None,
        phase: doing.phase.into(),
        message: doing.message.clone(),
        progress: doing.progress,
        drained: false,
        image: None,
        disk: doing.disk.clone(),
        bundles: None,
        serf: None,
        evicted: Vec::new(),
    }
}

async fn inventory(options: Options) -> Result<crate::model::inventory::Inventory, AgentError> {
    let reading = tokio::task::spawn_blocking(move || discover(Path::new("/"), &options));
    reading.await.map_err(|error| AgentError::machine("read the hardware", error))
}
