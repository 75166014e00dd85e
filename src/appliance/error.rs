//! What can go wrong with a verb, in words that say what to do.

use thiserror::Error;

use crate::boot::script::ScriptError;
use crate::model::lifecycle::Refused;
use crate::model::{IdError, SelectorError};
use crate::store::StoreError;
use crate::store::blobs::BlobError;
use crate::trust::TrustError;

/// Why a verb was not done.
#[derive(Debug, Error)]
pub enum AppError {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It exists, but its state does not allow this.
    #[error("{0}")]
    Refused(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// No room for it.
    #[error("{0}")]
    NoSpace(String),
    /// The state cannot be written or read now.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect, or a broken installation.
    #[error("{0}")]
    Internal(String),
}

/// What an [`AppError`] means to a caller; decides HTTP status and exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 404
    NotFound,
    /// 409
    Refused,
    /// 400
    Invalid,
    /// 403
    Forbidden,
    /// 507
    NoSpace,
    /// 503
    Unavailable,
    /// 500
    Internal,
}

impl AppError {
    /// What it means to a caller.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::Refused(_) => Kind::Refused,
            Self::Invalid(_) => Kind::Invalid,
            Self::Forbidden(_) => Kind::Forbidden,
            Self::NoSpace(_) => Kind::NoSpace,
            Self::Store(_) => Kind::Unavailable,
            Self::Internal(_) => Kind::Internal,
        }
    }
}

impl From<SelectorError> for AppError {
    fn from(error: SelectorError) -> Self {
        match error {
            SelectorError::NotFound(_) => Self::NotFound(error.to_string()),
            SelectorError::Ambiguous { .. } => Self::Refused(error.to_string()),
        }
    }
}

impl From<Refused> for AppError {
    fn from(error: Refused) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<IdError> for AppError {
    fn from(error: IdError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<ScriptError> for AppError {
    fn from(error: ScriptError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<TrustError> for AppError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Request(_) => Self::Invalid(error.to_string()),
            TrustError::File { .. } | TrustError::Crypto(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<BlobError> for AppError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::DiskFull { .. } => Self::NoSpace(error.to_string()),
            BlobError::Mismatch { .. } => Self::Invalid(error.to_string()),
            BlobError::Missing(_) => Self::NotFound(error.to_string()),
            BlobError::Io { .. } => Self::Internal(error.to_string()),
        }
    }
}
