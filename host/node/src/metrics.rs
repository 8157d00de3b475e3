//! Numbers for Prometheus. Labels are of few values: never a name of an object.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From 0.1 ms, in which a link is made, to a minute, after which a plugin gives up.
fn seconds() -> Histogram {
    Histogram::new([
        0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
        30.0, 60.0,
    ])
}

/// A stage of ADD.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stage {
    /// `vifs`: the wait for the CloudMapping; `bind`: links, addresses, routes; `ready`: the wait for traffic; `total`: all
    /// of it, and the disk.
    pub stage: &'static str,
}

/// A call and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// `ADD`, `DEL`, ...
    pub verb: &'static str,
    /// 0, or the error's code.
    pub code: u32,
}

/// All of the agent's numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds of each stage of the ADDs that came through.
    pub add: Family<Stage, Histogram>,
    /// Seconds of DEL.
    pub del: Histogram,
    /// Calls.
    pub calls: Family<Call, Counter>,
    /// How often links were deleted, all at once that were due.
    pub link_batches: Counter,
    /// What is attached.
    pub attachments: Gauge,
    /// What DEL has answered for, and a database could not be told of yet.
    pub unhook_due: Gauge,
    /// ADDs in a row that failed by the node's own fault.
    pub add_faults: Gauge,
    /// Memory of the agent's cgroup that the kernel cannot take back.
    pub memory: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            add: Family::new_with_constructor(seconds),
            del: seconds(),
            calls: Family::default(),
            link_batches: Counter::default(),
            attachments: Gauge::default(),
            unhook_due: Gauge::default(),
            add_faults: Gauge::default(),
            memory: Gauge::default(),
        }
    }
}

impl Metrics {
    /// A stage of an ADD took so long.
    pub fn stage(&self, stage: &'static str, took: Duration) {
        self.add.get_or_create(&Stage { stage }).observe(took.as_secs_f64());
    }

    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("isthmus_node");
        r.register("add_stage_seconds", "Time of each stage of ADD", self.add.clone());
        r.register("del_seconds", "Time of DEL", self.del.clone());
        r.register(
            "calls",
            "Calls of the CNI plugin by verb and error code; 0 is success",
            self.calls.clone(),
        );
        r.register(
            "link_batches",
            "Deletions of links, each of all that are due: the kernel takes as long for one as for many",
            self.link_batches.clone(),
        );
        r.register("attachments", "Interfaces that are attached", self.attachments.clone());
        r.register(
            "unhook_due",
            "Deleted attachments that Open vSwitch was not told of yet",
            self.unhook_due.clone(),
        );
        r.register(
            "add_faults",
            "ADDs in a row that failed by the node's own fault",
            self.add_faults.clone(),
        );
        r.register("memory_bytes", "Memory of the agent's cgroup without file cache", self.memory.clone());
    }
}
