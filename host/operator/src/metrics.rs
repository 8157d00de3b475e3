//! Numbers for Prometheus. Labels are of few values: never a name of an object.

use isthmus_kubernetes::client::Writes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From 1 ms, doubling to a minute: a Pod's way takes milliseconds, a cloud's bad day minutes.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0])
}

/// A stage of a subject's way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stage {
    /// `mapped`, `realized` or `ready`: the time since the subject was seen.
    pub stage: &'static str,
}

/// A module and what its call ended with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// Name of the PolicyModule.
    pub module: String,
    /// Which of its versions: what `kubectl get policymodules` shows of the digest.
    pub digest: String,
    /// `map`, `refine` or `report`.
    pub operation: &'static str,
    /// `ok`, `outcome`, or the reason of a failure.
    pub result: String,
}

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// `done`, `waiting`, or the reason of a failure.
    pub result: String,
}

/// All of the operator's own numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds from seeing a subject to each stage.
    pub stages: Family<Stage, Histogram>,
    /// Seconds of a module call, the whole pipeline.
    pub call_seconds: Histogram,
    /// Module calls.
    pub calls: Family<Call, Counter>,
    /// Reconciles.
    pub reconciles: Family<Ended, Counter>,
    /// Those under way, also while they wait for their turn.
    pub reconciling: Gauge,
    /// Seconds that a change of a load balancer waits for its turn: it takes one at a time.
    pub turns: Histogram,
    /// Versions swapped in.
    pub swaps: Counter,
    /// CloudMappings.
    pub mappings: Gauge,
    /// Cloud resources with our mark.
    pub resources: Gauge,
    /// Resyncs that came through.
    pub resyncs: Counter,
    /// Orphans that a resync deleted.
    pub orphans: Counter,
    /// 1 while this operator leads.
    pub leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            stages: Family::new_with_constructor(seconds),
            call_seconds: Histogram::new([
                0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5,
            ]),
            calls: Family::default(),
            turns: seconds(),
            reconciles: Family::default(),
            reconciling: Gauge::default(),
            swaps: Counter::default(),
            mappings: Gauge::default(),
            resources: Gauge::default(),
            resyncs: Counter::default(),
            orphans: Counter::default(),
            leading: Gauge::default(),
        }
    }
}

/// Writes to Kubernetes, as its client counts them.
#[derive(Debug)]
struct KubernetesWrites(Writes);

impl Collector for KubernetesWrites {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Writes to Kubernetes that were sent, by verb and resource";
        let mut family =
            encoder.encode_descriptor("isthmus_kubernetes_writes", help, None, MetricType::Counter)?;
        for ((verb, resource), count) in self.0.counts() {
            let counter = ConstCounter::new(count);
            counter.encode(family.encode_family(&[("verb", verb), ("resource", resource)])?)?;
        }
        Ok(())
    }
}

/// A reconcile that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn reconcile_begins(&self) -> Running {
        self.reconciling.inc();
        Running(self.reconciling.clone())
    }

    /// Makes them visible, beside the count of writes to Kubernetes.
    pub fn register(&self, registry: &mut Registry, writes: &Writes) {
        registry.register_collector(Box::new(KubernetesWrites(writes.clone())));
        let r = registry.sub_registry_with_prefix("isthmus");
        r.register("subject_stage_seconds", "Time from seeing a subject to the stage", self.stages.clone());
        r.register(
            "module_call_seconds",
            "Time of a module call, refiners included",
            self.call_seconds.clone(),
        );
        r.register(
            "load_balancer_turn_seconds",
            "Time that a change of a load balancer waits for those before it",
            self.turns.clone(),
        );
        r.register("module_calls", "Module calls by result", self.calls.clone());
        r.register("reconciles", "Reconciles by result", self.reconciles.clone());
        r.register("reconciles_in_flight", "Reconciles that are under way", self.reconciling.clone());
        r.register("module_swaps", "Module versions swapped in", self.swaps.clone());
        r.register("mappings", "CloudMappings", self.mappings.clone());
        r.register("cloud_resources", "Cloud resources with our mark", self.resources.clone());
        r.register("resyncs", "Resyncs that came through", self.resyncs.clone());
        r.register(
            "orphans_collected",
            "Cloud resources without an owner that were deleted",
            self.orphans.clone(),
        );
        r.register("leading", "1 while this operator holds the lease", self.leading.clone());
    }
}
