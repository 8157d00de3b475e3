//! What the cloud can do, as modules see it: asked for at the start and at every resync. Who read it is mapped again when it
//! changes.

use isthmus_model::snapshot::CloudFacts;

use crate::session::Session;

impl Session {
    /// Asks again.
    ///
    /// # Errors
    /// Neutron's. What Octavia does not answer stays as it was known.
    pub async fn refresh_facts(&self) -> crate::cloud::Result<()> {
        let before = self.store.read().snapshot();
        let before = isthmus_model::snapshot::Snapshot::cloud(&before);
        let providers = match self.cloud.providers().await {
            Ok(providers) => providers,
            Err(error) => {
                tracing::warn!(%error, "Octavia does not say which providers it has");
                before.load_balancer_providers.clone()
            }
        };
        let facts = CloudFacts {
            network_extensions: self.cloud.extensions().await?,
            load_balancer_providers: providers,
            has_key_manager: self.cloud.has_key_manager(),
        };
        if self.store.write().set_cloud(facts) {
            let readers = self.deps.lock().touched_by_cloud().clone();
            readers.into_iter().for_each(|subject| self.queue.now(subject));
        }
        Ok(())
    }
}
