//! Taking away what no attachment owns.

use std::collections::BTreeSet;

use isthmus_cni::Error;
use isthmus_cni::protocol::Attached;

use super::Agent;
use crate::attachments::boot;
use crate::netlink::host_prefix;
use crate::source::VifSource;

impl<S: VifSource> Agent<S> {
    /// GC: attachments of this network that the runtime no longer knows, and then what nobody owns. All is tried; the
    /// first error is told.
    pub(super) async fn gc(&self, network: &str, valid: &[Attached]) -> Result<(), Error> {
        let mut first = Ok(());
        for known in self.attachments.list() {
            if known.network == network && !valid.contains(&known.attached) {
                first = first.and(self.del(&known.attached).await);
            }
        }
        first.and(self.sweep().await)
    }

    /// Attachments of an earlier boot: links do not survive one, but Open vSwitch's database does.
    pub(super) async fn after_reboot(&self) -> Result<(), Error> {
        let boot = boot()?;
        for known in self.attachments.list().into_iter().filter(|a| a.boot != boot) {
            if let Err(error) = self.detach(&known).await {
                let container = &known.attached.container;
                tracing::warn!(container, %error, "of an earlier boot, and not removed; GC tries again");
            }
        }
        Ok(())
    }

    /// What drivers made and no attachment owns, nor anything that is under way.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        self.unbind_unknown("im").await
    }

    /// As [`Self::sweep`], for names that begin so. Of what is under way only what begins just so is touched.
    pub(super) async fn unbind_unknown(&self, prefix: &str) -> Result<(), Error> {
        let mut first = Ok(());
        for (driver_name, driver) in self.drivers.iter() {
            // Before what is made: an ADD that ends in between is in this list.
            let busy: Vec<String> = self.locks.busy().iter().map(|c| host_prefix(c)).collect();
            let made = match driver.made().await {
                Ok(made) => made,
                Err(error) => {
                    first = first.and(Err(error));
                    continue;
                }
            };
            // After it: what an ADD makes that begins in between is in neither, and not in `made` either, or is owned.
            let owned: BTreeSet<String> =
                self.attachments.list().iter().flat_map(|a| &a.links).map(|l| l.host.clone()).collect();
            let under_way = |name: &str| busy.iter().any(|b| b != prefix && name.starts_with(b));
            for name in made.iter().filter(|n| n.starts_with(prefix) && !owned.contains(*n) && !under_way(n))
            {
                tracing::info!(name, driver_name, "no attachment owns it: removed");
                first = first.and(driver.unbind(name).await);
            }
        }
        first
    }
}
