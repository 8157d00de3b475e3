//! The annotations of a Service: ours, and the names that users of the OpenStack cloud provider and of the predecessor know. Ours
//! comes first.

use isthmus_sdk::objects::Map;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Timeouts;

/// Names of one wish, the first that is set counts.
pub(crate) type Names = &'static [&'static str];

/// Octavia's limit of timeouts: 24 days.
const MOST_MS: u32 = 24 * 24 * 60 * 60 * 1000;

pub(crate) const INTERNAL: Names =
    &["isthmus.dev/lb-internal", "service.beta.kubernetes.io/openstack-internal-load-balancer"];
pub(crate) const PROVIDER: Names = &["isthmus.dev/lb-provider"];
pub(crate) const FLAVOR: Names = &["isthmus.dev/lb-flavor", "loadbalancer.openstack.org/flavor-id"];
pub(crate) const ZONE: Names =
    &["isthmus.dev/lb-availability-zone", "loadbalancer.openstack.org/availability-zone"];
pub(crate) const METHOD: Names = &["isthmus.dev/lb-method", "loadbalancer.openstack.org/lb-method"];
pub(crate) const PROXY: Names =
    &["isthmus.dev/lb-proxy-protocol", "loadbalancer.openstack.org/proxy-protocol"];
pub(crate) const FORWARDED: Names =
    &["isthmus.dev/lb-x-forwarded-for", "loadbalancer.openstack.org/x-forwarded-for"];
const CONNECTIONS: Names =
    &["isthmus.dev/lb-connection-limit", "loadbalancer.openstack.org/connection-limit"];
const CLIENT_DATA: Names = &[
    "isthmus.dev/lb-timeout-client-data",
    "loadbalancer.openstack.org/timeout-client-data",
    "openstack.org/kuryr-timeout-client-data",
];
const MEMBER_CONNECT: Names =
    &["isthmus.dev/lb-timeout-member-connect", "loadbalancer.openstack.org/timeout-member-connect"];
const MEMBER_DATA: Names = &[
    "isthmus.dev/lb-timeout-member-data",
    "loadbalancer.openstack.org/timeout-member-data",
    "openstack.org/kuryr-timeout-member-data",
];
const TCP_INSPECT: Names =
    &["isthmus.dev/lb-timeout-tcp-inspect", "loadbalancer.openstack.org/timeout-tcp-inspect"];
const MONITOR: Names =
    &["isthmus.dev/lb-enable-health-monitor", "loadbalancer.openstack.org/enable-health-monitor"];
const MONITOR_DELAY: Names =
    &["isthmus.dev/lb-health-monitor-delay", "loadbalancer.openstack.org/health-monitor-delay"];
pub(crate) const MONITOR_TIMEOUT: Names =
    &["isthmus.dev/lb-health-monitor-timeout", "loadbalancer.openstack.org/health-monitor-timeout"];
const MONITOR_RETRIES: Names =
    &["isthmus.dev/lb-health-monitor-max-retries", "loadbalancer.openstack.org/health-monitor-max-retries"];
const MONITOR_RETRIES_DOWN: Names = &[
    "isthmus.dev/lb-health-monitor-max-retries-down",
    "loadbalancer.openstack.org/health-monitor-max-retries-down",
];
pub(crate) const FLOATING_NETWORK: Names =
    &["isthmus.dev/lb-floating-network", "loadbalancer.openstack.org/floating-network-id"];
pub(crate) const FLOATING_SUBNET: Names = &[
    "isthmus.dev/lb-floating-subnet",
    "loadbalancer.openstack.org/floating-subnet-id",
    "loadbalancer.openstack.org/floating-subnet",
];
pub(crate) const KEEP: Names =
    &["isthmus.dev/lb-keep-floating-ip", "loadbalancer.openstack.org/keep-floatingip"];
pub(crate) const NETWORK: Names = &["isthmus.dev/lb-network", "loadbalancer.openstack.org/network-id"];
pub(crate) const SUBNET: Names = &["isthmus.dev/lb-subnet", "loadbalancer.openstack.org/subnet-id"];
pub(crate) const PORT: Names = &["isthmus.dev/lb-port", "loadbalancer.openstack.org/port-id"];
const MEMBER_SUBNET: Names = &["isthmus.dev/lb-member-subnet", "loadbalancer.openstack.org/member-subnet-id"];
const HOSTNAME: Names = &["isthmus.dev/lb-hostname", "loadbalancer.openstack.org/hostname"];
pub(crate) const SOURCE_RANGES: Names = &["service.beta.kubernetes.io/load-balancer-source-ranges"];
/// The Service whose load balancer is shared.
pub(crate) const SHARE_WITH: &str = "isthmus.dev/lb-share-with";
/// A load balancer that is there.
pub(crate) const BALANCER: &str = "isthmus.dev/lb-load-balancer";
/// The same; the cloud provider writes it itself to all that it served.
pub(crate) const BALANCER_OF_PROVIDER: &str = "loadbalancer.openstack.org/load-balancer-id";
/// Those that share a load balancer are found by these.
pub(crate) const LISTED_BY: [&str; 3] = [SHARE_WITH, BALANCER, BALANCER_OF_PROVIDER];
/// Known to users, and without effect here: the Service says so.
pub(crate) const WITHOUT_EFFECT: Names = &[
    "loadbalancer.openstack.org/class",
    "loadbalancer.openstack.org/default-tls-container-ref",
    "loadbalancer.openstack.org/floating-subnet-tags",
    "loadbalancer.openstack.org/node-selector",
];

const ALL: [Names; 27] = [
    INTERNAL,
    PROVIDER,
    FLAVOR,
    ZONE,
    METHOD,
    PROXY,
    FORWARDED,
    CONNECTIONS,
    CLIENT_DATA,
    MEMBER_CONNECT,
    MEMBER_DATA,
    TCP_INSPECT,
    MONITOR,
    MONITOR_DELAY,
    MONITOR_TIMEOUT,
    MONITOR_RETRIES,
    MONITOR_RETRIES_DOWN,
    FLOATING_NETWORK,
    FLOATING_SUBNET,
    KEEP,
    NETWORK,
    SUBNET,
    PORT,
    MEMBER_SUBNET,
    HOSTNAME,
    SOURCE_RANGES,
    &[SHARE_WITH, BALANCER, BALANCER_OF_PROVIDER],
];

/// Paths of all that are read.
pub(crate) fn paths() -> Vec<String> {
    ALL.iter().copied().flatten().chain(WITHOUT_EFFECT).map(|name| path(name)).collect()
}

pub(crate) fn path(name: &str) -> String {
    format!("metadata.annotations[\"{name}\"]")
}

/// What a Service wishes beyond its spec.
#[derive(Debug)]
pub(crate) struct Wishes<'a> {
    pub(crate) internal: bool,
    pub(crate) provider: Option<&'a str>,
    pub(crate) flavor: Option<&'a str>,
    pub(crate) zone: Option<&'a str>,
    pub(crate) algorithm: Option<String>,
    /// Protocol of TCP pools.
    pub(crate) proxy: Option<&'static str>,
    pub(crate) forwarded: bool,
    pub(crate) connections: Option<u32>,
    pub(crate) timeouts: Timeouts,
    pub(crate) monitor: MonitorWishes,
    pub(crate) floating_network: Option<&'a str>,
    pub(crate) floating_subnet: Option<&'a str>,
    pub(crate) keep_floating_ip: bool,
    /// Where the VIP for clients from outside is, when it is not the cluster IP.
    pub(crate) network: Option<&'a str>,
    pub(crate) subnet: Option<&'a str>,
    pub(crate) port: Option<&'a str>,
    pub(crate) member_subnet: Option<&'a str>,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) source_ranges: Option<&'a str>,
    pub(crate) sharing: SharingWishes<'a>,
    /// Annotations that have no effect.
    pub(crate) without_effect: Vec<&'static str>,
    read: Reader<'a>,
}

/// Whose load balancer a Service wishes to be on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharingWishes<'a> {
    /// That of a Service.
    pub(crate) with: Option<&'a str>,
    /// The one of this id, by our annotation.
    pub(crate) balancer: Option<&'a str>,
    /// The one of this id, by the cloud provider's.
    pub(crate) balancer_of_provider: Option<&'a str>,
}

impl<'a> SharingWishes<'a> {
    pub(crate) fn of(annotations: &'a Map<'a>) -> Self {
        // As they are written: others that are on the same load balancer are found by these texts.
        let text = |name| annotations.get(name).map(|text| &**text).filter(|text| !text.is_empty());
        Self {
            with: text(SHARE_WITH),
            balancer: text(BALANCER),
            balancer_of_provider: text(BALANCER_OF_PROVIDER),
        }
    }

    /// The annotation that names a load balancer by its id, with the id. Ours come first.
    pub(crate) fn existing(&self) -> Option<(&'static str, &'a str)> {
        let of_provider = self.balancer_of_provider.filter(|_| self.with.is_none());
        let of_provider = of_provider.map(|id| (BALANCER_OF_PROVIDER, id));
        self.balancer.map(|id| (BALANCER, id)).or(of_provider)
    }
}

#[derive(Debug)]
pub(crate) struct MonitorWishes {
    pub(crate) enabled: Option<bool>,
    pub(crate) delay_s: Option<u16>,
    pub(crate) timeout_s: Option<u16>,
    pub(crate) retries: Option<u8>,
    pub(crate) retries_down: Option<u8>,
}

impl<'a> Wishes<'a> {
    /// Reads them.
    pub(crate) fn of(annotations: &'a Map<'a>) -> Result<Self, Outcome> {
        let read = Reader(annotations);
        let ms = |names| read.number::<u32>(names, 0, i64::from(MOST_MS));
        Ok(Self {
            internal: read.yes(INTERNAL)?.unwrap_or_default(),
            provider: read.name(PROVIDER)?,
            flavor: read.name(FLAVOR)?,
            zone: read.name(ZONE)?,
            algorithm: read.text(METHOD).map(|(_, text)| text.to_ascii_uppercase()),
            proxy: read.proxy()?,
            forwarded: read.yes(FORWARDED)?.unwrap_or_default(),
            // -1 is without limit
            connections: read.number(CONNECTIONS, -1, i64::from(i32::MAX))?,
            timeouts: Timeouts {
                client_data_ms: ms(CLIENT_DATA)?,
                member_connect_ms: ms(MEMBER_CONNECT)?,
                member_data_ms: ms(MEMBER_DATA)?,
                tcp_inspect_ms: ms(TCP_INSPECT)?,
            },
            monitor: MonitorWishes {
                enabled: read.yes(MONITOR)?,
                delay_s: read.number(MONITOR_DELAY, 1, 65535)?,
                timeout_s: read.number(MONITOR_TIMEOUT, 1, 65535)?,
                retries: read.number(MONITOR_RETRIES, 1, 10)?,
                retries_down: read.number(MONITOR_RETRIES_DOWN, 1, 10)?,
            },
            floating_network: read.name(FLOATING_NETWORK)?,
            floating_subnet: read.name(FLOATING_SUBNET)?,
            keep_floating_ip: read.yes(KEEP)?.unwrap_or_default(),
            network: read.name(NETWORK)?,
            subnet: read.name(SUBNET)?,
            port: read.name(PORT)?,
            member_subnet: read.name(MEMBER_SUBNET)?,
            hostname: read.text(HOSTNAME).map(|(_, text)| text),
            source_ranges: read.text(SOURCE_RANGES).map(|(_, text)| text),
            sharing: SharingWishes::of(annotations),
            without_effect: WITHOUT_EFFECT.iter().copied().filter(|n| annotations.contains_key(*n)).collect(),
            read,
        })
    }

    /// Where a wish is: the annotation that is set, or else the field of the config that holds the default.
    pub(crate) fn field(&self, names: Names, config: &str) -> String {
        self.read.text(names).map_or_else(|| format!("config.{config}"), |(name, _)| path(name))
    }

    /// The annotation that the Service has of these names, or ours.
    pub(crate) fn annotation(&self, names: Names) -> String {
        let own = names.first().copied().unwrap_or_default();
        path(self.read.text(names).map_or(own, |(name, _)| name))
    }

    /// Whether the Service has timeouts or a limit of connections of its own.
    pub(crate) fn tunes_listeners(&self) -> bool {
        let Timeouts { client_data_ms, member_connect_ms, member_data_ms, tcp_inspect_ms } = self.timeouts;
        [client_data_ms, member_connect_ms, member_data_ms, tcp_inspect_ms, self.connections]
            .iter()
            .any(Option::is_some)
    }
}

#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a Map<'a>);

impl<'a> Reader<'a> {
    /// The first that is set and not empty.
    fn text(&self, names: Names) -> Option<(&'static str, &'a str)> {
        let set = |name: &&'static str| Some((*name, self.0.get(*name)?.trim()));
        names.iter().filter_map(set).find(|(_, text)| !text.is_empty())
    }

    /// An id or a name in the cloud.
    fn name(&self, names: Names) -> Result<Option<&'a str>, Outcome> {
        match self.text(names) {
            Some((name, text)) if text.len() > 255 => {
                Err(refused(name, "an id or a name of at most 255 bytes"))
            }
            found => Ok(found.map(|(_, text)| text)),
        }
    }

    fn yes(&self, names: Names) -> Result<Option<bool>, Outcome> {
        match self.text(names) {
            None => Ok(None),
            Some((_, "true")) => Ok(Some(true)),
            Some((_, "false")) => Ok(Some(false)),
            Some((name, _)) => Err(refused(name, "true or false")),
        }
    }

    /// A number; what does not fit into the type (-1) is none.
    fn number<T: TryFrom<i64>>(&self, names: Names, least: i64, most: i64) -> Result<Option<T>, Outcome> {
        let Some((name, text)) = self.text(names) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(T::try_from(number).ok()),
            _ => Err(refused(name, &format!("a whole number from {least} to {most}"))),
        }
    }

    fn proxy(&self) -> Result<Option<&'static str>, Outcome> {
        match self.text(PROXY) {
            None | Some((_, "false")) => Ok(None),
            Some((_, "true" | "v1")) => Ok(Some("PROXY")),
            Some((_, "v2")) => Ok(Some("PROXYV2")),
            Some((name, _)) => Err(refused(name, "true (version 1), v1, v2 or false")),
        }
    }
}

fn refused(name: &str, right: &str) -> Outcome {
    invalid_field(format!("it has to be {right}"), &path(name))
}
