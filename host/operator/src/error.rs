//! What stops a reconcile, and what it means for the retry.

use isthmus_model::object::Subject;
use isthmus_model::retry::RetryClass;
use isthmus_openstack::ErrorKind;
use thiserror::Error;

use crate::cloud::CloudError;

/// Why one subject's reconcile did not come to its end.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// A call to the cloud.
    #[error(transparent)]
    Cloud(CloudError),
    /// A call to the API server.
    #[error(transparent)]
    Kubernetes(isthmus_kubernetes::Error),
    /// This operator leads no longer, or stops: what is left to do is the next leader's.
    #[error("this operator no longer holds the lease, or stops")]
    NotLeading,
}

impl From<CloudError> for ReconcileError {
    fn from(error: CloudError) -> Self {
        match error {
            CloudError::Service(error) if error.kind == ErrorKind::Withheld => Self::NotLeading,
            error => Self::Cloud(error),
        }
    }
}

impl From<isthmus_kubernetes::Error> for ReconcileError {
    fn from(error: isthmus_kubernetes::Error) -> Self {
        match error.kind {
            isthmus_kubernetes::ErrorKind::Withheld => Self::NotLeading,
            _ => Self::Kubernetes(error),
        }
    }
}

impl ReconcileError {
    /// What it means for a retry.
    pub fn class(&self) -> RetryClass {
        match self {
            Self::Cloud(error) => error.class(),
            // What an admission policy refuses today it may let through tomorrow, and nobody tells us.
            Self::Kubernetes(error) if error.class == RetryClass::Invalid => RetryClass::Forbidden,
            Self::Kubernetes(error) => error.class,
            Self::NotLeading => RetryClass::Transient,
        }
    }

    /// The reason of a condition, and the label of a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Cloud(CloudError::Busy { .. }) => "LoadBalancerPending",
            Self::Cloud(CloudError::Failed { .. } | CloudError::Shared { .. }) => "LoadBalancerFailed",
            Self::Cloud(error) => error.class().reason(),
            Self::Kubernetes(error) => match error.class {
                RetryClass::Conflict => "KubernetesConflict",
                RetryClass::Unauthorized | RetryClass::Forbidden => "KubernetesForbidden",
                RetryClass::Invalid | RetryClass::NotFound | RetryClass::Quota => "KubernetesRefused",
                RetryClass::Transient | RetryClass::Unknown => "KubernetesUnavailable",
            },
            Self::NotLeading => "NotLeading",
        }
    }

    /// Says in the log that an operation failed, with the id of the request.
    pub(crate) fn log(&self, subject: &Subject, name: &str) {
        match self.class() {
            // It is done over at once, or by the next leader, and is nobody's fault.
            RetryClass::Conflict => tracing::debug!(subject = %subject.key, name, error = %self, "refused"),
            _ if matches!(self, Self::NotLeading) => {}
            _ => tracing::warn!(subject = %subject.key, name, error = %self, "refused"),
        }
    }

    /// For people, and the same for the same failure: without the id of the request, which is another one each time. It is in
    /// the log ([`Self::log`]).
    pub fn told(&self) -> String {
        match self {
            Self::Cloud(CloudError::Service(error) | CloudError::Gone(error)) => error.told(),
            other => other.to_string(),
        }
    }
}
