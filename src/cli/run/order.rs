//! What nodes are told to do: one order for several nodes, and the question before what cannot be taken back.

use std::io::{IsTerminal, Write};

use hyper::Method;
use serde_json::json;

use crate::appliance::BootOnce;
use crate::appliance::views::NodeView;
use crate::model::{NextBoot, Order};

use super::super::CliError;
use super::super::client::{Client, ClientError, segment};
use super::Context;

/// Does it to each node. Who is refused does not keep the others from it; all refusals are told at the end.
pub async fn each(nodes: &[String], act: impl AsyncFn(&str) -> Result<(), CliError>) -> Result<(), CliError> {
    let mut refused = Vec::new();
    for node in nodes {
        match act(node).await {
            Err(CliError::Client(error @ ClientError::Refused(_))) => refused.push(error),
            done => done?,
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(CliError::Several(refused)) }
}

/// Gives an order to each node.
pub async fn order(
    client: &Client,
    nodes: &[String],
    order: Order,
    force: bool,
    context: Context,
) -> Result<(), CliError> {
    each(nodes, async |node| {
        let path = format!("/nodes/{}/order", segment(node));
        let view: NodeView =
            client.call(Method::POST, &path, &json!({ "order": order, "force": force })).await?;
        context.done(&format!("ordered {} to {order}; it is {}", view.node.name, view.node.state))
    })
    .await
}

/// Asks before something that cannot be taken back; where nobody can be asked, `--yes` has to say it.
pub fn sure(yes: bool, what: &str, nodes: &[String]) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    let question = format!("this {what} {}", nodes.join(", "));
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CliError::Local(format!("{question}; say --yes to do it")));
    }
    // A terminal that cannot be written to answers no.
    let _ = write!(std::io::stderr(), "{question}. Go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer).is_ok();
    if read && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(CliError::Local("nothing was done".into()))
    }
}

/// Takes each node out of service.
pub async fn retire(
    client: &Client,
    nodes: &[String],
    wipe: bool,
    force: bool,
    context: Context,
) -> Result<(), CliError> {
    each(nodes, async |node| {
        let path = format!("/nodes/{}/retire", segment(node));
        let view: NodeView =
            client.call(Method::POST, &path, &json!({ "wipe": wipe, "force": force })).await?;
        context.done(&format!("{} is {}", view.node.name, view.node.state))
    })
    .await
}

/// Says what the next boot of each node is for.
pub async fn boot(
    client: &Client,
    nodes: &[String],
    what: Option<NextBoot>,
    context: Context,
) -> Result<(), CliError> {
    each(nodes, async |node| {
        let path = format!("/nodes/{}/boot", segment(node));
        let view: NodeView = client.call(Method::POST, &path, &BootOnce { what }).await?;
        context.done(&match what {
            Some(what) => format!("the next boot of {} is: {what}", view.node.name),
            None => format!("{} boots as usual", view.node.name),
        })
    })
    .await
}
