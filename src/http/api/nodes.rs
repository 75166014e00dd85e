//! `/nodes`.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::appliance::views::{EventView, NodeView, event_view};
use crate::appliance::{AppError, NodeChange};
use crate::boot::Explanation;
use crate::model::{ImageRef, Selector};

use super::super::answer::json;
use super::events::Window;
use super::{Admin, Api};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/nodes", get(list))
        .route("/nodes/{node}", get(show).patch(set))
        .route("/nodes/{node}/approve", post(approve))
        .route("/nodes/{node}/pin", put(pin).delete(unpin))
        .route("/nodes/{node}/events", get(events))
        .route("/nodes/{node}/explain", get(explain))
}

/// The body of a pin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// What to pin.
    pub image: ImageRef,
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<NodeView>> {
    Json(api.appliance.nodes())
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, AppError> {
    Ok(Json(api.appliance.node(&Selector::new(node))?))
}

async fn approve(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, AppError> {
    Ok(Json(api.appliance.approve(Selector::new(node), actor).await?))
}

async fn pin(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<NodeView>, AppError> {
    let pin: Pin = json(body).await?;
    Ok(Json(api.appliance.pin_node(Selector::new(node), Some(pin.image), actor).await?))
}

async fn unpin(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, AppError> {
    Ok(Json(api.appliance.pin_node(Selector::new(node), None, actor).await?))
}

async fn set(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<NodeView>, AppError> {
    let change: NodeChange = json(body).await?;
    Ok(Json(api.appliance.set_node(Selector::new(node), change, actor).await?))
}

async fn events(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
    Query(window): Query<Window>,
) -> Result<Json<Vec<EventView>>, AppError> {
    let events = api.appliance.events(Some(&Selector::new(node)), window.after, window.limit())?;
    Ok(Json(events.into_iter().map(event_view).collect()))
}

async fn explain(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<Explanation>, AppError> {
    Ok(Json(api.appliance.explain(&Selector::new(node))?))
}
