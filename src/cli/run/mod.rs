//! Does what was asked: [`node`], [`image`] and [`event`] by noun, the short nouns here; [`docs`] prints what needs no
//! appliance.

mod adopt;
mod bundle;
mod cluster;
mod docs;
mod event;
mod image;
mod job;
mod lease;
mod network;
mod node;
mod order;
mod package;
mod vars;

use std::io::IsTerminal;

use hyper::Method;
use serde_json::json;

use crate::agent::{AgentError, enrol, service};
use crate::appliance::RamdiskState;
use crate::appliance::views::{GroupView, StatusView};

use super::args::{Agent, Cli, Command, Group, Output};
use super::client::{Client, segment};
use super::show::{self, answer, block, print};
use super::{CliError, init};
use crate::appliance::ansible::Inventory;

/// Runs a command other than `serve`.
///
/// # Errors
/// One clear line.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    let client = || Client::new(&cli.server);
    let context = Context { output: cli.output, quiet: cli.quiet, colour: colour(cli.no_color) };
    match cli.command {
        Command::Serve { .. } => Err(CliError::Local("serve is run by the main program".into())),
        Command::Init(wanted) => context.done(init::init(&wanted)?.trim_end()),
        Command::Status => status(&client()?, context).await,
        Command::Node(command) => node::node(&client()?, command, context).await,
        Command::Group(command) => group(&client()?, command, context).await,
        Command::Image(command) => image::image(&client()?, command, context).await,
        Command::Bundle(command) => bundle::bundle(&client, command, context).await,
        Command::Cluster(command) => cluster::cluster(&client()?, command, context).await,
        Command::Vars(command) => vars::vars(&client()?, command, context).await,
        Command::Job(command) => job::job(&client()?, command, context).await,
        Command::Package(command) => package::package(&client()?, command, context).await,
        Command::Lease(command) => lease::lease(&client()?, command, context).await,
        Command::Network(command) => network::network(&client()?, command, context).await,
        Command::Doctor => network::doctor(&client()?, context).await,
        Command::Event(command) => event::event(&client()?, command, context).await,
        Command::Inventory { host, .. } => inventory(&client()?, host).await,
        Command::Agent(command) => agent(command, context).await,
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::man(dir.as_deref()),
    }
}

/// How to tell what was done.
#[derive(Clone, Copy)]
struct Context {
    output: Output,
    quiet: bool,
    colour: bool,
}

/// Colours are for terminals that can, and for people who want them (<https://no-color.org>).
fn colour(refused: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stdout().is_terminal() && !refused && !set("NO_COLOR") && !dumb
}

impl Context {
    /// A line of confirmation.
    fn done(self, line: &str) -> Result<(), CliError> {
        if self.quiet { Ok(()) } else { print(&format!("{line}\n")) }
    }
}

async fn agent(command: Agent, context: Context) -> Result<(), CliError> {
    let failed = |error: AgentError| CliError::Local(error.to_string());
    match command {
        Agent::Run { dir } => service::run(&dir).await.map_err(failed),
        Agent::Enrol { servers, token, dir, no_unit } => {
            let token = if token == "-" {
                let mut text = String::new();
                std::io::stdin()
                    .read_line(&mut text)
                    .map_err(|error| CliError::Local(format!("cannot read the token: {error}")))?;
                text
            } else {
                token
            };
            let node = enrol::enrol(&dir, &servers, &token).await.map_err(failed)?;
            let started = !no_unit && enrol::start_unit().await.map_err(failed)?;
            let how = if started { "its agent runs" } else { "start its agent with: firstlight agent run" };
            context.done(&format!("enrolled as {node}; {how}"))
        }
    }
}

/// Prints JSON whatever `--output` says: that is what Ansible reads.
async fn inventory(client: &Client, host: Option<String>) -> Result<(), CliError> {
    let all: Inventory = client.get("/inventory").await?;
    match host {
        None => show::json_line(&all),
        Some(host) => match all.meta.hostvars.get(&host) {
            Some(variables) => show::json_line(variables),
            None => {
                Err(CliError::Local(format!("there is no host '{host}'; see `firstlight inventory --list`")))
            }
        },
    }
}

async fn status(client: &Client, context: Context) -> Result<(), CliError> {
    let status: StatusView = client.get("/status").await?;
    answer(context.output, &status, |status| {
        block(&[
            ("version", status.version.clone()),
            ("started", status.started.to_string()),
            ("networks", status.networks.join(", ")),
            ("nodes", status.nodes.to_string()),
            ("authority", status.authority.to_string()),
            (
                "ramdisk",
                match &status.ramdisk {
                    RamdiskState::None => "none is configured; see [ramdisk]".into(),
                    RamdiskState::Building => "is being built".into(),
                    RamdiskState::Failed { reason } => format!("failed: {reason}"),
                    RamdiskState::Ready { image } => image.to_string(),
                },
            ),
        ])
    })
}

async fn group(client: &Client, command: Group, context: Context) -> Result<(), CliError> {
    match command {
        Group::List => {
            let groups: Vec<GroupView> = client.get("/groups").await?;
            answer(context.output, &groups, |groups| show::groups(groups))
        }
        Group::Show { group } => {
            let group: GroupView = client.get(&format!("/groups/{}", segment(group))).await?;
            answer(context.output, &group, show::group)
        }
        Group::Create { group } => {
            let _: GroupView = client.call(Method::POST, "/groups", &json!({ "name": group })).await?;
            context.done(&format!("created group {group}"))
        }
        Group::Pin { group, image } => {
            let path = format!("/groups/{}/pin", segment(&group));
            let view: GroupView = client.call(Method::PUT, &path, &json!({ "image": image })).await?;
            context.done(&format!("pinned group {group} ({} nodes) to {image}", view.nodes.len()))
        }
        Group::Unpin { group } => {
            let path = format!("/groups/{}/pin", segment(&group));
            let _: GroupView = client.call(Method::DELETE, &path, &json!({})).await?;
            context.done(&format!("unpinned group {group}"))
        }
        Group::Delete { group } => {
            client.order(Method::DELETE, &format!("/groups/{}", segment(&group))).await?;
            context.done(&format!("deleted group {group}"))
        }
    }
}
