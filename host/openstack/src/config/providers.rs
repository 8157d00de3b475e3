//! What the load-balancer providers of a cloud can do, where its configuration says so: Octavia has no call for it.

use serde::Deserialize;
use serde_json::Value;

use super::{ConfigError, Settings, bad};

/// The setting: a list, since names of providers may hold what a key may not.
const KEY: &str = "load_balancer_providers";
/// Protocols of listeners that Octavia knows (`openstack loadbalancer listener create --protocol`).
pub const PROTOCOLS: [&str; 7] = ["HTTP", "HTTPS", "PROMETHEUS", "SCTP", "TCP", "TERMINATED_HTTPS", "UDP"];
/// Algorithms of pools that Octavia knows (`openstack loadbalancer pool create --lb-algorithm`).
pub const ALGORITHMS: [&str; 4] = ["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT"];

/// What one of them can do. What is not said is as it is known of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderAbilities {
    /// Its name in Octavia.
    pub name: String,
    /// Protocols of its listeners, of [`PROTOCOLS`].
    pub protocols: Option<Vec<String>>,
    /// Algorithms of its pools, of [`ALGORITHMS`].
    pub algorithms: Option<Vec<String>>,
    /// Whether it has L7 policies.
    pub l7: Option<bool>,
}

pub(super) fn read(cloud: &str, settings: &Settings) -> Result<Vec<ProviderAbilities>, ConfigError> {
    let Some(value) = settings.top.get(KEY) else { return Ok(Vec::new()) };
    let said: Vec<ProviderAbilities> = match value {
        Value::Array(_) => Vec::deserialize(value).map_err(|error| bad(cloud, KEY, error.to_string()))?,
        _ => return Err(bad(cloud, KEY, "is no list of providers, each with its `name`")),
    };
    for provider in &said {
        let sets = [(&provider.protocols, &PROTOCOLS[..]), (&provider.algorithms, &ALGORITHMS[..])];
        for (names, known) in sets {
            if let Some(odd) = names.iter().flatten().find(|name| !known.contains(&name.as_str())) {
                let why = format!(
                    "provider {:?} has {odd:?}, which is none of {}",
                    provider.name,
                    known.join(", ")
                );
                return Err(bad(cloud, KEY, why));
            }
        }
    }
    Ok(said)
}
