//! `/jobs`.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use crate::appliance::{AppError, JobLog};
use crate::model::{Job, Selector};

use super::{Admin, Api};

pub fn routes() -> Router<Api> {
    Router::new().route("/jobs", get(list)).route("/jobs/{job}", get(show))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    node: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn list(
    State(api): State<Api>,
    _: Admin,
    Query(which): Query<Which>,
) -> Result<Json<Vec<Job>>, AppError> {
    let node = match which.node {
        Some(node) => Some(Selector::new(node).find(&api.appliance.view())?.id),
        None => None,
    };
    Ok(Json(api.appliance.jobs(node, which.limit.unwrap_or(100))))
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(job): Path<u64>,
    Query(from): Query<From>,
) -> Result<Json<JobLog>, AppError> {
    Ok(Json(api.appliance.job_log(job, from.from)?))
}
