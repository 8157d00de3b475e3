//! What the cloud can do, as modules see it: asked for at the start, at every resync, and where the cloud said that it can't. Who read it is mapped again when it
//! changes.

use isthmus_model::snapshot::CloudFacts;

use crate::apply::Applied;
use crate::cloud::Cloud;
use crate::error::ReconcileError;
use crate::session::Session;

/// What a cloud can do, for who is no operator (`isthmus plan`, `isthmus why`).
///
/// # Errors
/// The cloud's.
pub async fn facts_of(session: &isthmus_openstack::Session) -> crate::cloud::Result<CloudFacts> {
    let cloud = Cloud::to_look_at(session).await?;
    Ok(CloudFacts {
        network_extensions: cloud.extensions().await?,
        load_balancer_providers: cloud.providers().await?,
        has_key_manager: cloud.has_key_manager(),
    })
}

impl Session {
    /// What the cloud said that it can't do is a fact of it from now on.
    pub(crate) async fn learn_from(&self, applied: &Applied) {
        let unsupported =
            |error: &ReconcileError| matches!(error, ReconcileError::Cloud(error) if error.is_unsupported());
        if applied.errors.values().any(unsupported)
            && self.cloud.learnt()
            && let Err(error) = self.refresh_facts().await
        {
            tracing::warn!(%error, "what the cloud can do is not known anew");
        }
    }

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
            for subject in readers {
                self.memos.drop(&subject.uid);
                self.queue.now(subject);
            }
        }
        Ok(())
    }
}
