//! `/nodes`.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::appliance::ansible::Inventory;
use crate::appliance::views::{EventView, HardwareView, NodeView, event_view};
use crate::appliance::{AppError, BootOnce, Invite, Invited, NodeChange, node_fields};
use crate::boot::Explanation;
use crate::model::filter::Filter;
use crate::model::{ImageRef, Order, Selector};

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
        .route("/nodes/{node}/hardware", get(hardware))
        .route("/nodes/{node}/order", post(order))
        .route("/nodes/{node}/retire", post(retire))
        .route("/nodes/{node}/boot", post(boot))
        .route("/invitations", post(invite))
        .route("/inventory", get(inventory))
}

/// The body of a pin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// What to pin.
    pub image: ImageRef,
}

/// Which nodes are wanted.
#[derive(Deserialize)]
struct Which {
    /// In the words of `node list --where`.
    #[serde(rename = "where")]
    filter: Option<String>,
}

async fn list(
    State(api): State<Api>,
    _: Admin,
    Query(which): Query<Which>,
) -> Result<Json<Vec<NodeView>>, AppError> {
    let filter = which.filter.map(|text| Filter::parse(&text, &node_fields())).transpose();
    let filter = filter.map_err(|error| AppError::Invalid(error.to_string()))?;
    Ok(Json(api.appliance.nodes(filter.as_ref())))
}

async fn hardware(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<HardwareView>, AppError> {
    Ok(Json(api.appliance.hardware(&Selector::new(node))?))
}

/// The body of an order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenOrder {
    order: Order,
    /// Whatever stands against it.
    #[serde(default)]
    force: bool,
}

async fn order(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<NodeView>, AppError> {
    let given: GivenOrder = json(body).await?;
    Ok(Json(api.appliance.order(Selector::new(node), given.order, given.force, actor).await?))
}

/// The body of a retirement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retirement {
    wipe: bool,
    /// Whatever stands against it.
    #[serde(default)]
    force: bool,
}

async fn retire(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<NodeView>, AppError> {
    let retirement: Retirement = json(body).await?;
    let Retirement { wipe, force } = retirement;
    Ok(Json(api.appliance.retire(Selector::new(node), wipe, force, actor).await?))
}

async fn boot(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<NodeView>, AppError> {
    let once: BootOnce = json(body).await?;
    Ok(Json(api.appliance.boot_once(Selector::new(node), once, actor).await?))
}

async fn invite(State(api): State<Api>, Admin(actor): Admin, body: Body) -> Result<Json<Invited>, AppError> {
    let invite: Invite = json(body).await?;
    Ok(Json(api.appliance.invite(invite, actor).await?))
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

async fn inventory(State(api): State<Api>, _: Admin) -> Json<Inventory> {
    Json(api.appliance.inventory())
}
