//! Does `firstlight event …`.

use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use hyper::Method;
use tokio::io::AsyncBufReadExt;
use tokio_util::io::StreamReader;

use crate::appliance::views::EventView;

use super::super::CliError;
use super::super::args::{Event, Output};
use super::super::client::{Client, ClientError, empty, segment};
use super::super::show::{self, answer, json_line, print};
use super::Context;

pub async fn event(client: &Client, command: Event, context: Context) -> Result<(), CliError> {
    match command {
        Event::List { node, limit } => {
            let path = match node {
                Some(node) => format!("/nodes/{}/events?limit={limit}", segment(node)),
                None => format!("/events?limit={limit}"),
            };
            let events: Vec<EventView> = client.get(&path).await?;
            answer(context.output, &events, |events| show::events(events))
        }
        Event::Follow { limit } => {
            let path = format!("/events?follow=true&limit={limit}");
            follow(client, &path, |event| match context.output {
                Output::Table => print(&show::event(&event)),
                Output::Json => json_line(&event),
                Output::Yaml => answer(Output::Yaml, &[event], |_| String::new()),
            })
            .await
        }
    }
}

/// Gives events to `show` until the appliance stops or the user has seen enough.
pub async fn follow(
    client: &Client,
    path: &str,
    mut show: impl FnMut(EventView) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let response = client.send(Method::GET, path, None, empty()).await?;
    let stream = response.into_body().into_data_stream().map_err(std::io::Error::other);
    let mut lines = StreamReader::new(stream).lines();
    let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        show(serde_json::from_str(&line).map_err(|error| ClientError::Broken(error.to_string()))?)?;
    }
    Err(ClientError::Broken("it stopped".into()).into())
}
