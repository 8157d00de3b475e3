//! Neutron's extensions: which of them what is mapped needs, and what fails without.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use super::used::Used;

const NAME: &str = "Neutron";
const ASK: &str = "ask the cloud's operator for it";

/// One extension that something needs.
struct Row {
    /// A kind, or a field of one as `port.dns_name`, in the words of the contract; empty: everything.
    of: &'static str,
    alias: &'static str,
    /// Else all goes well as a rule.
    needed: bool,
    /// What goes wrong.
    without: &'static str,
}

const fn needed(of: &'static str, alias: &'static str, without: &'static str) -> Row {
    Row { of, alias, needed: true, without }
}

const fn helps(of: &'static str, alias: &'static str, without: &'static str) -> Row {
    Row { of, alias, needed: false, without }
}

const ROWS: &[Row] = &[
    needed("", "standard-attr-description", "nothing can be marked as ours"),
    needed("", "standard-attr-tag", "what is made can't be tagged, and is never done"),
    helps("", "standard-attr-revisions", "a change by others in between is not noticed"),
    helps("", "revision-if-match", "a change by others in between is not noticed"),
    helps("", "quota_details", "how much of a quota is used can't be told"),
    needed("network.mtu", "net-mtu-writable", "networks with an MTU of their own are refused"),
    needed("network.port_security", "port-security", "networks that set their port security are refused"),
    needed("network.dns_domain", "dns-integration", "networks with a DNS domain are refused"),
    needed("subnet.prefix.from_pool", "subnet_allocation", "there are no subnet pools to take a prefix from"),
    needed("router-interface", "router", "there are no routers to put a subnet on"),
    needed("security-group", "security-group", "there are no security groups"),
    needed(
        "security-group.stateful",
        "stateful-security-group",
        "groups that say whether they are stateful are refused",
    ),
    needed(
        "security-group.rules.remote.addresses",
        "security-groups-remote-address-group",
        "no rule can name the Pods that it is for",
    ),
    needed("address-group", "address-group", "no rule can name the Pods that it is for"),
    needed("port.security_groups", "security-group", "ports with security groups are refused"),
    needed("port.port_security", "port-security", "ports that set their port security are refused"),
    needed("port.allowed_address_pairs", "allowed-address-pairs", "ports with further addresses are refused"),
    needed("port.qos_policy", "qos", "ports with a QoS policy are refused"),
    needed("port.host", "binding", "ports can't be bound to nodes"),
    needed("port.vnic_type", "binding", "ports can't be bound to nodes"),
    needed("port.dns_name", "dns-integration", "ports with a DNS name are refused"),
    needed("trunk-subport", "trunk", "Pods of nodes that are virtual machines get no port"),
    needed(
        "allowed-addresses",
        "allowed-address-pairs",
        "Pods whose interfaces lie on their node's can send nothing",
    ),
    needed("floating-ip", "router", "there are no floating IPs"),
    needed("floating-ip-association", "router", "there are no floating IPs"),
];

/// All that are known here.
pub(super) fn aliases() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.alias)
}

/// What a cloud with these extensions lacks of what is used ([`super::used`]). `None`: what is used is not known.
pub(super) fn check(extensions: &BTreeSet<String>, used: Option<&Used>) -> Vec<Check> {
    let lacking: Vec<&Row> = ROWS.iter().filter(|row| !extensions.contains(row.alias)).collect();
    let is_used = |row: &&&Row| row.of.is_empty() || used.is_some_and(|used| used.contains_key(row.of));
    let mut all: Vec<Check> = Vec::new();
    let (now, others): (Vec<&Row>, Vec<&Row>) = lacking.iter().partition(is_used);
    let told = |needed: bool| {
        let rows = now.iter().filter(|row| row.needed == needed);
        let mut without: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for row in rows {
            let by = used.and_then(|used| used.get(row.of));
            without.entry(row.alias).or_default().insert(format!("{}{}", row.without, told_by(by)));
        }
        let line = |(alias, without): (&&str, &BTreeSet<String>)| {
            format!("{alias}: {}", without.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        let lines: Vec<String> = without.iter().map(line).collect();
        (!lines.is_empty()).then(|| format!("it lacks {}", lines.join("; ")))
    };
    all.extend(told(true).map(|found| Check::failed(NAME, found, ASK)));
    all.extend(told(false).map(|found| Check::warning(NAME, found, ASK)));
    let others: BTreeSet<&str> = others.iter().map(|row| row.alias).collect();
    let others = others.into_iter().collect::<Vec<_>>().join(", ");
    if used.is_none() && !others.is_empty() {
        let found = format!("it lacks {others}: whether modules need that is not known");
        all.push(Check::warning(NAME, found, "let this command see the cluster, too"));
    } else if all.is_empty() {
        let note = if others.is_empty() {
            String::new()
        } else {
            format!("; nothing mapped needs what it lacks: {others}")
        };
        all.push(Check::ok(NAME, format!("{} extensions{note}", extensions.len())));
    }
    all
}

/// The modules that ask for something, in brackets.
pub(super) fn told_by(modules: Option<&BTreeSet<String>>) -> String {
    match modules.filter(|modules| !modules.is_empty()) {
        Some(modules) => format!(" ({})", modules.iter().cloned().collect::<Vec<_>>().join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::kinds::Kind;

    use super::*;
    use crate::doctor::State;

    const CONTRACT: &str = include_str!("../../../../wit/networking.wit");

    fn set(names: &[&str]) -> Used {
        names.iter().map(|name| ((*name).to_owned(), BTreeSet::from(["pod-port".to_owned()]))).collect()
    }

    fn all_but(lacking: &[&str]) -> BTreeSet<String> {
        aliases().filter(|alias| !lacking.contains(alias)).map(Into::into).collect()
    }

    #[test]
    fn every_row_is_of_a_kind_and_field_that_there_is() {
        for row in ROWS.iter().filter(|row| !row.of.is_empty()) {
            let mut path = row.of.split('.');
            let kind = path.next().unwrap();
            let kind = Kind::ALL.into_iter().find(|k| k.name() == kind);
            let kind = kind.unwrap_or_else(|| panic!("{}: no such kind", row.of));
            assert!(path.next().is_none_or(|field| kind.field(field).is_some()), "{}: no such field", row.of);
        }
    }

    #[test]
    fn every_extension_that_the_contract_names_is_looked_for() {
        let mut named = 0;
        for (_, after) in
            CONTRACT.match_indices("Extension `").map(|(at, found)| CONTRACT.split_at(at + found.len()))
        {
            let alias = after.split('`').next().unwrap();
            assert!(aliases().any(|known| known == alias), "{alias}");
            named += 1;
        }
        assert!(named >= 6, "{named}");
    }

    #[test]
    fn what_is_needed_fails_and_what_helps_is_a_warning() {
        let states = |checks: &[Check]| checks.iter().map(|check| check.state).collect::<Vec<_>>();
        let used = set(&["port", "port.host", "address-group"]);
        assert_eq!(states(&check(&all_but(&[]), Some(&used))), [State::Ok]);

        let unused = check(&all_but(&["qos", "trunk"]), Some(&used));
        assert_eq!(states(&unused), [State::Ok]);
        assert!(unused[0].found.ends_with("nothing mapped needs what it lacks: qos, trunk"), "{unused:?}");

        let lacking = check(&all_but(&["address-group", "revision-if-match", "qos"]), Some(&used));
        assert_eq!(states(&lacking), [State::Failed, State::Warning]);
        let expected = "it lacks address-group: no rule can name the Pods that it is for (pod-port)";
        assert_eq!(lacking[0].found, expected);

        let marks = check(&all_but(&["standard-attr-description"]), Some(&set(&[])));
        assert_eq!(states(&marks), [State::Failed]);

        let unknown = check(&all_but(&["qos"]), None);
        assert_eq!(states(&unknown), [State::Warning]);
        assert!(
            unknown[0].found.contains("it lacks qos: whether modules need that is not known"),
            "{unknown:?}"
        );
        assert_eq!(states(&check(&all_but(&[]), None)), [State::Ok]);
    }
}
