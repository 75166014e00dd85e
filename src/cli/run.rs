//! Does what was asked.

use std::io::Write;

use clap::CommandFactory;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio_util::io::StreamReader;

use crate::appliance::NodeChange;
use crate::appliance::views::{
    EventView, GcView, GroupView, ImageView, LeaseView, NodeView, StatusView, VerifyView,
};
use crate::boot::Explanation;

use super::args::{Cli, Command, Event, Group, Image, Lease, Node, Output};
use super::client::{Client, ClientError, empty, segment};
use super::show::{self, answer, block, bytes, or_dash, print};
use super::timeline::timeline;
use super::{CliError, import, init};

/// Runs a command other than `serve`.
///
/// # Errors
/// One clear line.
pub async fn run(cli: Cli) -> Result<(), CliError> {
    let client = || Client::new(&cli.server);
    let context = Context { output: cli.output, quiet: cli.quiet };
    match cli.command {
        Command::Serve { .. } => Err(CliError::Local("serve is run by the main program".into())),
        Command::Init(wanted) => print(&init::init(&wanted)?),
        Command::Status => status(&client()?, context).await,
        Command::Node(command) => node(&client()?, command, context).await,
        Command::Group(command) => group(&client()?, command, context).await,
        Command::Image(command) => image(&client()?, command, context).await,
        Command::Lease(command) => lease(&client()?, command, context).await,
        Command::Event(command) => event(&client()?, command, context).await,
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => man(dir.as_deref()),
    }
}

/// How to tell what was done.
#[derive(Clone, Copy)]
struct Context {
    output: Output,
    quiet: bool,
}

impl Context {
    /// A line of confirmation.
    fn done(self, line: &str) -> Result<(), CliError> {
        if self.quiet { Ok(()) } else { print(&format!("{line}\n")) }
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
        ])
    })
}

async fn node(client: &Client, command: Node, context: Context) -> Result<(), CliError> {
    match command {
        Node::List { group, state } => {
            let mut nodes: Vec<NodeView> = client.get("/nodes").await?;
            nodes.retain(|view| group.is_none() || view.node.group == group);
            nodes.retain(|view| state.as_deref().is_none_or(|state| view.node.state.name() == state));
            answer(context.output, &nodes, |nodes| show::nodes(nodes))
        }
        Node::Show { node } => {
            let node: NodeView = client.get(&format!("/nodes/{}", segment(node))).await?;
            answer(context.output, &node, show::node)
        }
        Node::Approve { nodes, all } => {
            let nodes = if all { waiting(client).await? } else { nodes };
            for node in nodes {
                let path = format!("/nodes/{}/approve", segment(node));
                let view: NodeView = client.call(Method::POST, &path, &json!({})).await?;
                context.done(&format!("approved {}", view.node.name))?;
            }
            Ok(())
        }
        Node::Pin { mut nodes_and_image } => {
            let image = nodes_and_image.pop().unwrap_or_default();
            for node in nodes_and_image {
                let path = format!("/nodes/{}/pin", segment(node));
                let view: NodeView = client.call(Method::PUT, &path, &json!({ "image": image })).await?;
                context.done(&format!("pinned {} to {image}", view.node.name))?;
            }
            Ok(())
        }
        Node::Unpin { nodes } => {
            for node in nodes {
                let path = format!("/nodes/{}/pin", segment(node));
                let view: NodeView = client.call(Method::DELETE, &path, &json!({})).await?;
                let desired = or_dash(view.desired);
                context.done(&format!("unpinned {}; it should now run {desired}", view.node.name))?;
            }
            Ok(())
        }
        Node::Set { node, name, group, no_group } => {
            let change = NodeChange { name, group, no_group };
            let path = format!("/nodes/{}", segment(node));
            let view: NodeView = client.call(Method::PATCH, &path, &change).await?;
            let group = or_dash(view.node.group);
            context.done(&format!("{} is in group {group}", view.node.name))
        }
        Node::Timeline { node, limit } => {
            let path = format!("/nodes/{}/events?limit={limit}", segment(node));
            let events: Vec<EventView> = client.get(&path).await?;
            answer(context.output, &events, |events| timeline(events))
        }
        Node::Explain { node } => {
            let told: Explanation = client.get(&format!("/nodes/{}/explain", segment(node))).await?;
            answer(context.output, &told, |told| {
                block(&[
                    ("reached", told.reached.clone()),
                    ("since", or_dash(told.since)),
                    ("meaning", told.meaning.clone()),
                    ("hint", told.hint.clone()),
                ])
            })
        }
    }
}

/// The nodes that nobody has approved.
async fn waiting(client: &Client) -> Result<Vec<String>, CliError> {
    let nodes: Vec<NodeView> = client.get("/nodes").await?;
    let waiting = nodes.into_iter().filter(|view| view.node.state.name() == "discovered");
    Ok(waiting.map(|view| view.node.id.to_string()).collect())
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

async fn image(client: &Client, command: Image, context: Context) -> Result<(), CliError> {
    match command {
        Image::Import { manifests } => {
            for manifest in manifests {
                let imported = import::import(client, &manifest, context.quiet).await?;
                let (view, size) = (&imported.image, bytes(imported.image.size));
                let how = if imported.unchanged { "is there already" } else { "imported" };
                context.done(&format!("{} {how}, {size}", view.image.image))?;
            }
            Ok(())
        }
        Image::List => {
            let images: Vec<ImageView> = client.get("/images").await?;
            answer(context.output, &images, |images| show::images(images))
        }
        Image::Show { image } => {
            let image: ImageView = client.get(&format!("/images/{}", segment(image))).await?;
            answer(context.output, &image, show::image)
        }
        Image::Verify { image } => {
            let path = format!("/images/{}/verify", segment(&image));
            let found: VerifyView = client.call(Method::POST, &path, &json!({})).await?;
            answer(context.output, &found, |found| {
                format!(
                    "{image}: {} files, {}, {} wrong\n",
                    found.artifacts,
                    bytes(found.bytes),
                    found.problems.len()
                )
            })?;
            match found.problems.as_slice() {
                [] => Ok(()),
                problems => Err(CliError::Local(format!(
                    "{image} is damaged: {}; remove it, run `firstlight image gc`, import it again",
                    problems.join("; ")
                ))),
            }
        }
        Image::Remove { image } => {
            client.order(Method::DELETE, &format!("/images/{}", segment(&image))).await?;
            context.done(&format!("removed {image}; `firstlight image gc` frees its files"))
        }
        Image::Gc => {
            let removed: GcView = client.call(Method::POST, "/images/gc", &json!({})).await?;
            answer(context.output, &removed, |removed| {
                format!("removed {} files, {}\n", removed.removed, bytes(removed.bytes))
            })
        }
    }
}

async fn lease(client: &Client, command: Lease, context: Context) -> Result<(), CliError> {
    match command {
        Lease::List => {
            let leases: Vec<LeaseView> = client.get("/leases").await?;
            answer(context.output, &leases, |leases| show::leases(leases))
        }
        Lease::Show { ip } => {
            let lease: LeaseView = client.get(&format!("/leases/{ip}")).await?;
            answer(context.output, &lease, |lease| show::leases(std::slice::from_ref(lease)))
        }
        Lease::Release { ip } => {
            client.order(Method::DELETE, &format!("/leases/{ip}")).await?;
            context.done(&format!("released {ip}"))
        }
    }
}

async fn event(client: &Client, command: Event, context: Context) -> Result<(), CliError> {
    match command {
        Event::List { node, limit } => {
            let path = match node {
                Some(node) => format!("/nodes/{}/events?limit={limit}", segment(node)),
                None => format!("/events?limit={limit}"),
            };
            let events: Vec<EventView> = client.get(&path).await?;
            answer(context.output, &events, |events| show::events(events))
        }
        Event::Follow { limit } => follow(client, limit, context.output).await,
    }
}

/// Prints events until the appliance stops or the user has seen enough.
async fn follow(client: &Client, limit: usize, output: Output) -> Result<(), CliError> {
    let path = format!("/events?follow=true&limit={limit}");
    let response = client.send(Method::GET, &path, None, empty()).await?;
    let stream = response.into_body().into_data_stream().map_err(std::io::Error::other);
    let mut lines = StreamReader::new(stream).lines();
    let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        let event: EventView =
            serde_json::from_str(&line).map_err(|error| ClientError::Broken(error.to_string()))?;
        match output {
            Output::Table => print(&show::event(&event))?,
            Output::Json => print(&format!("{line}\n"))?,
            Output::Yaml => answer(output, &[event], |_| String::new())?,
        }
    }
    Err(ClientError::Broken("it stopped".into()).into())
}

fn completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "firstlight", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

fn man(dir: Option<&std::path::Path>) -> Result<(), CliError> {
    let command = Cli::command();
    if let Some(dir) = dir {
        let failed =
            |error| CliError::Local(format!("cannot write man pages into {}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        return clap_mangen::generate_to(command, dir).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&page)?;
    Ok(out.flush()?)
}
