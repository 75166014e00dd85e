//! Does `firstlight node …`.

use hyper::Method;
use serde_json::json;

use crate::appliance::views::{EventView, HardwareView, NodeView};
use crate::appliance::{Invite, Invited, NodeChange};
use crate::boot::Explanation;
use crate::model::{EventKind, Order};

use super::super::CliError;
use super::super::args::{Node, Output};
use super::super::client::{Client, segment};
use super::super::show::{self, answer, block, json_line, or_dash, print};
use super::super::timeline::{Clock, Timeline};
use super::event::follow;
use super::order::{boot, each, order, retire, sure};
use super::{Context, adopt, bundle, vars};

pub async fn node(client: &Client, command: Node, context: Context) -> Result<(), CliError> {
    match command {
        Node::List { group, state, filter } => {
            let path =
                filter.map_or_else(|| "/nodes".into(), |filter| format!("/nodes?where={}", segment(filter)));
            let mut nodes: Vec<NodeView> = client.get(&path).await?;
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
        Node::Set { node, name, group, no_group, role, disk, allow_wipe, force } => {
            let change = NodeChange { name, group, no_group, role, disk, allow_wipe, force };
            let path = format!("/nodes/{}", segment(node));
            let view: NodeView = client.call(Method::PATCH, &path, &change).await?;
            let (name, group) = (view.node.name, view.node.group);
            match group {
                Some(group) => context.done(&format!("{name} is in group {group}")),
                None => context.done(&format!("{name} is in no group")),
            }
        }
        Node::Hardware { node } => {
            let told: HardwareView = client.get(&format!("/nodes/{}/hardware", segment(node))).await?;
            answer(context.output, &told, show::hardware)
        }
        Node::Bundles { node } => bundle::of_node(client, &node, context).await,
        Node::Vars { node } => vars::of_node(client, &node, context).await,
        Node::Diff { node } => {
            let told: HardwareView = client.get(&format!("/nodes/{}/hardware", segment(node))).await?;
            answer(context.output, &told, show::diff)
        }
        Node::Reload { nodes, force } => order(client, &nodes, Order::Reload, force, context).await,
        Node::Install { nodes, force } => order(client, &nodes, Order::Install, force, context).await,
        Node::Wipe { nodes, force, yes } => {
            sure(yes, "erases every disk of", &nodes)?;
            order(client, &nodes, Order::Wipe, force, context).await
        }
        Node::Retire { nodes, no_wipe, force, yes } => {
            sure(yes, if no_wipe { "forgets" } else { "erases every disk of, and forgets," }, &nodes)?;
            retire(client, &nodes, !no_wipe, force, context).await
        }
        Node::Boot { what, nodes } => boot(client, &nodes, what.parse().ok(), context).await,
        Node::Console { node, limit, follow, utc } => {
            timeline(client, &node, Wanted { limit, follow, utc, console: true }, context).await
        }
        Node::Invite { name, group, hours } => {
            let invite = Invite { name, group, seconds: Some(hours.saturating_mul(3600)) };
            let invited: Invited = client.call(Method::POST, "/invitations", &invite).await?;
            answer(context.output, &invited, show::invited)
        }
        Node::Adopt(wanted) => adopt::adopt(client, &wanted, context).await,
        Node::Timeline { node, limit, follow, utc } => {
            timeline(client, &node, Wanted { limit, follow, utc, console: false }, context).await
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

/// Which part of a timeline, and how.
#[derive(Clone, Copy)]
struct Wanted {
    limit: usize,
    follow: bool,
    utc: bool,
    /// Only what firmware, installers and kernels logged.
    console: bool,
}

impl Wanted {
    fn fits(self, event: &EventView) -> bool {
        !self.console || matches!(event.event.kind, EventKind::Console { .. })
    }
}

async fn timeline(client: &Client, node: &str, wanted: Wanted, context: Context) -> Result<(), CliError> {
    // The node may be renamed while it is followed; its id stays.
    let id = client.get::<NodeView>(&format!("/nodes/{}", segment(node))).await?.node.id;
    let path = format!("/nodes/{id}/events?limit={}", wanted.limit);
    let mut past: Vec<EventView> = client.get(&path).await?;
    let last = past.last().map(|event| event.event.seq);
    past.retain(|event| wanted.fits(event));
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
    let after = last.map_or_else(|| "&limit=0".into(), |last| format!("&after={last}"));
    let path = format!("/events?follow=true{after}");
    follow(client, &path, |event| {
        if event.event.node == Some(id) && wanted.fits(&event) { show(&event) } else { Ok(()) }
    })
    .await
}
