//! VIFs that a test tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isthmus_cni::Error;
use isthmus_cni::protocol::PodReference;
use isthmus_node::source::{PodVifs, VifSource};
use isthmus_node::vif::Vif;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Knows what it was told. Clones share it.
#[derive(Clone)]
pub struct Told {
    away: Arc<AtomicBool>,
    pods: Arc<Mutex<BTreeMap<String, PodVifs>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Default for Told {
    fn default() -> Self {
        Self { away: Arc::default(), pods: Arc::default(), changes: Arc::new(watch::channel(0).0) }
    }
}

impl Told {
    /// The VIFs of a Pod.
    pub fn tell(&self, name: &str, vifs: Vec<Vif>) {
        self.pods.lock().insert(name.into(), PodVifs { uid: format!("uid-{name}"), vifs });
        self.changes.send_modify(|n| *n += 1);
    }

    /// The VIF of each of several Pods, at once.
    pub fn tell_all<const N: usize>(&self, all: [(&str, Vif); N]) {
        let all =
            all.map(|(name, vif)| (name.into(), PodVifs { uid: format!("uid-{name}"), vifs: vec![vif] }));
        self.pods.lock().extend(all);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Its CloudMapping is gone.
    pub fn forget(&self, name: &str) {
        self.pods.lock().remove(name);
        self.changes.send_modify(|n| *n += 1);
    }

    /// As an API server that went away, after a restart of the agent: nothing is known.
    pub fn go_away(&self) {
        self.pods.lock().clear();
        self.away.store(true, Ordering::Relaxed);
    }

    /// How many requests wait for VIFs.
    pub fn waiting(&self) -> usize {
        self.changes.receiver_count()
    }
}

impl VifSource for Told {
    async fn wait(&self, pod: &PodReference) -> Result<PodVifs, Error> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(known) = self.pods.lock().get(&pod.name).cloned() {
                return Ok(known);
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn why(&self, pod: &PodReference) -> String {
        format!("nobody told of {}", pod.name)
    }

    fn usable(&self) -> Result<(), String> {
        if self.away.load(Ordering::Relaxed) { Err("it is away".into()) } else { Ok(()) }
    }
}

/// `eth0` of a Pod number `n` on the network `10.77.0.0/24` and `fd77::/64`.
#[allow(clippy::unwrap_used, reason = "constants")]
pub fn vif(n: u8) -> Vif {
    Vif {
        interface: "eth0".into(),
        port_id: format!("00000000-0000-4000-8000-0000000000{n:02x}"),
        network: "00000000-0000-4000-8000-00000000ffff".into(),
        mac: format!("fa:16:3e:77:00:{n:02x}"),
        addresses: vec![
            format!("10.77.0.{n}/24").parse().unwrap(),
            format!("fd77::{n:x}/64").parse().unwrap(),
        ],
        gateways: vec!["10.77.0.254".parse().unwrap(), "fd77::fe".parse().unwrap()],
        mtu: Some(1442),
        default_route: true,
        routes: Vec::new(),
        binding: None,
        segmentation_id: None,
        device: None,
        trusted: false,
        unprotected: false,
    }
}

/// The Pod that a test calls so.
pub fn pod(name: &str) -> PodReference {
    PodReference { namespace: "shop".into(), name: name.into(), uid: Some(format!("uid-{name}")) }
}
