//! What stops a reconcile, and what it means for the retry.

use isthmus_model::retry::RetryClass;
use thiserror::Error;

use crate::cloud::CloudError;

/// Why one subject's reconcile did not come to its end.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// A call to the cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A call to the API server.
    #[error(transparent)]
    Kubernetes(#[from] isthmus_kubernetes::Error),
    /// This operator leads no longer: what is left to do is the next leader's.
    #[error("this operator no longer holds the lease")]
    NotLeading,
}

impl ReconcileError {
    /// What it means for a retry.
    pub fn class(&self) -> RetryClass {
        match self {
            Self::Cloud(error) => error.class(),
            Self::Kubernetes(error) => error.class,
            Self::NotLeading => RetryClass::Transient,
        }
    }
}
