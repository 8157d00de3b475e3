//! Metrics of the calls to the cloud.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Metric families of the calls; a clone is another handle of the same families.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    duration: Family<Called, Histogram, fn() -> Histogram>,
    in_flight: Family<Service, Gauge>,
    limit: Family<Service, Gauge>,
    calls: Arc<CallCounts>,
}

/// How many requests were sent so far (see [`Metrics::calls`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// Requests that only read: `GET`.
    pub reads: u64,
    /// Requests that may change something, sign-in not counted.
    pub writes: u64,
}

#[derive(Debug, Default)]
struct CallCounts {
    reads: AtomicU64,
    writes: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    service: &'static str,
    method: &'static str,
    resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    service: &'static str,
    method: &'static str,
    resource: &'static str,
    code: String,
}

/// 1 ms to 16 s.
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
            in_flight: Family::default(),
            limit: Family::default(),
            calls: Arc::default(),
        }
    }
}

impl Metrics {
    /// Registers the families as `isthmus_openstack_...`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("isthmus_openstack");
        registry.register(
            "requests",
            "Requests by HTTP status; code is connect, timeout or lost where there was no answer",
            self.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From sending a request to the end of its answer",
            self.duration.clone(),
        );
        registry.register("in_flight", "Requests that wait for their answer", self.in_flight.clone());
        registry.register("limit", "How many requests may be in flight at present", self.limit.clone());
    }

    /// Requests sent so far by every session that shares these metrics.
    pub fn calls(&self) -> Calls {
        Calls {
            reads: self.calls.reads.load(Ordering::Relaxed),
            writes: self.calls.writes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn sent(&self, service: &'static str, write: bool) -> InFlight {
        if service != crate::catalog::IDENTITY {
            let count = if write { &self.calls.writes } else { &self.calls.reads };
            count.fetch_add(1, Ordering::Relaxed);
        }
        let gauge = self.in_flight.get_or_create_owned(&Service { service });
        gauge.inc();
        InFlight(gauge)
    }

    pub(crate) fn answered(
        &self,
        service: &'static str,
        method: &'static str,
        resource: &'static str,
        code: String,
        took: Duration,
    ) {
        self.requests.get_or_create(&Answered { service, method, resource, code }).inc();
        self.duration.get_or_create(&Called { service, method, resource }).observe(took.as_secs_f64());
    }

    pub(crate) fn limit(&self, service: &'static str) -> Gauge {
        self.limit.get_or_create_owned(&Service { service })
    }
}

/// Counts a request as in flight until dropped, so that a cancelled call does not stay counted.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
