//! The error of a call, with what it means for a retry.

use std::fmt;
use std::time::Duration;

use isthmus_model::retry::RetryClass;

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Error {
    /// What the failure means for a retry.
    pub class: RetryClass,
    /// Where on the way it failed.
    pub kind: ErrorKind,
    /// What was called and what came back. Boxed to keep `Result` small.
    pub context: Box<Context>,
}

/// Where on its way a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request could not be built: an identifier or body that no request can carry.
    Request,
    /// A closed [`Gate`](crate::Gate): the request was never sent.
    Withheld,
    /// No connection: the request was never sent.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was sent.
    Lost,
    /// The service answered with an error status.
    Status,
    /// The answer was not what the API promises.
    Decode,
    /// The catalog has no endpoint for the service, region and interface asked for.
    Catalog,
}

/// What was called and what came back. Holds no query, no body and no secret.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Service type as in the catalog (`network`, `load-balancer`, `identity`).
    pub service: String,
    /// HTTP method.
    pub method: String,
    /// Path of the request, without its query.
    pub path: String,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// `X-Openstack-Request-Id` of the answer: what the cloud's operator can find in the service's log.
    pub request_id: Option<String>,
    /// The service's fault type (Neutron: `OverQuota`, `IpAddressInUse`, `RevisionNumberConstraintFailed`, ...; Octavia:
    /// `Client` or `Server`, no more).
    pub fault: Option<String>,
    /// What the service said, or what went wrong, for a human.
    pub message: String,
    /// How long the service asks to be left alone (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Error {
    pub(crate) fn new(class: RetryClass, kind: ErrorKind, context: Context) -> Self {
        Self { class, kind, context: Box::new(context) }
    }

    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.context.status
    }

    /// Octavia: the load balancer or a part of it is pending, or its state is one that nothing can be changed in. What was
    /// asked for was not done. Other conflicts (two listeners of one port, say) do not go away with time.
    pub fn immutable(&self) -> bool {
        let message = &self.context.message;
        self.status() == Some(409)
            && (message.contains("is immutable and cannot be updated")
                || message.starts_with("Invalid state "))
    }

    /// The service cannot do it at all (501). Octavia: the provider of the load balancer cannot, another may.
    pub fn unsupported(&self) -> bool {
        self.status() == Some(501)
    }

    /// As displayed, without the id of the request: the same text for the same failure.
    pub fn told(&self) -> String {
        let mut told = self.clone();
        told.context.request_id = None;
        told.to_string()
    }

    /// The service's fault type, if it named one.
    pub fn fault(&self) -> Option<&str> {
        self.context.fault.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Context { service, method, path, status, request_id, fault, message, .. } = &*self.context;
        write!(f, "{service}: {method} {path}: ")?;
        if let Some(status) = status {
            write!(f, "{status} ")?;
        }
        if let Some(fault) = fault {
            write!(f, "{fault}: ")?;
        }
        f.write_str(message)?;
        match request_id {
            Some(id) => write!(f, " ({id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
