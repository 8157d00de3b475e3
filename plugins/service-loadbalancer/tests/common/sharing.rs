//! Of tests of one load balancer for several Services.

use isthmus_sdk::prelude::*;

use super::{Given, given, memory, other, service_kind};

pub(crate) const SHARE: &str = "isthmus.dev/lb-share-with: front";
pub(crate) const SHARE_FIELD: &str = "metadata.annotations[\"isthmus.dev/lb-share-with\"]";
pub(crate) const TWO: &str =
    "type: LoadBalancer, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]";
/// Older than any that is made without a time.
pub(crate) const OLD: &str = "creationTimestamp: '2024-01-01T00:00:00Z'";
pub(crate) const ID: &str = "5b8ae9d4-7b6f-4a52-9c2f-0d1f2f5e6c54";

/// The Service `shop/front`, whose load balancer is shared: these ports, this beside.
pub(crate) fn front(ports: &str, metadata: &str, spec: &str) -> String {
    let spec = format!("type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{ports}]{spec}");
    other("shop/front", metadata, &spec, "")
}

/// A Service that is to be on it, of this port.
pub(crate) fn sharer(key: &str, metadata: &str, port: u16) -> String {
    let metadata = format!("annotations: {{isthmus.dev/lb-share-with: shop/front}}, {metadata}");
    other(key, &metadata, &format!("type: LoadBalancer, clusterIP: 10.96.0.2, ports: [{{port: {port}}}]"), "")
}

/// `shop/web` of port 80 shares that of `shop/front` with 443.
pub(crate) fn sharing(spec: &str) -> Given {
    let slice = ("{addresses: [10.0.0.1]}", "{port: 8080}");
    given(spec).annotated(SHARE).slice(slice.0, slice.1).beside(front("{port: 443}", "", ""))
}

pub(crate) fn annotated(annotations: &str) -> Given {
    sharing("type: LoadBalancer").annotated(&format!("{SHARE}, {annotations}"))
}

pub(crate) fn of_front(name: &str) -> Reference {
    let (namespace, of) = (Some("shop".to_owned()), "front".to_owned());
    mapped(ObjectKey { kind: service_kind(), namespace, name: of }, name)
}

pub(crate) fn reason(result: Result<Vec<Desired>, Outcome>) -> String {
    match result {
        Err(Outcome::NotMapped(reason) | Outcome::Waiting(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// The config, with this as `sharing`.
pub(crate) fn with(config: &str, sharing: &str) -> String {
    config.replacen('{', &format!("{{\"sharing\": {{{sharing}}}, "), 1)
}

/// It is on the load balancer already.
pub(crate) fn remembering(sharer: &str, known: &str) -> String {
    let status = format!("status: {{conditions: [{}]}}", memory(known));
    let remembering = sharer.replace("status: {}", &status);
    assert_ne!(remembering, sharer);
    remembering
}
