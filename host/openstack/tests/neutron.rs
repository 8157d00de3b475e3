//! What goes to Neutron and what is read from it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

mod common;

use std::fmt::Debug;

use common::{Cloud, Reply, Seen, ok, query, value};
use isthmus_openstack::neutron::{
    AddressGroup, Deleted, FixedIp, FixedIpRequest, FloatingIp, Network, Port, PortCreate, PortUpdate, Quota,
    Resource, Router, SecurityGroup, SecurityGroupRule, SecurityGroupRuleCreate, Subnet, SubnetCreate,
    SubnetPool, Trunk,
};
use isthmus_openstack::{ErrorKind, RetryClass};
use serde_json::{Map, Value, json};

/// A collection of ports as Neutron pages it; a marker that it does not have is a 404.
fn paged(ids: &[&str], seen: &Seen) -> Reply {
    let limit: usize = value(seen, "limit").unwrap().parse().unwrap();
    let start = match value(seen, "marker") {
        None => 0,
        Some(marker) => match ids.iter().position(|id| *id == marker) {
            Some(at) => at + 1,
            None => {
                return Reply::Json(
                    404,
                    json!({"NeutronError": {"type": "PortNotFound", "message": "gone"}}),
                );
            }
        },
    };
    let page: Vec<_> = ids.iter().skip(start).take(limit).collect();
    let mut body = json!({"ports": page.iter().map(|id| json!({"id": id})).collect::<Vec<_>>()});
    if start + page.len() < ids.len() {
        body["ports_links"] = json!([{"rel": "previous"}, {"rel": "next", "href": "http://wrong.example/"}]);
    }
    ok(body)
}

#[tokio::test]
async fn a_port_is_made_in_one_request_with_what_was_asked_for_only() {
    let cloud = Cloud::start(|_| Reply::Json(201, json!({"port": {"id": "1", "status": "DOWN"}}))).await;
    let body = PortCreate {
        network_id: "net".into(),
        fixed_ips: Some(vec![FixedIpRequest { subnet_id: Some("s".into()), ip_address: None }]),
        security_groups: Some(vec![]),
        tags: Some(vec!["a".into()]),
        binding_host_id: Some("node1".into()),
        ..PortCreate::default()
    };
    let port = cloud.neutron().create::<Port>(&body).await.unwrap();
    assert_eq!((port.id.as_str(), port.status.as_str()), ("1", "DOWN"));
    assert_eq!(
        cloud.seen()[0].body,
        json!({"port": {"network_id": "net", "fixed_ips": [{"subnet_id": "s"}], "security_groups": [], "tags": ["a"],
            "binding:host_id": "node1"}})
    );
}

#[tokio::test]
async fn a_port_of_another_release_is_read() {
    let shown = json!({"port": {
        "id": "1", "name": null, "description": null, "tags": null, "status": "QUANTUM", "fixed_ips": [
            {"subnet_id": "s", "ip_address": "10.0.0.5", "colour": "red"}, {"subnet_id": null}],
        "allowed_address_pairs": null, "security_groups": null, "revision_number": null, "binding:host_id": null,
        "binding:vnic_type": "teleport", "qos_policy_id": null, "port_security_enabled": null, "new_field": {"a": [1]}}});
    let cloud = Cloud::start(move |_| ok(shown.clone())).await;
    let port = cloud.neutron().get::<Port>("1").await.unwrap();
    let expected = Port {
        id: "1".into(),
        status: "QUANTUM".into(),
        binding_vnic_type: "teleport".into(),
        fixed_ips: vec![FixedIp { subnet_id: "s".into(), ip_address: "10.0.0.5".into() }, FixedIp::default()],
        ..Port::default()
    };
    assert_eq!(port, expected);
}

/// Every field that a kind of ours reads.
const FIELDS: &str = "addresses admin_state_up allocation_pools allowed_address_pairs binding:host_id binding:vif_type \
    binding:vnic_type cidr created_at description device_id device_owner direction dns_domain dns_name dns_nameservers enable_dhcp \
    ethertype fixed_ip_address fixed_ips floating_ip_address floating_network_id gateway_ip host_routes ip_version \
    ipv6_address_mode ipv6_ra_mode mac_address mtu name network_id port_id port_range_max port_range_min port_security_enabled \
    project_id protocol provider:network_type provider:segmentation_id qos_policy_id remote_address_group_id remote_group_id \
    remote_ip_prefix revision_number router:external security_group_id security_group_rules security_groups segmentation_id \
    segmentation_type shared stateful status sub_ports subnet_id subnetpool_id subnets tags";

/// Reads one that says nothing but its id, and one of another release.
async fn reads<R: Resource + Default + Debug + PartialEq>() {
    let nothing = json!({"id": "1"});
    let mut nulls: Map<String, Value> = FIELDS.split_whitespace().map(|f| (f.into(), Value::Null)).collect();
    nulls.extend([("id".into(), json!("1")), ("new_field".into(), json!({"a": [1]}))]);
    let mut read = Vec::new();
    for object in [nothing, Value::Object(nulls)] {
        let cloud = Cloud::start(move |_| ok(json!({R::SINGULAR: object}))).await;
        read.push(cloud.neutron().get::<R>("1").await.unwrap());
    }
    assert_ne!(read[0], R::default(), "it has its id");
    assert_eq!(read[0], read[1]);
}

#[tokio::test]
async fn only_an_id_is_required_of_any_kind() {
    reads::<Network>().await;
    reads::<Subnet>().await;
    reads::<SubnetPool>().await;
    reads::<Port>().await;
    reads::<SecurityGroup>().await;
    reads::<SecurityGroupRule>().await;
    reads::<AddressGroup>().await;
    reads::<FloatingIp>().await;
    reads::<Router>().await;
    reads::<Trunk>().await;
}

#[tokio::test]
async fn a_list_has_all_pages() {
    let cloud = Cloud::start(|seen| paged(&["a", "b", "c", "d", "e"], seen)).await;
    let neutron = cloud.neutron().with_page(2);
    let ports =
        neutron.list::<Port>(&[("project_id", "p1"), ("tags", "x,y"), ("fields", "name")]).await.unwrap();
    assert_eq!(ports.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    let seen = cloud.seen();
    assert_eq!(
        seen.iter().map(|s| value(s, "marker")).collect::<Vec<_>>(),
        [None, Some("b".into()), Some("d".into())]
    );
    for request in &seen {
        let fields: Vec<_> =
            query(request).into_iter().filter(|(k, _)| k == "fields").map(|(_, v)| v).collect();
        assert_eq!(fields, ["name", "id"]);
        assert_eq!(value(request, "tags").as_deref(), Some("x%2Cy"));
        assert_eq!(value(request, "sort_key").as_deref(), Some("id"));
    }
}

#[tokio::test]
async fn a_list_whose_marker_was_deleted_starts_anew() {
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let cloud = Cloud::start(move |seen| match requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => paged(&["a", "b", "c"], seen),
        _ => paged(&["a", "c"], seen),
    })
    .await;
    let ports = cloud.neutron().with_page(2).list::<Port>(&[]).await.unwrap();
    assert_eq!(ports.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(cloud.seen().len(), 3);
}

#[tokio::test]
async fn a_list_that_does_not_end_is_an_error() {
    let endless = json!({"ports": [{"id": "a"}], "ports_links": [{"rel": "next"}]});
    let cloud = Cloud::start(move |_| ok(endless.clone())).await;
    let error = cloud.neutron().list::<Port>(&[]).await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Decode, RetryClass::Transient));
    assert_eq!(cloud.seen().len(), 2);
}

#[tokio::test]
async fn half_a_list_is_none() {
    let first = json!({"ports": [{"id": "a"}], "ports_links": [{"rel": "next"}]});
    let cloud = Cloud::script([ok(first), Reply::Json(500, Value::Null)]).await;
    assert_eq!(cloud.neutron().list::<Port>(&[]).await.unwrap_err().class, RetryClass::Transient);
}

#[tokio::test]
async fn a_change_names_the_revision_it_was_made_for() {
    let conflict = json!({"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "6 != 5", "detail": ""}});
    let cloud = Cloud::script([ok(json!({"port": {"id": "1"}})), Reply::Json(412, conflict)]).await;
    let neutron = cloud.neutron();
    let change = PortUpdate { name: Some(String::new()), qos_policy_id: Some(None), ..PortUpdate::default() };
    neutron.update::<Port>("1", &change, None).await.unwrap();
    let error = neutron.update::<Port>("1", &change, Some(5)).await.unwrap_err();
    assert_eq!((error.class, error.fault()), (RetryClass::Conflict, Some("RevisionNumberConstraintFailed")));
    let seen = cloud.seen();
    assert_eq!(seen[0].body, json!({"port": {"name": "", "qos_policy_id": null}}));
    assert_eq!(seen[0].headers.get("if-match"), None);
    assert_eq!(seen[1].headers["if-match"], "revision_number=5");
}

#[tokio::test]
async fn what_is_gone_is_deleted() {
    let in_use = json!({"NeutronError": {"type": "NetworkInUse", "message": "ports", "detail": ""}});
    let cloud = Cloud::script([
        Reply::Json(204, Value::Null),
        Reply::Json(404, json!({"NeutronError": {"type": "PortNotFound", "message": "no", "detail": ""}})),
        Reply::Json(409, in_use),
    ])
    .await;
    let neutron = cloud.neutron();
    assert_eq!(neutron.delete::<Port>("1").await.unwrap(), Deleted::Done);
    assert_eq!(neutron.delete::<Port>("1").await.unwrap(), Deleted::Gone);
    let error = neutron.delete::<Network>("1").await.unwrap_err();
    assert_eq!((error.class, error.fault()), (RetryClass::Conflict, Some("NetworkInUse")));
}

#[tokio::test]
async fn a_404_that_says_less_than_gone_deletes_nothing_from_our_books() {
    let hidden =
        json!({"NeutronError": {"type": "HTTPNotFound", "message": "The resource could not be found."}});
    for (body, class) in
        [(json!("<html>no such page</html>"), RetryClass::Transient), (hidden, RetryClass::NotFound)]
    {
        let cloud = Cloud::script([Reply::Json(404, body)]).await;
        assert_eq!(cloud.neutron().delete::<Port>("1").await.unwrap_err().class, class);
    }
}

#[tokio::test]
async fn an_id_cannot_leave_its_collection() {
    let cloud = Cloud::start(|_| Reply::Json(204, Value::Null)).await;
    let neutron = cloud.neutron();
    for bad in ["", ".", ".."] {
        let error = neutron.delete::<Port>(bad).await.unwrap_err();
        assert_eq!((error.kind, error.class), (ErrorKind::Request, RetryClass::Invalid));
    }
    assert!(cloud.seen().is_empty());
    neutron.delete::<Port>("../networks/1?x").await.unwrap();
    assert_eq!(cloud.seen()[0].uri, "/v2.0/ports/..%2Fnetworks%2F1%3Fx");
}

#[tokio::test]
async fn subnets_and_rules_say_null_and_any_as_neutron_wants_it() {
    let cloud = Cloud::start(|seen| {
        let key = if seen.uri == "/v2.0/subnets" { "subnet" } else { "security_group_rule" };
        Reply::Json(201, json!({key: {"id": "1", "ip_version": 6}}))
    })
    .await;
    let neutron = cloud.neutron();
    let subnet = SubnetCreate {
        network_id: "n".into(),
        ip_version: 6,
        subnetpool_id: Some("pool".into()),
        gateway_ip: Some(None),
        ..SubnetCreate::default()
    };
    assert_eq!(neutron.create::<Subnet>(&subnet).await.unwrap().ip_version, 6);
    let rule = SecurityGroupRuleCreate {
        security_group_id: "g".into(),
        direction: "ingress".into(),
        ..SecurityGroupRuleCreate::default()
    };
    neutron.create::<SecurityGroupRule>(&rule).await.unwrap();
    let seen = cloud.seen();
    assert_eq!(
        seen[0].body,
        json!({"subnet": {"network_id": "n", "ip_version": 6, "subnetpool_id": "pool", "gateway_ip": null}})
    );
    assert_eq!(
        seen[1].body,
        json!({"security_group_rule": {"security_group_id": "g", "direction": "ingress"}})
    );
}

#[tokio::test]
async fn actions_have_the_paths_and_bodies_of_the_api() {
    let cloud = Cloud::start(|seen| match seen.uri.as_str() {
        "/v2.0/ports/1/tags" => ok(json!({"tags": seen.body["tags"]})),
        "/v2.0/address-groups/1/add_addresses" => {
            ok(json!({"address_group": {"id": "1", "addresses": ["10.0.0.1/32"]}}))
        }
        "/v2.0/address-groups/1/remove_addresses" => {
            ok(json!({"address_group": {"id": "1", "addresses": []}}))
        }
        "/v2.0/routers/r/add_router_interface" | "/v2.0/routers/r/remove_router_interface" => {
            ok(json!({"id": "r", "port_id": "1", "subnet_id": "s", "subnet_ids": ["s"]}))
        }
        "/v2.0/quotas/p1/details" => {
            ok(json!({"quota": {"port": {"limit": 3, "used": 2, "reserved": 1}, "trunk": null,
            "network": {"limit": -1}}}))
        }
        "/v2.0/extensions?fields=alias" => {
            ok(json!({"extensions": [{"alias": "tag-creation"}, {"alias": "trunk"}]}))
        }
        other => panic!("{other}"),
    })
    .await;
    let neutron = cloud.neutron();
    let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();

    assert_eq!(neutron.set_tags::<Port>("1", &texts(&["a", "b"])).await.unwrap(), ["a", "b"]);
    let group = neutron.add_addresses("1", &texts(&["10.0.0.1/32"])).await.unwrap();
    assert_eq!(group.addresses, ["10.0.0.1/32"]);
    neutron.remove_addresses("1", &texts(&["10.0.0.1/32"])).await.unwrap();
    assert_eq!(neutron.add_router_interface("r", "1").await.unwrap().subnet_id, "s");
    assert_eq!(neutron.remove_router_interface("r", "1").await.unwrap().port_id, "1");
    let quotas = neutron.quotas("p1").await.unwrap();
    assert_eq!(quotas["port"], Quota { limit: 3, used: 2, reserved: 1 });
    assert_eq!((quotas["network"].limit, quotas["trunk"]), (-1, Quota::default()));
    assert!(neutron.extensions().await.unwrap().contains("tag-creation"));

    let bodies: Vec<_> = cloud.seen().into_iter().map(|s| s.body).collect();
    assert_eq!(
        bodies[..5],
        [
            json!({"tags": ["a", "b"]}),
            json!({"addresses": ["10.0.0.1/32"]}),
            json!({"addresses": ["10.0.0.1/32"]}),
            json!({"port_id": "1"}),
            json!({"port_id": "1"}),
        ]
    );
}
