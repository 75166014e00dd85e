//! `/events`: past ones, and as they happen.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::appliance::views::{EventView, event_view};
use crate::appliance::{AppError, Appliance};
use crate::model::Event;

use super::{Admin, Api};

/// Events given when no number is asked for.
const LIMIT: usize = 1000;

/// Which events are wanted.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Window {
    /// Only later ones than this sequence number.
    pub after: Option<u64>,
    /// At most so many.
    limit: Option<usize>,
    /// Go on with what happens next.
    #[serde(default)]
    follow: bool,
}

impl Window {
    /// How many at most.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT)
    }
}

pub fn routes() -> Router<Api> {
    Router::new().route("/events", get(list))
}

async fn list(
    State(api): State<Api>,
    _: Admin,
    Query(window): Query<Window>,
) -> Result<Response<Body>, AppError> {
    if window.follow {
        return follow(&api.appliance, window);
    }
    let events = api.appliance.events(None, window.after, window.limit())?;
    let views: Vec<EventView> = events.into_iter().map(event_view).collect();
    Ok(Json(views).into_response())
}

/// A JSON object a line, until the client goes away.
fn follow(appliance: &Arc<Appliance>, window: Window) -> Result<Response<Body>, AppError> {
    // Before the past is read, so that nothing falls between.
    let feed = appliance.subscribe();
    let past = appliance.events(None, window.after, window.limit())?;
    let last = past.last().map(|event| event.seq).or(window.after);
    let follower = Follower { appliance: Arc::clone(appliance), feed, waiting: past.into_iter(), last };
    let lines = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        let mut line = serde_json::to_vec(&event_view(event)).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), follower))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Follower {
    appliance: Arc<Appliance>,
    feed: Receiver<Arc<Event>>,
    waiting: std::vec::IntoIter<Event>,
    last: Option<u64>,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.next() {
                self.last = Some(event.seq);
                return Some(event);
            }
            match self.feed.recv().await {
                Ok(event) if self.last.is_some_and(|last| event.seq <= last) => {}
                Ok(event) => self.waiting = vec![Event::clone(&event)].into_iter(),
                // Too slow: what was missed is read from the store.
                Err(RecvError::Lagged(_)) => {
                    let missed = self.appliance.events(None, Some(self.last.unwrap_or(0)), LIMIT).ok()?;
                    self.waiting = missed.into_iter();
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
