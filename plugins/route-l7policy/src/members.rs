//! The members of a Route's pool: the ready endpoints of its Services, weighted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use isthmus_sdk::objects::{EndpointPort, EndpointSlice, NumberOrName, Service, Text};
use isthmus_sdk::prelude::*;

use crate::config::Config;
use crate::mapping::{endpoint_slice_kind, service_kind};
use crate::matching::is_label;
use crate::objects::{Backend, Route, RouteSpec};

/// Octavia's largest weight.
const MOST: u64 = 256;
/// Of a backend that says none.
const DEFAULT: u64 = 100;

/// Where a member is reached.
type Place = (IpAddr, u16);

/// The members of the pool, in order of their addresses. A backend without ready endpoints leaves its share to the others.
pub(crate) fn members(route: &Route<'_>, config: &Config) -> Result<Vec<Member>, Outcome> {
    let namespace = route.namespace();
    let port = route.spec.port.as_ref().map(|port| &port.target_port);
    check_port(port)?;
    let mut shares = Vec::new();
    for (service, (weight, field)) in backends(&route.spec)? {
        shares.push((weight, endpoints(namespace, service, port, &field)?));
    }
    let mut weights: BTreeMap<Place, u64> = BTreeMap::new();
    for (place, weight) in split(&shares) {
        // An endpoint of two Services is one member, with what both give it.
        let sum = weights.entry(place).or_default();
        *sum = (*sum + weight).min(MOST);
    }
    let member = |((address, port), weight): (Place, u64)| {
        let mut member = Member::new(address.to_string().as_str(), port);
        member.weight = u16::try_from(weight).ok();
        member.subnet = config.member_subnet.as_deref().map(existing);
        member
    };
    Ok(weights.into_iter().map(member).collect())
}

/// Splits weights over endpoints: each backend's endpoints have, together, its part of all requests, to the nearest that whole
/// numbers of 0 to 256 allow. The one that gets most for an endpoint has 256 for each. A weight over 0 never becomes 0; a weight
/// of 0 does: its endpoints stay members, and end what they have begun.
fn split<T: Copy>(shares: &[(u64, BTreeSet<T>)]) -> Vec<(T, u64)> {
    let sized =
        || shares.iter().map(|(weight, places)| (*weight, places.len() as u64)).filter(|(_, n)| *n > 0);
    // weight/count is the largest here; compared without fractions
    let (top, count) = sized().fold((0, 1), |top, s| if s.0 * top.1 > top.0 * s.1 { s } else { top });
    let mut all = Vec::new();
    for (weight, places) in shares {
        let total = match (*weight, top) {
            (0, _) | (_, 0) => 0,
            (weight, top) => ((2 * MOST * weight * count + top) / (2 * top)).max(1),
        };
        let length = (places.len() as u64).max(1);
        let (each, rest) = (total / length, total % length);
        all.extend(places.iter().zip(0..).map(|(place, at)| (*place, each + u64::from(at < rest))));
    }
    all
}

/// The Services, each with its weight and the field that names it.
fn backends<'a>(spec: &'a RouteSpec<'_>) -> Result<BTreeMap<&'a str, (u64, String)>, Outcome> {
    let mut found: BTreeMap<&str, (u64, String)> = BTreeMap::new();
    let to = spec.to.as_ref().or_invalid("a Route needs a Service", "spec.to")?;
    let alternates = spec.alternate_backends.iter().enumerate();
    let fields = alternates.map(|(at, backend)| (backend, format!("spec.alternateBackends[{at}]")));
    for (backend, field) in std::iter::once((to, "spec.to".to_owned())).chain(fields) {
        let weight = check_backend(backend, &field)?;
        found.entry(&backend.name).or_insert((0, field)).0 += weight;
    }
    Ok(found)
}

/// The weight of a backend.
fn check_backend(backend: &Backend<'_>, field: &str) -> Result<u64, Outcome> {
    if let Some(kind) = backend.kind.as_deref().filter(|kind| !["", "Service"].contains(kind)) {
        return Err(invalid_field(
            format!("{kind} is no kind of backend; only Service is"),
            &format!("{field}.kind"),
        ));
    }
    if !is_label(&backend.name) {
        return Err(invalid_field("a backend needs the name of a Service", &format!("{field}.name")));
    }
    let Some(weight) = backend.weight else { return Ok(DEFAULT) };
    let weight = u64::try_from(weight).ok().filter(|weight| *weight <= MOST);
    weight.or_invalid("a weight is 0 to 256", &format!("{field}.weight"))
}

fn check_port(port: Option<&NumberOrName<'_>>) -> Result<(), Outcome> {
    match port {
        Some(NumberOrName::Number(number)) if !(1..=65535).contains(number) => {
            Err(invalid_field("a port is 1 to 65535, or a name", "spec.port.targetPort"))
        }
        _ => Ok(()),
    }
}

/// The ready endpoints of a Service, of its first IP family. No Service, no endpoints: requests get 503 until there are some.
fn endpoints(
    namespace: &str,
    service: &str,
    port: Option<&NumberOrName<'_>>,
    field: &str,
) -> Result<BTreeSet<Place>, Outcome> {
    let object = snapshot::get(service_kind(), Some(namespace), service);
    let object: Service<'_> = object.as_deref().map(parse_subject).transpose()?.unwrap_or_default();
    if object.spec.kind.as_deref() == Some("ExternalName") {
        let message = format!("Service {service} is an ExternalName: it has no endpoints");
        return Err(invalid_field(message, &format!("{field}.name")));
    }
    let selector = format!("kubernetes.io/service-name={service}");
    let mut places = BTreeSet::new();
    for text in snapshot::list(&endpoint_slice_kind(), Some(namespace), &selector) {
        let slice: EndpointSlice<'_> = parse_subject(&text)?;
        let ports: Vec<u16> = slice.ports.iter().filter_map(|own| chosen(own, port, &object)).collect();
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false));
        for address in ready.filter_map(|endpoint| address(&endpoint.addresses, &object)) {
            places.extend(ports.iter().map(|port| (address, *port)));
        }
    }
    Ok(places)
}

/// Of several addresses of an endpoint the first counts, as for kube-proxy.
fn address(addresses: &[Text<'_>], service: &Service<'_>) -> Option<IpAddr> {
    // What does not parse is the name of a slice of type FQDN.
    let address: IpAddr = addresses.first()?.parse().ok()?;
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    service.spec.ip_families.first().is_none_or(|first| **first == *family).then_some(address)
}

/// The number of a slice's port, if the Route is for it: without a choice for all of them, else for the one of this number or name.
/// The name is the port's in the Service, or the one that the Service's port has in the Pod.
fn chosen(own: &EndpointPort<'_>, port: Option<&NumberOrName<'_>>, service: &Service<'_>) -> Option<u16> {
    let number = own.port.filter(|_| own.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))?;
    let Some(port) = port else { return Some(number) };
    let in_pod = |name: &NumberOrName<'_>| matches!(name, NumberOrName::Name(name) if port.is(name));
    let name = own.name.as_deref().unwrap_or_default();
    let of_service = service.spec.ports.iter().find(|p| *p.name == *name);
    let named = port.is(name) || of_service.is_some_and(|p| p.target_port.as_ref().is_some_and(in_pod));
    (named || port.number() == Some(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The sum of each backend's weights.
    fn sums(shares: &[(u64, usize)]) -> Vec<(u64, Vec<u64>)> {
        let mut next = 0;
        let mut place = || {
            next += 1;
            next
        };
        let sets: Vec<(u64, BTreeSet<u32>)> =
            shares.iter().map(|(weight, n)| (*weight, (0..*n).map(|_| place()).collect())).collect();
        let all: BTreeMap<u32, u64> = split(&sets).into_iter().collect();
        let of = |set: &BTreeSet<u32>| set.iter().map(|place| all[place]).collect::<Vec<u64>>();
        sets.iter().map(|(_, set)| of(set)).map(|weights| (weights.iter().sum(), weights)).collect()
    }

    #[test]
    fn weights_by_hand() {
        type Shares = [(u64, usize)];
        let table: [(&Shares, &[&[u64]]); 7] = [
            (&[(100, 2)], &[&[256, 256]]),
            (&[(50, 1), (50, 1)], &[&[256], &[256]]),
            (&[(75, 1), (25, 1)], &[&[256], &[85]]),
            (&[(50, 2), (50, 1)], &[&[128, 128], &[256]]),
            (&[(100, 1), (0, 2)], &[&[256], &[0, 0]]),
            (&[(0, 1), (0, 1)], &[&[0], &[0]]),
            (&[(256, 1), (1, 3), (256, 0)], &[&[256], &[1, 0, 0], &[]]),
        ];
        for (shares, weights) in table {
            let found: Vec<Vec<u64>> = sums(shares).into_iter().map(|(_, weights)| weights).collect();
            assert_eq!(found, weights, "{shares:?}");
        }
    }

    proptest! {
        #[test]
        fn each_backend_has_its_share(shares in proptest::collection::vec((0u64..=256, 0usize..60), 1..4)) {
            let found = sums(&shares);
            prop_assert!(found.iter().all(|(_, all)| all.iter().all(|weight| *weight <= MOST)));
            // one backend's endpoints differ by 1 at most
            let spread = |all: &[u64]| Some(all.iter().max()? - all.iter().min()?);
            prop_assert!(found.iter().all(|(_, all)| spread(all) <= Some(1)));
            // What a unit of weight is worth: the same everywhere, but for half a unit of rounding (or one whole, of the smallest).
            let served = || shares.iter().zip(&found).filter(|((weight, n), _)| *weight > 0 && *n > 0);
            let worth = served().map(|((w, n), _)| 256.0 * *n as f64 / *w as f64).fold(f64::INFINITY, f64::min);
            for ((weight, _), (sum, _)) in served() {
                let exact = *weight as f64 * worth;
                let rounding = if exact < 0.5 { 1.0 } else { 0.5 + 1e-6 };
                prop_assert!(*sum >= 1 && (*sum as f64 - exact).abs() <= rounding);
            }
            for ((weight, n), (sum, _)) in shares.iter().zip(&found) {
                prop_assert!(*sum == 0 || (*weight > 0 && *n > 0));
            }
        }
    }
}
