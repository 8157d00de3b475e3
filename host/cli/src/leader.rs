//! Who leads, as the lease says.

use isthmus_kubernetes::{Client, Error};
use isthmus_operator::LEASE;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::Api;

/// What the lease says.
pub(crate) enum Leader {
    /// There is no lease.
    Never,
    /// Nobody holds it.
    None,
    /// This operator does.
    Leads(String),
    /// This one did.
    Led {
        holder: String,
        /// So many seconds ago it said so last: longer than its lease holds.
        age: i64,
        /// So many seconds the lease holds.
        seconds: i64,
    },
}

/// Reads the lease. Clocks of this machine and the operator's should be about the same.
pub(crate) async fn leader(client: &Client, namespace: &str) -> Result<Leader, Error> {
    let api: Api<Lease> = Api::namespaced(client.kube(), namespace);
    let Some(lease) = client.read("read the lease", api.get_opt(LEASE)).await? else {
        return Ok(Leader::Never);
    };
    let spec = lease.spec.unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(15));
    let age = spec.renew_time.map(|at| Timestamp::now().as_second() - at.0.as_second());
    Ok(match (holder, age) {
        (Some(holder), Some(age)) if age <= seconds => Leader::Leads(holder),
        (Some(holder), Some(age)) => Leader::Led { holder, age, seconds },
        _ => Leader::None,
    })
}
