//! What came with which version of Octavia's API: one that is older refuses it in words that help nobody, if it says anything.
//!
//! What a provider can do ([`super::providers`]) is another matter: Octavia does not say which version of one it runs.

use isthmus_model::desired::Entry;
use isthmus_model::value::Value;
use isthmus_openstack::octavia::ApiVersion;

use super::KINDS;

/// Something that not every Octavia has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// A kind, a field of one (`listener.tls.ciphers`) or a value of that (`listener.protocol=SCTP`), in the words of the contract;
    /// `tags` of any kind.
    pub of: &'static str,
    /// The first version that has it.
    pub version: ApiVersion,
}

const fn since(of: &'static str, version: ApiVersion) -> Since {
    Since { of, version }
}

/// All that is asked for here and came after version 2.0. <https://docs.openstack.org/api-ref/load-balancer/v2/>
pub const SINCE: &[Since] = &[
    since("tags", ApiVersion::TAGS),
    // Its precedence is kept in a tag, and so is the name of a provider that Octavia calls otherwise.
    since("l7-policy", ApiVersion::TAGS),
    since("load-balancer.provider=octavia", ApiVersion::TAGS),
    since("load-balancer.flavor", ApiVersion::FLAVORS),
    since("load-balancer.availability_zone", ApiVersion::AVAILABILITY_ZONES),
    since("load-balancer.additional_vips", ApiVersion::ADDITIONAL_VIPS),
    since("load-balancer.vip_security_groups", ApiVersion::VIP_SECURITY_GROUPS),
    since("listener.timeouts.client_data_ms", ApiVersion::TIMEOUTS),
    since("listener.timeouts.member_connect_ms", ApiVersion::TIMEOUTS),
    since("listener.timeouts.member_data_ms", ApiVersion::TIMEOUTS),
    since("listener.timeouts.tcp_inspect_ms", ApiVersion::TIMEOUTS),
    since("listener.allowed_cidrs", ApiVersion::ALLOWED_CIDRS),
    since("listener.protocol=PROMETHEUS", ApiVersion::PROMETHEUS),
    since("listener.protocol=SCTP", ApiVersion::SCTP),
    since("listener.tls.alpn", ApiVersion::LISTENER_ALPN),
    since("listener.tls.ciphers", ApiVersion::TLS_CIPHERS),
    since("listener.tls.client_authentication", ApiVersion::CLIENT_AUTHENTICATION),
    since("listener.tls.client_ca", ApiVersion::CLIENT_AUTHENTICATION),
    since("listener.tls.versions", ApiVersion::LISTENER_TLS_VERSIONS),
    since("pool.algorithm=SOURCE_IP_PORT", ApiVersion::SOURCE_IP_PORT),
    since("pool.members.backup", ApiVersion::BACKUP),
    since("pool.monitor.domain_name", ApiVersion::MONITOR_DOMAIN_NAME),
    since("pool.protocol=PROXYV2", ApiVersion::PROXYV2),
    since("pool.protocol=SCTP", ApiVersion::SCTP),
    since("pool.tls", ApiVersion::POOL_TLS),
    since("pool.tls.versions", ApiVersion::POOL_TLS_VERSIONS),
    since("l7-policy.action.redirect_prefix.code", ApiVersion::REDIRECT_HTTP_CODE),
    since("l7-policy.action.redirect_url.code", ApiVersion::REDIRECT_HTTP_CODE),
];

impl Since {
    /// Whether an entry asks for it.
    pub fn is_asked_by(&self, entry: &Entry) -> bool {
        if self.of == "tags" {
            return KINDS.contains(&entry.kind) && !entry.tags.is_empty();
        }
        let (path, value) = match self.of.split_once('=') {
            Some((path, value)) => (path, Some(value)),
            None => (self.of, None),
        };
        let (kind, path) = path.split_once('.').unwrap_or((path, ""));
        let mut names = path.split('.');
        entry.kind.name() == kind
            && match names.next() {
                None | Some("") => true,
                Some(first) => {
                    entry.fields.get(first).is_some_and(|set| is_set(set, &names.collect::<Vec<_>>(), value))
                }
            }
    }
}

/// What an entry asks for that came after this version.
pub(super) fn lacking(entry: &Entry, version: ApiVersion) -> Option<&'static Since> {
    SINCE.iter().filter(|since| since.version > version).find(|since| since.is_asked_by(entry))
}

/// Whether something is set at this path, to this text if one is given. An empty list sets nothing, nor does `false`.
fn is_set(set: &Value, path: &[&str], wanted: Option<&str>) -> bool {
    match (set, path.split_first()) {
        (Value::List(items), _) => items.iter().any(|item| is_set(item, path, wanted)),
        (Value::Map(fields), Some((name, rest))) => {
            fields.get(*name).is_some_and(|value| is_set(value, rest, wanted))
        }
        (Value::Text(text), None) => wanted.is_none_or(|wanted| wanted == text),
        (Value::Bool(false), None) => false,
        (_, None) => wanted.is_none(),
        (_, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::kinds::Kind;

    use super::*;

    fn map(name: &str, value: Value) -> Value {
        Value::Map([(name.to_owned(), value)].into())
    }

    fn entry(kind: Kind, name: &str, value: Value) -> Entry {
        Entry::new("x", kind, [(name.to_owned(), value)].into())
    }

    #[test]
    fn every_row_is_of_a_kind_and_field_that_there_is() {
        for row in SINCE.iter().filter(|row| row.of != "tags") {
            let mut path = row.of.split(['.', '=']);
            let kind = path.next().and_then(|name| KINDS.into_iter().find(|kind| kind.name() == name));
            let kind = kind.unwrap_or_else(|| panic!("{}: no such kind", row.of));
            assert!(path.next().is_none_or(|field| kind.field(field).is_some()), "{}: no such field", row.of);
        }
    }

    /// Each row, as the contract's converter makes what it is about.
    #[test]
    fn what_came_later_is_lacking_before() {
        let text = |text: &str| Value::List(vec![text.into()]);
        let balancer = |name, value| entry(Kind::LoadBalancer, name, value);
        let listener = |name, value| entry(Kind::Listener, name, value);
        let tls = |name, value| listener("tls", map(name, value));
        let timeout = |name| listener("timeouts", map(name, Value::Int(1)));
        let pool = |name, value| entry(Kind::Pool, name, value);
        let code = |kind| entry(Kind::L7Policy, "action", map(kind, map("code", Value::Int(301))));
        let mut tagged = pool("protocol", "TCP".into());
        tagged.tags.insert("team".into());
        let table = [
            (tagged, "2.5"),
            (entry(Kind::L7Policy, "action", map("reject", true.into())), "2.5"),
            (balancer("provider", "octavia".into()), "2.5"),
            (balancer("flavor", "small".into()), "2.6"),
            (balancer("availability_zone", "a".into()), "2.14"),
            (balancer("additional_vips", Value::List(vec![map("subnet", "s".into())])), "2.26"),
            (balancer("vip_security_groups", text("g")), "2.29"),
            (timeout("client_data_ms"), "2.1"),
            (timeout("member_connect_ms"), "2.1"),
            (timeout("member_data_ms"), "2.1"),
            (timeout("tcp_inspect_ms"), "2.1"),
            (listener("allowed_cidrs", text("10.0.0.0/8")), "2.12"),
            (listener("protocol", "PROMETHEUS".into()), "2.25"),
            (listener("protocol", "SCTP".into()), "2.23"),
            (tls("alpn", text("h2")), "2.20"),
            (tls("ciphers", "AES".into()), "2.15"),
            (tls("client_authentication", "mandatory".into()), "2.8"),
            (tls("client_ca", "c".into()), "2.8"),
            (tls("versions", text("TLSv1.3")), "2.17"),
            (pool("algorithm", "SOURCE_IP_PORT".into()), "2.13"),
            (pool("members", Value::List(vec![map("backup", true.into())])), "2.1"),
            (pool("monitor", map("domain_name", "a.example".into())), "2.10"),
            (pool("protocol", "PROXYV2".into()), "2.22"),
            (pool("protocol", "SCTP".into()), "2.23"),
            (pool("tls", Value::Map(Default::default())), "2.8"),
            (pool("tls", map("versions", text("TLSv1.3"))), "2.18"),
            (code("redirect_prefix"), "2.9"),
            (code("redirect_url"), "2.9"),
        ];
        let mut rows: Vec<&str> = SINCE.iter().map(|row| row.of).collect();
        for (entry, first) in table {
            let row = SINCE.iter().find(|row| row.is_asked_by(&entry) && row.version.to_string() == first);
            let row = row.unwrap_or_else(|| panic!("{entry:?}: nothing of {first}"));
            assert!(
                lacking(&entry, row.version).is_none_or(|since| since.version > row.version),
                "{entry:?}: {first} has it"
            );
            let before = ApiVersion { major: 2, minor: row.version.minor - 1 };
            assert!(lacking(&entry, before).is_some_and(|since| since.version > before), "{entry:?}");
            rows.retain(|of| *of != row.of);
        }
        assert_eq!(rows, Vec::<&str>::new(), "not one of these is asked for");
    }

    #[test]
    fn what_is_not_set_is_not_lacking() {
        let oldest = ApiVersion { major: 2, minor: 0 };
        for entry in [
            entry(Kind::Listener, "protocol", "TCP".into()),
            entry(Kind::Listener, "allowed_cidrs", Value::List(vec![])),
            entry(Kind::Listener, "timeouts", Value::Map(Default::default())),
            entry(Kind::Pool, "members", Value::List(vec![map("backup", false.into())])),
            entry(Kind::Pool, "algorithm", "ROUND_ROBIN".into()),
            entry(Kind::Port, "tls", map("versions", "x".into())),
        ] {
            assert_eq!(lacking(&entry, oldest), None, "{entry:?}");
        }
        let mut tagged = entry(Kind::Pool, "protocol", "TCP".into());
        tagged.tags.insert("team".into());
        assert_eq!(lacking(&tagged, oldest).map(|since| since.of), Some("tags"));
        tagged.kind = Kind::Port;
        assert_eq!(lacking(&tagged, oldest), None);
    }
}
