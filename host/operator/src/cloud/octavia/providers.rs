//! What load-balancer providers can do. Octavia has no call that says so.

use isthmus_model::snapshot::Provider;

/// Protocols of listeners that Octavia knows (`openstack loadbalancer listener create --protocol`).
const ALL_PROTOCOLS: [&str; 7] = ["HTTP", "HTTPS", "PROMETHEUS", "SCTP", "TCP", "TERMINATED_HTTPS", "UDP"];
/// Algorithms of pools that Octavia knows.
const ALL_ALGORITHMS: [&str; 4] = ["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT"];

/// What a provider of this name can do. One that is not known is taken to be able to do everything: a service that refuses says
/// so itself.
pub(super) fn capabilities(name: &str) -> Provider {
    let (protocols, algorithms, l7): (&[&str], &[&str], bool) = match name {
        // `octavia` is the older name of the same driver. SOURCE_IP_PORT is refused by its `_validate_pool_algorithm`.
        "amphora" | "octavia" | "amphorav2" => {
            (&ALL_PROTOCOLS, &["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP"], true)
        }
        // ovn-octavia-provider: everything at layer 7 answers 501.
        "ovn" => (&["SCTP", "TCP", "UDP"], &["SOURCE_IP_PORT"], false),
        _ => (&ALL_PROTOCOLS, &ALL_ALGORITHMS, true),
    };
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Provider { name: name.into(), protocols: owned(protocols), algorithms: owned(algorithms), l7 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ovn_has_no_l7_and_a_stranger_is_not_refused() {
        assert!(capabilities("amphora").l7 && !capabilities("ovn").l7 && capabilities("other").l7);
        assert_eq!(capabilities("ovn").algorithms, ["SOURCE_IP_PORT"]);
        assert_eq!(capabilities("other").algorithms, ALL_ALGORITHMS);
    }
}
