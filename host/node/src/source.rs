//! Where VIFs come from.

use std::future::Future;

use isthmus_cni::Error;
use isthmus_cni::protocol::PodReference;

use crate::vif::Vif;

/// What is known of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodVifs {
    /// `metadata.uid` of the Pod.
    pub uid: String,
    /// Its interfaces.
    pub vifs: Vec<Vif>,
}

/// Knows the VIFs of this node's Pods.
pub trait VifSource: Send + Sync + 'static {
    /// The VIFs of a Pod, as soon as there are some; the caller gives up when it has waited for too long.
    ///
    /// # Errors
    /// VIFs that cannot be bound on any node: waiting would not help.
    fn wait(&self, pod: &PodReference) -> impl Future<Output = Result<PodVifs, Error>> + Send;

    /// Why a Pod's VIFs are not known, in one sentence, after a wait that was in vain.
    fn why(&self, pod: &PodReference) -> String;

    /// Whether it can tell of new Pods.
    ///
    /// # Errors
    /// Why not.
    fn usable(&self) -> Result<(), String>;
}
