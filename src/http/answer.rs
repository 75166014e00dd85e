//! Errors as responses, and bodies read with a bound.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::appliance::{AppError, Kind};

/// Longest JSON body that is read, bytes.
const JSON_BYTES: usize = 1 << 20;

/// The body of every error of the API.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// An error for programs and for people.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs: `not-found`, `refused`, `invalid`, `forbidden`, `no-space`, `unavailable` or `internal`.
    pub kind: String,
    /// For people: what, why, and what to do.
    pub message: String,
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let (status, kind) = match self.kind() {
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Kind::Refused => (StatusCode::CONFLICT, "refused"),
            Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Kind::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no-space"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status.is_server_error() {
            tracing::error!(%status, error = %self, "request failed");
        }
        let error = ErrorDetail { kind: kind.into(), message: self.to_string() };
        (status, Json(ErrorBody { error })).into_response()
    }
}

/// Reads a JSON body of at most `limit` bytes.
pub async fn json_of<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, AppError> {
    let bytes = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|error| {
            AppError::Invalid(format!("the request's body is not readable, or too long: {error}"))
        })?
        .to_bytes();
    serde_json::from_slice(&bytes)
        .map_err(|error| AppError::Invalid(format!("the request's body is wrong: {error}")))
}

/// Reads a JSON body of the API.
pub async fn json<T: DeserializeOwned>(body: Body) -> Result<T, AppError> {
    json_of(body, JSON_BYTES).await
}
