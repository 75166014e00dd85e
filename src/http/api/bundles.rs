//! `/bundles`, what is pinned to them, and variables.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use crate::appliance::views::{GroupView, NodeView};
use crate::appliance::{
    AppError, BundleShown, BundleView, NodeBundles, PinBundles, PushBundle, PushedBundle, SetVariables,
    VariableView,
};
use crate::bundle::desired::Desired;
use crate::model::{Selector, Variables};

use super::super::answer::json;
use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/bundles", get(list).post(push))
        .route("/bundles/diff", get(diff))
        .route("/bundles/{bundle}", get(show).delete(remove))
        .route("/groups/{group}/bundles", post(pin_group))
        .route("/nodes/{node}/bundles", get(of_node).post(pin_node))
        .route("/nodes/{node}/bundles/rendered", get(rendered))
        .route("/nodes/{node}/bundles/retry", post(retry))
        .route("/nodes/{node}/variables", get(variables))
        .route("/variables", get(all_variables).post(set_variables))
        .route("/secrets", get(recipient))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<BundleView>> {
    Json(api.appliance.bundles())
}

async fn push(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<(StatusCode, Json<PushedBundle>), AppError> {
    let push: PushBundle = json(body).await?;
    let pushed = api.appliance.push_bundle(push, actor).await?;
    let status = if pushed.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(pushed)))
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(bundle): Path<String>,
) -> Result<Json<BundleShown>, AppError> {
    let bundle = bundle.parse()?;
    Ok(Json(api.appliance.aside(move |appliance| appliance.bundle(&bundle)).await?))
}

async fn remove(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(bundle): Path<String>,
) -> Result<Response<Body>, AppError> {
    api.appliance.remove_bundle(bundle.parse()?, actor).await?;
    Ok(removed())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    from: String,
    to: String,
}

async fn diff(State(api): State<Api>, _: Admin, Query(both): Query<Both>) -> Result<Json<String>, AppError> {
    let (from, to) = (both.from.parse()?, both.to.parse()?);
    Ok(Json(api.appliance.aside(move |appliance| appliance.bundle_diff(&from, &to)).await?))
}

async fn pin_group(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(group): Path<String>,
    body: Body,
) -> Result<Json<GroupView>, AppError> {
    let pins: PinBundles = json(body).await?;
    Ok(Json(api.appliance.pin_group_bundles(group.parse()?, pins, actor).await?))
}

async fn pin_node(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
    body: Body,
) -> Result<Json<NodeView>, AppError> {
    let pins: PinBundles = json(body).await?;
    Ok(Json(api.appliance.pin_node_bundles(Selector::new(node), pins, actor).await?))
}

async fn of_node(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<NodeBundles>, AppError> {
    Ok(Json(api.appliance.aside(move |appliance| appliance.node_bundles(&Selector::new(node))).await?))
}

async fn rendered(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<Desired>, AppError> {
    Ok(Json(api.appliance.aside(move |appliance| appliance.rendered(&Selector::new(node))).await?))
}

async fn retry(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(node): Path<String>,
) -> Result<Json<NodeView>, AppError> {
    Ok(Json(api.appliance.retry_bundles(Selector::new(node), actor).await?))
}

async fn variables(
    State(api): State<Api>,
    _: Admin,
    Path(node): Path<String>,
) -> Result<Json<Vec<VariableView>>, AppError> {
    Ok(Json(api.appliance.aside(move |appliance| appliance.node_variables(&Selector::new(node))).await?))
}

async fn all_variables(State(api): State<Api>, _: Admin) -> Json<Vec<(String, Variables)>> {
    let all = api.appliance.variables().into_iter();
    Json(all.map(|(scope, variables)| (scope.to_string(), variables)).collect())
}

async fn set_variables(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<Json<Variables>, AppError> {
    let change: SetVariables = json(body).await?;
    Ok(Json(api.appliance.set_variables(change, actor).await?))
}

/// The public key that secrets are encrypted to.
async fn recipient(State(api): State<Api>, _: Admin) -> Json<String> {
    Json(api.appliance.secrets_recipient())
}
