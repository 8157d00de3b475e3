//! What load-balancer providers can do. Octavia has no call that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_model::snapshot::Provider;
use isthmus_openstack::config::{
    ALGORITHMS as ALL_ALGORITHMS, PROTOCOLS as ALL_PROTOCOLS, ProviderAbilities,
};
use parking_lot::Mutex;

/// What a provider of this name can do. One that is not known is taken to be able to do everything: a service that refuses says
/// so itself.
pub(super) fn capabilities(name: &str) -> Provider {
    let known = known(name);
    let (protocols, algorithms, l7) = known.unwrap_or((&ALL_PROTOCOLS, &ALL_ALGORITHMS, true));
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Provider { name: name.into(), protocols: owned(protocols), algorithms: owned(algorithms), l7 }
}

/// As the cloud's configuration says, which knows better than a table by name: what a provider can do changes with its version.
pub(super) fn corrected(provider: Provider, said: &[ProviderAbilities]) -> Provider {
    let Some(said) = said.iter().find(|said| said.name == provider.name) else { return provider };
    Provider {
        protocols: said.protocols.clone().unwrap_or(provider.protocols),
        algorithms: said.algorithms.clone().unwrap_or(provider.algorithms),
        l7: said.l7.unwrap_or(provider.l7),
        name: provider.name,
    }
}

/// Protocols, algorithms, and whether there are L7 policies.
type Able = (&'static [&'static str], &'static [&'static str], bool);

fn known(name: &str) -> Option<Able> {
    match name {
        // `octavia` is the older name of the same driver. SOURCE_IP_PORT is refused by its `_validate_pool_algorithm`.
        "amphora" | "octavia" | "amphorav2" => {
            Some((&ALL_PROTOCOLS, &["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP"], true))
        }
        // ovn-octavia-provider: everything at layer 7 answers 501.
        "ovn" => Some((&["SCTP", "TCP", "UDP"], &["SOURCE_IP_PORT"], false)),
        _ => None,
    }
}

/// How Octavia begins what it says of a provider that can't do something at all (`ProviderNotImplementedError`); where it is one
/// option that it can't, another object may do without, and nothing is to be learnt for all (`ProviderUnsupportedOptionError`).
const NOT_AT_ALL: &str = "does not support a requested action";

/// What providers lack that are not known by name: each said so once (501), and is not asked again while this process runs.
#[derive(Clone, Debug, Default)]
pub(in crate::cloud) struct Lacking(Arc<Mutex<Learnt>>);

#[derive(Debug, Default)]
struct Learnt {
    by_provider: BTreeMap<String, Lacks>,
    /// Nobody was told yet.
    is_new: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lacks {
    protocols: BTreeSet<String>,
    l7: bool,
}

impl Lacking {
    /// A provider has no listeners of this protocol, if that is what it says.
    pub(super) fn protocol(&self, provider: &str, said: &str, protocol: &str) {
        self.learn(provider, said, |lacks| lacks.protocols.extend([protocol.to_owned()]));
    }

    /// A provider has no L7 policies, if that is what it says.
    pub(super) fn l7(&self, provider: &str, said: &str) {
        self.learn(provider, said, |lacks| lacks.l7 = true);
    }

    fn learn(&self, provider: &str, said: &str, note: impl FnOnce(&mut Lacks)) {
        if known(provider).is_some() || !said.contains(NOT_AT_ALL) {
            return;
        }
        let mut learnt = self.0.lock();
        let lacks = learnt.by_provider.entry(provider.to_owned()).or_default();
        let before = lacks.clone();
        note(lacks);
        if *lacks != before {
            tracing::warn!(provider, ?lacks, "the load-balancer provider said that it can't do this");
            learnt.is_new = true;
        }
    }

    /// Whether anything was learnt since this was asked last.
    pub(in crate::cloud) fn is_new(&self) -> bool {
        std::mem::take(&mut self.0.lock().is_new)
    }

    /// What a provider can do, without what it lacks. Who has no HTTP has no L7 policies either: they are of HTTP.
    pub(super) fn without(&self, mut provider: Provider) -> Provider {
        if let Some(lacks) = self.0.lock().by_provider.get(&provider.name) {
            provider.protocols.retain(|protocol| !lacks.protocols.contains(protocol));
            provider.l7 &= !lacks.l7 && !lacks.protocols.contains("HTTP");
        }
        provider
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_said_it_lacks_it_is_not_asked_for_again() {
        let lacking = Lacking::default();
        assert_eq!(lacking.without(capabilities("other")), capabilities("other"));
        let (action, option) = (
            "Provider 'x' does not support a requested action: it has none",
            "Provider 'x' does not support a requested option: no UDP",
        );
        // Another listener of the protocol may do without the option.
        lacking.protocol("other", option, "UDP");
        assert!(lacking.without(capabilities("other")) == capabilities("other") && !lacking.is_new());
        lacking.protocol("other", action, "UDP");
        assert!(lacking.is_new() && !lacking.is_new());
        lacking.protocol("other", action, "UDP");
        assert!(!lacking.is_new(), "it is told once");
        let now = lacking.without(capabilities("other"));
        assert!(now.l7 && now.protocols.len() == ALL_PROTOCOLS.len() - 1);
        lacking.protocol("other", action, "HTTP");
        assert!(!lacking.without(capabilities("other")).l7);
        lacking.l7("third", option);
        assert!(lacking.without(capabilities("third")).l7, "another policy may do without the option");
        lacking.l7("third", action);
        assert!(!lacking.without(capabilities("third")).l7);
        // What is known by name, one object can't make otherwise.
        lacking.l7("amphora", action);
        lacking.protocol("amphora", action, "UDP");
        assert_eq!(lacking.without(capabilities("amphora")), capabilities("amphora"));
    }

    #[test]
    fn what_the_configuration_says_of_a_provider_holds() {
        let said = [ProviderAbilities {
            name: "ovn".into(),
            protocols: Some(vec!["TCP".into()]),
            l7: Some(true),
            ..ProviderAbilities::default()
        }];
        let ovn = corrected(capabilities("ovn"), &said);
        assert!(ovn.l7 && ovn.protocols == ["TCP"] && ovn.algorithms == capabilities("ovn").algorithms);
        assert_eq!(corrected(capabilities("amphora"), &said), capabilities("amphora"));
    }

    #[test]
    fn ovn_has_no_l7_and_a_stranger_is_not_refused() {
        assert!(capabilities("amphora").l7 && !capabilities("ovn").l7 && capabilities("other").l7);
        assert_eq!(capabilities("ovn").algorithms, ["SOURCE_IP_PORT"]);
        assert_eq!(capabilities("other").algorithms, ALL_ALGORITHMS);
    }
}
