//! The real client against the world: what it does is what the client expects of Neutron.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::time::{Duration, Instant};

use isthmus_openstack::config::{AuthConfig, AuthMethod, Domain, Project, Scope, User};
use isthmus_openstack::neutron::{
    AllowedAddressPair, Deleted, FixedIpRequest, Network, NetworkCreate, Port, PortCreate, PortUpdate, Quota,
    SecurityGroup, SecurityGroupCreate, SecurityGroupRule, SecurityGroupRuleCreate, Subnet, SubnetCreate,
};
use isthmus_openstack::{CloudConfig, Error, Metrics, Neutron, RetryClass, Secret, Session};
use isthmus_world::{Counts, Kind, Options, World};

async fn stage() -> (World, Neutron) {
    let world = World::start(Options::default()).await.unwrap();
    let neutron = client(&world, "secret");
    (world, neutron)
}

fn client(world: &World, password: &str) -> Neutron {
    let domain = || Domain::Id("default".into());
    let method = AuthMethod::Password {
        user: User::Name("isthmus".into(), domain()),
        password: Secret::new(password),
    };
    let scope = Scope::Project(Project::Name("demo".into(), domain()));
    let config = CloudConfig::new("world", AuthConfig { auth_url: world.url().to_owned(), method, scope });
    Neutron::new(Session::new(config, Metrics::default()).unwrap())
}

/// A network with a subnet of this prefix: their ids.
async fn network(neutron: &Neutron, cidr: &str) -> (String, String) {
    let named = NetworkCreate { name: Some("pods".into()), ..NetworkCreate::default() };
    let network: Network = neutron.create::<Network>(&named).await.unwrap();
    let subnet = subnet(neutron, &network.id, cidr).await;
    (network.id, subnet)
}

async fn subnet(neutron: &Neutron, network: &str, cidr: &str) -> String {
    let version = if cidr.contains(':') { 6 } else { 4 };
    let body = SubnetCreate {
        network_id: network.into(),
        ip_version: version,
        cidr: Some(cidr.into()),
        ..SubnetCreate::default()
    };
    neutron.create::<Subnet>(&body).await.unwrap().id
}

fn on(network: &str) -> PortCreate {
    PortCreate { network_id: network.into(), ..PortCreate::default() }
}

fn fault<T: std::fmt::Debug>(result: Result<T, Error>) -> (RetryClass, String) {
    let error = result.unwrap_err();
    (error.class, error.fault().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_port_has_what_was_asked_for_and_what_neutron_adds() {
    let (_world, neutron) = stage().await;
    let (network, subnet_v4) = network(&neutron, "10.0.0.0/24").await;
    subnet(&neutron, &network, "fd00:7::/64").await;
    let asked = PortCreate {
        name: Some("web".into()),
        tags: Some(vec!["b".into(), "a".into()]),
        binding_host_id: Some("node1".into()),
        allowed_address_pairs: Some(vec![AllowedAddressPair {
            ip_address: "10.9.0.0/16".into(),
            mac_address: None,
        }]),
        ..on(&network)
    };
    let port = neutron.create::<Port>(&asked).await.unwrap();
    let addresses: Vec<&str> = port.fixed_ips.iter().map(|ip| ip.ip_address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.2", "fd00:7::1"]);
    assert_eq!(port.tags, ["b", "a"]);
    assert_eq!((port.binding_vif_type.as_str(), port.status.as_str()), ("ovs", "DOWN"));
    assert_eq!(port.allowed_address_pairs[0].mac_address.as_ref(), Some(&port.mac_address));
    let groups = neutron.list::<SecurityGroup>(&[("name", "default")]).await.unwrap();
    assert_eq!(port.security_groups, [groups[0].id.clone()]);
    assert_eq!(groups[0].security_group_rules.len(), 4);
    assert_eq!(neutron.get::<Port>(&port.id).await.unwrap(), port);
    assert!(neutron.get::<Network>(&network).await.unwrap().subnets.contains(&subnet_v4));
}

#[tokio::test]
async fn lists_are_filtered_cut_to_fields_and_paged() {
    let (world, neutron) = stage().await;
    let (network, _) = network(&neutron, "10.0.0.0/24").await;
    let mut expected = Vec::new();
    for n in 0..7 {
        let tags =
            if n % 2 == 0 { vec!["even".to_owned(), "all".to_owned()] } else { vec!["all".to_owned()] };
        let asked = PortCreate { name: Some(format!("p{n}")), tags: Some(tags), ..on(&network) };
        expected.push(neutron.create::<Port>(&asked).await.unwrap().id);
    }
    expected.sort();
    let paging = neutron.clone().with_page(2);
    let ids = |ports: Vec<Port>| ports.into_iter().map(|p| p.id).collect::<Vec<_>>();
    assert_eq!(ids(paging.list::<Port>(&[("tags", "all")]).await.unwrap()), expected);
    assert_eq!(paging.list::<Port>(&[("tags", "all,even")]).await.unwrap().len(), 4);
    assert_eq!(paging.list::<Port>(&[("project_id", world.project_id())]).await.unwrap().len(), 7);
    assert_eq!(paging.list::<Port>(&[("project_id", "another")]).await.unwrap(), []);
    let two = paging.list::<Port>(&[("name", "p1"), ("name", "p2"), ("fields", "name")]).await.unwrap();
    assert_eq!(two.len(), 2);
    assert!(two.iter().all(|p| p.name.starts_with('p') && p.mac_address.is_empty()));
    let marker = "00000000-0000-4000-8000-000000000000";
    assert_eq!(
        fault(neutron.list::<Port>(&[("marker", marker)]).await),
        (RetryClass::NotFound, "PortNotFound".into())
    );
}

#[tokio::test]
async fn addresses_are_given_once_and_come_back() {
    let (_world, neutron) = stage().await;
    let (network, subnet) = network(&neutron, "10.0.0.0/29").await;
    let at = |address: &str| PortCreate {
        fixed_ips: Some(vec![FixedIpRequest {
            subnet_id: Some(subnet.clone()),
            ip_address: Some(address.into()),
        }]),
        ..on(&network)
    };
    let first = neutron.create::<Port>(&at("10.0.0.4")).await.unwrap();
    let taken = fault(neutron.create::<Port>(&at("10.0.0.4")).await);
    assert_eq!(taken, (RetryClass::Conflict, "IpAddressAlreadyAllocated".into()));
    let outside = fault(neutron.create::<Port>(&at("10.7.0.4")).await);
    assert_eq!(outside, (RetryClass::Invalid, "InvalidIpForSubnet".into()));
    for _ in 0..4 {
        neutron.create::<Port>(&on(&network)).await.unwrap();
    }
    let none_left = fault(neutron.create::<Port>(&on(&network)).await);
    assert_eq!(none_left, (RetryClass::Quota, "IpAddressGenerationFailure".into()));
    assert_eq!(neutron.delete::<Port>(&first.id).await.unwrap(), Deleted::Done);
    let change = PortUpdate { fixed_ips: at("10.0.0.4").fixed_ips, ..PortUpdate::default() };
    let last = neutron.list::<Port>(&[]).await.unwrap().pop().unwrap();
    let moved = neutron.update::<Port>(&last.id, &change, None).await.unwrap();
    assert_eq!(moved.fixed_ips[0].ip_address, "10.0.0.4");
    let next = neutron.create::<Port>(&on(&network)).await.unwrap();
    assert_eq!(next.fixed_ips, last.fixed_ips);
}

#[tokio::test]
async fn what_is_used_stays() {
    let (world, neutron) = stage().await;
    let (network, subnet) = network(&neutron, "10.0.0.0/29").await;
    let named = |name: &str| SecurityGroupCreate { name: name.into(), ..SecurityGroupCreate::default() };
    let group = neutron.create::<SecurityGroup>(&named("pods")).await.unwrap().id;
    let port = PortCreate { security_groups: Some(vec![group.clone()]), ..on(&network) };
    let port = neutron.create::<Port>(&port).await.unwrap().id;
    let conflict = |name: &str| (RetryClass::Conflict, name.to_owned());
    assert_eq!(fault(neutron.delete::<Network>(&network).await), conflict("NetworkInUse"));
    assert_eq!(fault(neutron.delete::<Subnet>(&subnet).await), conflict("SubnetInUse"));
    assert_eq!(fault(neutron.delete::<SecurityGroup>(&group).await), conflict("SecurityGroupInUse"));
    let again = neutron.create::<SecurityGroup>(&named("default")).await;
    assert_eq!(fault(again), conflict("SecurityGroupDefaultAlreadyExists"));
    let rule = SecurityGroupRuleCreate {
        security_group_id: group.clone(),
        direction: "ingress".into(),
        protocol: Some("tcp".into()),
        port_range_min: Some(80),
        port_range_max: Some(80),
        ..SecurityGroupRuleCreate::default()
    };
    neutron.create::<SecurityGroupRule>(&rule).await.unwrap();
    let again = neutron.create::<SecurityGroupRule>(&rule).await;
    assert_eq!(fault(again), conflict("SecurityGroupRuleExists"));

    neutron.delete::<Port>(&port).await.unwrap();
    assert_eq!(neutron.delete::<Port>(&port).await.unwrap(), Deleted::Gone);
    neutron.delete::<SecurityGroup>(&group).await.unwrap();
    neutron.delete::<Network>(&network).await.unwrap();
    assert_eq!((world.count(Kind::Subnet), world.count(Kind::SecurityGroup)), (0, 1));
}

#[tokio::test]
async fn a_change_counts_as_a_revision_and_may_ask_for_one() {
    let (_world, neutron) = stage().await;
    let (network, _) = network(&neutron, "10.0.0.0/24").await;
    let port = neutron.create::<Port>(&on(&network)).await.unwrap();
    let rename = PortUpdate { name: Some("new".into()), ..PortUpdate::default() };
    let changed = neutron.update::<Port>(&port.id, &rename, port.revision_number).await.unwrap();
    assert!(changed.revision_number > port.revision_number && changed.name == "new");
    let late = neutron.update::<Port>(&port.id, &rename, port.revision_number).await;
    assert_eq!(fault(late), (RetryClass::Conflict, "RevisionNumberConstraintFailed".into()));
    assert_eq!(neutron.set_tags::<Port>(&port.id, &["x".into()]).await.unwrap(), ["x"]);
    let tagged = neutron.get::<Port>(&port.id).await.unwrap();
    assert!(tagged.revision_number > changed.revision_number);
    assert_eq!(tagged.fixed_ips, port.fixed_ips);
}

#[tokio::test]
async fn a_network_counts_what_its_subnets_do() {
    let (_world, neutron) = stage().await;
    let named = NetworkCreate { name: Some("pods".into()), ..NetworkCreate::default() };
    let made = neutron.create::<Network>(&named).await.unwrap();
    let revision = async || neutron.get::<Network>(&made.id).await.unwrap().revision_number.unwrap();
    assert_eq!(revision().await, 1);
    let subnet = subnet(&neutron, &made.id, "10.0.0.0/24").await;
    assert_eq!(revision().await, 2);
    neutron.create::<Port>(&on(&made.id)).await.unwrap();
    neutron.set_tags::<Subnet>(&subnet, &["x".into()]).await.unwrap();
    assert_eq!(revision().await, 2, "neither a port nor a subnet's tags count");
    let port = neutron.list::<Port>(&[("network_id", &made.id)]).await.unwrap().remove(0);
    neutron.delete::<Port>(&port.id).await.unwrap();
    neutron.delete::<Subnet>(&subnet).await.unwrap();
    assert_eq!(revision().await, 3);
}

#[tokio::test]
async fn a_quota_is_kept_and_shown() {
    let (world, neutron) = stage().await;
    let (network, _) = network(&neutron, "10.0.0.0/24").await;
    world.set_quota(Kind::Port, 1);
    neutron.create::<Port>(&on(&network)).await.unwrap();
    let over = fault(neutron.create::<Port>(&on(&network)).await);
    assert_eq!(over, (RetryClass::Quota, "OverQuota".into()));
    let quotas = neutron.quotas(world.project_id()).await.unwrap();
    assert_eq!(quotas["port"], Quota { limit: 1, used: 1, reserved: 0 });
    assert_eq!(quotas["network"].limit, -1);
}

#[tokio::test]
async fn what_is_not_modelled_says_so() {
    let (_world, neutron) = stage().await;
    let (network, _) = network(&neutron, "10.0.0.0/24").await;
    let modes = SubnetCreate {
        network_id: network.clone(),
        ip_version: 6,
        cidr: Some("fd00:7::/64".into()),
        ipv6_address_mode: Some("slaac".into()),
        ..SubnetCreate::default()
    };
    let refused = neutron.create::<Subnet>(&modes).await.unwrap_err();
    assert_eq!((refused.status(), refused.fault()), (Some(501), Some("NotModelled")));
    assert!(refused.to_string().contains("IPv6 address modes"), "{refused}");
    let unknown = PortCreate { dns_name: Some("web".into()), ..on(&network) };
    let refused = neutron.create::<Port>(&unknown).await.unwrap_err();
    assert_eq!(refused.status(), Some(400));
    assert!(refused.to_string().contains("'dns_name'"), "{refused}");
    assert!(neutron.extensions().await.unwrap().contains("tag-ports-during-bulk-creation"));
}

#[tokio::test]
async fn who_does_not_sign_in_sees_nothing() {
    let (world, neutron) = stage().await;
    assert_eq!(client(&world, "wrong").list::<Port>(&[]).await.unwrap_err().class, RetryClass::Unauthorized);
    neutron.list::<Port>(&[]).await.unwrap();
    // The client signs in anew when its token is refused.
    world.revoke_tokens();
    neutron.list::<Port>(&[]).await.unwrap();
    assert_eq!(world.stats().of("tokens").writes, 3);
}

#[tokio::test]
async fn faults_come_as_planned_and_requests_are_counted() {
    let (world, neutron) = stage().await;
    let (network, _) = network(&neutron, "10.0.0.0/24").await;
    let before = world.stats().of("ports");

    world.faults().fail_next(1, 500);
    assert_eq!(fault(neutron.create::<Port>(&on(&network)).await).0, RetryClass::Unknown);
    assert_eq!(world.count(Kind::Port), 0, "a refused write has no effect");

    world.faults().lose_next_writes(1);
    neutron.list::<Port>(&[]).await.unwrap();
    assert_eq!(fault(neutron.create::<Port>(&on(&network)).await).0, RetryClass::Unknown);
    assert_eq!(world.count(Kind::Port), 1, "a write whose answer is lost is done");

    let latency = Duration::from_millis(80);
    world.faults().set_latency(latency);
    let began = Instant::now();
    assert_eq!(neutron.list::<Port>(&[]).await.unwrap().len(), 1);
    assert!(began.elapsed() >= latency);
    let after = world.stats().of("ports");
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (2, 2));
    assert_eq!(world.stats().network(), Counts { reads: 2, writes: 4 });
}
