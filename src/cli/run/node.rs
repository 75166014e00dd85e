//! Does `firstlight node …`.

use hyper::Method;
use serde_json::json;

use crate::appliance::NodeChange;
use crate::appliance::views::{EventView, NodeView};
use crate::boot::Explanation;

use super::super::CliError;
use super::super::args::{Node, Output};
use super::super::client::{Client, ClientError, segment};
use super::super::show::{self, answer, block, json_line, or_dash, print};
use super::super::timeline::{Clock, Timeline};
use super::Context;
use super::event::follow;

pub async fn node(client: &Client, command: Node, context: Context) -> Result<(), CliError> {
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
            if nodes.is_empty() {
                return context.done("no node waits for approval");
            }
            each(&nodes, async |node| {
                let path = format!("/nodes/{}/approve", segment(node));
                let view: NodeView = client.call(Method::POST, &path, &json!({})).await?;
                context.done(&format!("approved {}", view.node.name))
            })
            .await
        }
        Node::Pin { nodes, image } => {
            each(&nodes, async |node| {
                let path = format!("/nodes/{}/pin", segment(node));
                let view: NodeView = client.call(Method::PUT, &path, &json!({ "image": image })).await?;
                context.done(&format!("pinned {} to {image}", view.node.name))
            })
            .await
        }
        Node::Unpin { nodes } => {
            each(&nodes, async |node| {
                let path = format!("/nodes/{}/pin", segment(node));
                let view: NodeView = client.call(Method::DELETE, &path, &json!({})).await?;
                let desired = or_dash(view.desired);
                context.done(&format!("unpinned {}; it should now run {desired}", view.node.name))
            })
            .await
        }
        Node::Set { node, name, group, no_group } => {
            let change = NodeChange { name, group, no_group };
            let path = format!("/nodes/{}", segment(node));
            let view: NodeView = client.call(Method::PATCH, &path, &change).await?;
            let (name, group) = (view.node.name, view.node.group);
            match group {
                Some(group) => context.done(&format!("{name} is in group {group}")),
                None => context.done(&format!("{name} is in no group")),
            }
        }
        Node::Timeline { node, limit, follow, utc } => {
            timeline(client, &node, Wanted { limit, follow, utc }, context).await
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

/// Does it to each node. Who is refused does not keep the others from it; all refusals are told at the end.
async fn each(nodes: &[String], act: impl AsyncFn(&str) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut refused = Vec::new();
    for node in nodes {
        match act(node).await {
            Err(CliError::Client(error @ ClientError::Refused(_))) => refused.push(error),
            done => done?,
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(CliError::Several(refused)) }
}

/// The nodes that nobody has approved.
async fn waiting(client: &Client) -> Result<Vec<String>, CliError> {
    let nodes: Vec<NodeView> = client.get("/nodes").await?;
    let waiting = nodes.into_iter().filter(|view| view.node.state.name() == "discovered");
    Ok(waiting.map(|view| view.node.id.to_string()).collect())
}

/// Which part of a timeline, and how.
#[derive(Clone, Copy)]
struct Wanted {
    limit: usize,
    follow: bool,
    utc: bool,
}

async fn timeline(client: &Client, node: &str, wanted: Wanted, context: Context) -> Result<(), CliError> {
    // The node may be renamed while it is followed; its id stays.
    let id = client.get::<NodeView>(&format!("/nodes/{}", segment(node))).await?.node.id;
    let path = format!("/nodes/{id}/events?limit={}", wanted.limit);
    let past: Vec<EventView> = client.get(&path).await?;
    let mut timeline = Timeline::new(Clock::new(wanted.utc), context.colour);
    if !wanted.follow {
        return answer(context.output, &past, |past| timeline.whole(past, node));
    }
    if context.output == Output::Table {
        print(&timeline.header())?;
    }
    let mut show = |event: &EventView| match context.output {
        Output::Table => print(&timeline.line(event)),
        Output::Json => json_line(event),
        Output::Yaml => answer(Output::Yaml, &[event], |_| String::new()),
    };
    past.iter().try_for_each(&mut show)?;
    let after = past.last().map_or_else(|| "&limit=0".into(), |last| format!("&after={}", last.event.seq));
    let path = format!("/events?follow=true{after}");
    follow(client, &path, |event| if event.event.node == Some(id) { show(&event) } else { Ok(()) }).await
}
