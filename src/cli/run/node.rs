//! Does `firstlight node …`.

use hyper::Method;
use serde_json::json;

use crate::appliance::NodeChange;
use crate::appliance::views::{EventView, NodeView};
use crate::boot::Explanation;

use super::super::CliError;
use super::super::args::Node;
use super::super::client::{Client, segment};
use super::super::show::{self, answer, block, or_dash};
use super::super::timeline::timeline;
use super::Context;

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
