//! What goes to Octavia and what is read from it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::{Cloud, Reply, fault, ok};
use isthmus_openstack::octavia::{
    ApiVersion, Deleted, Flavor, HealthMonitor, HealthMonitorCreate, HttpVersion, L7Policy, L7PolicyCreate,
    L7PolicyUpdate, L7Rule, L7RuleCreate, Listener, ListenerCreate, ListenerUpdate, LoadBalancer,
    LoadBalancerCreate, Member, MemberCreate, MemberUpdate, Pool, PoolCreate, PoolOrName, PoolUpdate,
    SessionPersistence,
};
use isthmus_openstack::{ErrorKind, RetryClass};
use serde_json::{Value, json};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[tokio::test]
async fn a_load_balancer_of_another_release_is_read() {
    let shown = json!({"loadbalancer": {
        "id": "lb", "name": "", "description": null, "tags": null, "provisioning_status": "PENDING_TELEPORT",
        "operating_status": null, "admin_state_up": true, "vip_address": "10.0.0.5", "vip_port_id": "port",
        "vip_subnet_id": "s", "vip_network_id": null, "vip_sg_ids": null, "flavor_id": null, "provider": "ovn",
        "availability_zone": null, "created_at": "2026-11-21T12:00:00", "updated_at": null, "new_field": [1],
        "additional_vips": [{"subnet_id": "s2", "ip_address": "10.1.0.5", "port_id": null}],
        "listeners": [{"id": "l1"}, {"id": "l2", "colour": "red"}, {"colour": "blue"}], "pools": null}});
    let cloud = Cloud::start(move |_| ok(shown.clone())).await;
    let balancer = cloud.octavia().get::<LoadBalancer>("lb").await.unwrap();
    assert_eq!(cloud.seen()[0].uri, "/v2/lbaas/loadbalancers/lb");
    assert_eq!((balancer.vip_address.as_str(), balancer.provider.as_str()), ("10.0.0.5", "ovn"));
    assert_eq!(balancer.created_at.as_deref(), Some("2026-11-21T12:00:00"));
    assert_eq!((balancer.listeners, balancer.pools), (texts(&["l1", "l2"]), vec![]));
    assert_eq!(balancer.additional_vips[0].ip_address, "10.1.0.5");
    assert!(isthmus_openstack::octavia::pending(&balancer.provisioning_status));
}

#[tokio::test]
async fn a_listener_and_what_is_below_it_is_read() {
    let cloud = Cloud::start(|seen| match seen.uri.as_str() {
        "/v2/lbaas/listeners/l" => ok(json!({"listener": {
            "id": "l", "protocol": "HTTP", "protocol_port": 80, "connection_limit": -1, "default_pool_id": "p",
            "timeout_client_data": 50000, "timeout_member_data": null, "timeout_tcp_inspect": "soon",
            "allowed_cidrs": null, "insert_headers": {"X-Forwarded-For": "true", "X-Odd": true, "X-None": null},
            "sni_container_refs": ["a", "b"], "loadbalancers": [{"id": "lb"}], "l7policies": [{"id": "1"}]}})),
        "/v2/lbaas/pools/p" => ok(json!({"pool": {
            "id": "p", "lb_algorithm": "ROUND_ROBIN", "healthmonitor_id": "h", "members": [{"id": "m"}],
            "session_persistence": {"type": "APP_COOKIE", "cookie_name": "c", "persistence_timeout": null},
            "tls_enabled": false, "tls_versions": null}})),
        "/v2/lbaas/healthmonitors/h" => ok(json!({"healthmonitor": {
            "id": "h", "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2, "max_retries_down": 3,
            "http_version": 1.1, "domain_name": "example.org", "pools": [{"id": "p"}]}})),
        "/v2/lbaas/l7policies/1" => ok(json!({"l7policy": {
            "id": "1", "listener_id": "l", "action": "REDIRECT_TO_URL", "redirect_url": "https://example.org",
            "redirect_http_code": 301, "position": 1, "rules": [{"id": "r"}]}})),
        "/v2/lbaas/pools/p/members/m" => ok(json!({"member": {
            "id": "m", "address": "10.0.0.7", "protocol_port": 8080, "weight": 0, "backup": false,
            "subnet_id": null, "monitor_port": null, "name": null}})),
        "/v2/lbaas/l7policies/1/rules/r" => ok(json!({"rule": {
            "id": "r", "type": "PATH", "compare_type": "STARTS_WITH", "key": null, "value": "/a", "invert": false}})),
        other => panic!("{other}"),
    })
    .await;
    let octavia = cloud.octavia();

    let listener = octavia.get::<Listener>("l").await.unwrap();
    assert_eq!((listener.protocol_port, listener.connection_limit), (Some(80), Some(-1)));
    assert_eq!((listener.timeout_client_data, listener.timeout_tcp_inspect), (Some(50000), None));
    let headers = [("X-Forwarded-For", "true"), ("X-Odd", "true")];
    assert_eq!(listener.insert_headers, headers.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    assert_eq!((listener.l7policies, listener.sni_container_refs), (texts(&["1"]), texts(&["a", "b"])));

    let pool = octavia.get::<Pool>("p").await.unwrap();
    let sticky = SessionPersistence {
        kind: "APP_COOKIE".into(),
        cookie_name: Some("c".into()),
        ..SessionPersistence::default()
    };
    assert_eq!((pool.session_persistence, pool.healthmonitor_id.as_deref()), (Some(sticky), Some("h")));

    let monitor = octavia.get::<HealthMonitor>("h").await.unwrap();
    assert_eq!((monitor.http_version, monitor.delay), (Some(HttpVersion::Http11), Some(5)));
    let policy = octavia.get::<L7Policy>("1").await.unwrap();
    assert_eq!(
        (policy.position, policy.redirect_http_code, policy.rules),
        (Some(1), Some(301), texts(&["r"]))
    );
    let member = octavia.get_in::<Member>("p", "m").await.unwrap();
    assert_eq!((member.protocol_port, member.weight, member.subnet_id), (Some(8080), Some(0), None));
    let rule = octavia.get_in::<L7Rule>("1", "r").await.unwrap();
    assert_eq!((rule.kind.as_str(), rule.invert), ("PATH", Some(false)));
}

#[tokio::test]
async fn only_an_id_is_required_of_any_kind() {
    let cloud = Cloud::start(|seen| {
        let key = match seen.uri.as_str() {
            "/v2/lbaas/loadbalancers/1" => "loadbalancer",
            "/v2/lbaas/listeners/1" => "listener",
            "/v2/lbaas/pools/1" => "pool",
            "/v2/lbaas/pools/p/members/1" => "member",
            "/v2/lbaas/healthmonitors/1" => "healthmonitor",
            "/v2/lbaas/l7policies/1" => "l7policy",
            "/v2/lbaas/l7policies/p/rules/1" => "rule",
            "/v2/lbaas/flavors/1" => "flavor",
            other => panic!("{other}"),
        };
        ok(json!({key: {"id": "1"}}))
    })
    .await;
    let octavia = cloud.octavia();
    assert_eq!(octavia.get::<LoadBalancer>("1").await.unwrap().id, "1");
    assert_eq!(octavia.get::<Listener>("1").await.unwrap().id, "1");
    assert_eq!(octavia.get::<Pool>("1").await.unwrap().id, "1");
    assert_eq!(octavia.get_in::<Member>("p", "1").await.unwrap().id, "1");
    assert_eq!(octavia.get::<HealthMonitor>("1").await.unwrap().id, "1");
    assert_eq!(octavia.get::<L7Policy>("1").await.unwrap().id, "1");
    assert_eq!(octavia.get_in::<L7Rule>("p", "1").await.unwrap().id, "1");
    assert_eq!(octavia.get::<Flavor>("1").await.unwrap().id, "1");
}

/// A load balancer with two listeners, two pools and a policy.
fn tree() -> LoadBalancerCreate {
    let monitor = HealthMonitorCreate {
        kind: "HTTP".into(),
        delay: 5,
        timeout: 3,
        max_retries: 2,
        http_version: Some(HttpVersion::Http11),
        domain_name: Some("example.org".into()),
        ..HealthMonitorCreate::default()
    };
    let member = MemberCreate {
        address: "10.0.0.7".into(),
        protocol_port: 8080,
        weight: Some(0),
        ..MemberCreate::default()
    };
    let web = PoolCreate {
        name: Some("web".into()),
        protocol: "HTTP".into(),
        lb_algorithm: "ROUND_ROBIN".into(),
        members: Some(vec![member]),
        healthmonitor: Some(monitor),
        ..PoolCreate::default()
    };
    let api = PoolCreate {
        name: Some("api".into()),
        protocol: "HTTP".into(),
        lb_algorithm: "SOURCE_IP".into(),
        tls_enabled: Some(true),
        tls_ciphers: Some(None),
        tls_versions: Some(None),
        alpn_protocols: Some(None),
        ..PoolCreate::default()
    };
    let rule = L7RuleCreate {
        kind: "PATH".into(),
        compare_type: "STARTS_WITH".into(),
        value: "/api".into(),
        ..L7RuleCreate::default()
    };
    let policy = L7PolicyCreate {
        action: "REDIRECT_TO_POOL".into(),
        redirect_pool: Some(PoolOrName::Pool(Box::new(api))),
        rules: Some(vec![rule]),
        ..L7PolicyCreate::default()
    };
    let http = ListenerCreate {
        protocol: "HTTP".into(),
        protocol_port: 80,
        default_pool: Some(PoolOrName::Name { name: "web".into() }),
        l7policies: Some(vec![policy]),
        insert_headers: Some(BTreeMap::from([("X-Forwarded-For".into(), "true".into())])),
        ..ListenerCreate::default()
    };
    LoadBalancerCreate {
        name: Some("demo".into()),
        vip_subnet_id: Some("s".into()),
        tags: Some(texts(&["a"])),
        listeners: Some(vec![http]),
        pools: Some(vec![web]),
        ..LoadBalancerCreate::default()
    }
}

#[tokio::test]
async fn a_whole_tree_is_made_in_one_request_with_what_was_asked_for_only() {
    let cloud = Cloud::start(|_| {
        Reply::Json(
            201,
            json!({"loadbalancer": {"id": "lb", "provisioning_status": "PENDING_CREATE", "listeners": [
                {"id": "l", "name": "", "l7policies": [{"id": "1", "rules": [{"id": "r"}]}]}], "pools": [
                {"id": "p", "members": [{"id": "m", "address": "10.0.0.7"}]}]}}),
        )
    })
    .await;
    let made = cloud.octavia().create::<LoadBalancer>(&tree()).await.unwrap();
    assert_eq!((made.listeners, made.pools), (texts(&["l"]), texts(&["p"])));
    let seen = cloud.seen();
    assert_eq!(seen[0].uri, "/v2/lbaas/loadbalancers");
    assert_eq!(
        seen[0].body,
        json!({"loadbalancer": {
            "name": "demo", "vip_subnet_id": "s", "tags": ["a"],
            "listeners": [{
                "protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "web"},
                "insert_headers": {"X-Forwarded-For": "true"},
                "l7policies": [{
                    "action": "REDIRECT_TO_POOL",
                    "redirect_pool": {
                        "name": "api", "protocol": "HTTP", "lb_algorithm": "SOURCE_IP", "tls_enabled": true,
                        "tls_ciphers": null, "tls_versions": null, "alpn_protocols": null},
                    "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}]}]}],
            "pools": [{
                "name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                "members": [{"address": "10.0.0.7", "protocol_port": 8080, "weight": 0}],
                "healthmonitor": {
                    "type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2, "http_version": 1.1,
                    "domain_name": "example.org"}}]}})
    );
}

#[tokio::test]
async fn a_change_clears_with_null_and_leaves_the_rest() {
    let cloud = Cloud::start(|seen| {
        let key = seen.body.as_object().unwrap().keys().next().unwrap().clone();
        ok(json!({key: {"id": "1"}}))
    })
    .await;
    let octavia = cloud.octavia();
    let listener = ListenerUpdate {
        default_pool_id: Some(None),
        timeout_client_data: Some(Some(1000)),
        sni_container_refs: Some(vec![]),
        ..ListenerUpdate::default()
    };
    octavia.update::<Listener>("1", &listener).await.unwrap();
    let pool = PoolUpdate {
        session_persistence: Some(None),
        tls_container_ref: Some(None),
        ..PoolUpdate::default()
    };
    octavia.update::<Pool>("1", &pool).await.unwrap();
    let policy =
        L7PolicyUpdate { position: Some(3), redirect_prefix: Some(None), ..L7PolicyUpdate::default() };
    octavia.update::<L7Policy>("1", &policy).await.unwrap();
    let member = MemberUpdate { weight: Some(Some(0)), monitor_port: Some(None), ..MemberUpdate::default() };
    octavia.update_in::<Member>("p", "1", &member).await.unwrap();

    let seen = cloud.seen();
    let bodies: Vec<_> = seen.iter().map(|s| s.body.clone()).collect();
    assert_eq!(
        bodies,
        [
            json!({"listener": {"default_pool_id": null, "timeout_client_data": 1000, "sni_container_refs": []}}),
            json!({"pool": {"session_persistence": null, "tls_container_ref": null}}),
            json!({"l7policy": {"redirect_prefix": null, "position": 3}}),
            json!({"member": {"weight": 0, "monitor_port": null}}),
        ]
    );
    assert_eq!(seen[3].uri, "/v2/lbaas/pools/p/members/1");
}

#[tokio::test]
async fn members_are_replaced_in_one_request() {
    let cloud = Cloud::start(|_| Reply::Json(202, Value::Null)).await;
    let member = |address: &str| MemberCreate {
        address: address.into(),
        protocol_port: 80,
        backup: Some(true),
        ..MemberCreate::default()
    };
    let octavia = cloud.octavia();
    octavia.batch_members("p", &[member("10.0.0.1"), member("10.0.0.2")]).await.unwrap();
    octavia.batch_members("p", &[]).await.unwrap();
    let seen = cloud.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].uri.as_str()), ("PUT", "/v2/lbaas/pools/p/members"));
    assert_eq!(
        seen[0].body,
        json!({"members": [
            {"address": "10.0.0.1", "protocol_port": 80, "backup": true},
            {"address": "10.0.0.2", "protocol_port": 80, "backup": true}]})
    );
    assert_eq!(seen[1].body, json!({"members": []}), "an empty list is a pool without any");
}

#[tokio::test]
async fn what_is_gone_is_deleted() {
    let cloud = Cloud::script([
        Reply::Json(204, Value::Null),
        fault(404, "Load Balancer lb not found."),
        fault(404, "Pool p not found."),
        fault(400, "Cannot delete Load Balancer lb - it has children"),
        Reply::Json(404, json!("<html>no such page</html>")),
    ])
    .await;
    let octavia = cloud.octavia();
    assert_eq!(octavia.delete_cascade("lb").await.unwrap(), Deleted::Done);
    assert_eq!(octavia.delete_cascade("lb").await.unwrap(), Deleted::Gone);
    assert_eq!(octavia.delete_in::<Member>("p", "m").await.unwrap(), Deleted::Gone);
    assert_eq!(octavia.delete::<LoadBalancer>("lb").await.unwrap_err().class, RetryClass::Invalid);
    assert_eq!(octavia.delete::<Pool>("p").await.unwrap_err().class, RetryClass::Transient, "a proxy's 404");
    let uris: Vec<_> = cloud.seen().into_iter().map(|s| s.uri).collect();
    assert_eq!(uris[0], "/v2/lbaas/loadbalancers/lb?cascade=true");
    assert_eq!(uris[2..4], ["/v2/lbaas/pools/p/members/m", "/v2/lbaas/loadbalancers/lb"]);
}

#[tokio::test]
async fn refusals_say_what_a_retry_is_worth() {
    let unsupported =
        "Provider 'ovn' does not support a requested option: OVN provider does not support HTTP";
    for (reply, class, immutable, unsupported) in [
        (
            fault(409, "Load Balancer lb is immutable and cannot be updated."),
            RetryClass::Conflict,
            true,
            false,
        ),
        (
            fault(409, "Invalid state PENDING_UPDATE of loadbalancer resource lb"),
            RetryClass::Conflict,
            true,
            false,
        ),
        (
            fault(
                409,
                "Another Listener on this Load Balancer is already using protocol TCP and protocol_port 80",
            ),
            RetryClass::Conflict,
            false,
            false,
        ),
        (fault(501, unsupported), RetryClass::Invalid, false, true),
        (fault(403, "Quota has been met for resources: Listener"), RetryClass::Quota, false, false),
        (
            fault(403, "Policy does not allow this request to be performed."),
            RetryClass::Forbidden,
            false,
            false,
        ),
        (fault(400, "Validation failure: Subnet s not found"), RetryClass::Invalid, false, false),
        (
            fault(503, "Project busy.  Unable to lock the project.  Please try again."),
            RetryClass::Transient,
            false,
            false,
        ),
        (fault(500, "Provider 'ovn' reports error: no route"), RetryClass::Unknown, false, false),
    ] {
        let cloud = Cloud::script([reply]).await;
        let error = cloud.octavia().create::<Listener>(&ListenerCreate::default()).await.unwrap_err();
        assert_eq!(
            (error.class, error.immutable(), error.unsupported()),
            (class, immutable, unsupported),
            "{error}"
        );
    }
    let cloud = Cloud::script([fault(409, "Pool p is immutable and cannot be updated.")]).await;
    let error = cloud.octavia().batch_members("p", &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "load-balancer: PUT /v2/lbaas/pools/p/members: 409 Client: Pool p is immutable and cannot be updated. (req-1)"
    );
}

#[tokio::test]
async fn the_status_tree_shows_what_is_pending_below_an_active_load_balancer() {
    let status = |member: &str| {
        ok(json!({"statuses": {"loadbalancer": {
            "id": "lb", "name": "", "provisioning_status": "ACTIVE", "operating_status": "ONLINE", "listeners": [
                {"id": "l", "name": null, "provisioning_status": "ACTIVE", "operating_status": "ONLINE", "pools": [
                    {"id": "p", "provisioning_status": "ACTIVE", "health_monitor": {"id": "h", "type": "TCP",
                        "provisioning_status": "ACTIVE"}, "members": [
                        {"id": "m", "address": "10.0.0.7", "protocol_port": 80, "provisioning_status": member}]}]},
                {"id": "l2", "pools": null}]}}}))
    };
    let cloud = Cloud::script([
        status("PENDING_CREATE"),
        status("ACTIVE"),
        ok(json!({"statuses": {}})),
        fault(404, "gone"),
    ])
    .await;
    let octavia = cloud.octavia();
    let tree = octavia.status_tree("lb").await.unwrap();
    assert!(tree.pending());
    assert_eq!(tree.listeners[0].pools[0].health_monitor.as_ref().unwrap().kind, "TCP");
    assert_eq!(tree.listeners[0].pools[0].members[0].protocol_port, Some(80));
    assert!(!octavia.status_tree("lb").await.unwrap().pending());
    let error = octavia.status_tree("lb").await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Decode, RetryClass::Transient));
    assert_eq!(octavia.status_tree("lb").await.unwrap_err().class, RetryClass::NotFound);
    assert_eq!(cloud.seen()[0].uri, "/v2/lbaas/loadbalancers/lb/status");
}

#[tokio::test]
async fn what_a_cloud_offers() {
    let cloud = Cloud::start(|seen| match seen.uri.split('?').next().unwrap() {
        "/" => ok(json!({"versions": [
            {"id": "v1", "status": "SUPPORTED"}, {"id": "v2.9", "status": "SUPPORTED"},
            {"id": "v2.30", "status": "CURRENT"}, {"id": null}, {"id": "v3.0"}]})),
        "/v2/lbaas/quotas/p1" => {
            ok(json!({"quota": {"loadbalancer": 10, "load_balancer": 10, "l7policy": -1, "pool": null, "x": "y"}}))
        }
        "/v2/lbaas/providers" => {
            ok(json!({"providers": [{"name": "amphora", "description": null}, {"name": "ovn", "x": 1}]}))
        }
        "/v2/lbaas/flavors" => ok(json!({"flavors": [
            {"id": "f1", "name": "small", "enabled": true}, {"id": "f2", "name": "f1"}], "flavors_links": []})),
        "/v2/lbaas/loadbalancers/lb/failover" => Reply::Json(202, Value::Null),
        other => panic!("{other}"),
    })
    .await;
    let octavia = cloud.octavia();
    let version = octavia.api_version().await.unwrap();
    assert_eq!(version.to_string(), "2.30");
    assert!(version >= ApiVersion::TAGS && version >= ApiVersion::VIP_SECURITY_GROUPS);
    let providers: Vec<_> = octavia.providers().await.unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(providers, ["amphora", "ovn"]);
    let limits = octavia.limits("p1").await.unwrap();
    assert_eq!((limits["loadbalancer"], limits["l7policy"]), (10, -1));
    assert!(!limits.contains_key("pool") && !limits.contains_key("x"), "{limits:?}");
    assert_eq!(octavia.flavor("small").await.unwrap().unwrap().id, "f1");
    assert_eq!(octavia.flavor("f1").await.unwrap().unwrap().id, "f1", "an id comes before a name");
    assert_eq!(octavia.flavor("large").await.unwrap(), None);
    octavia.failover("lb").await.unwrap();
    assert_eq!(cloud.seen().last().unwrap().method, "PUT");
}

#[tokio::test]
async fn an_id_cannot_leave_its_collection() {
    let cloud = Cloud::start(|_| Reply::Json(204, Value::Null)).await;
    let octavia = cloud.octavia();
    for (pool, member) in [("", "m"), ("..", "m"), ("p", ""), ("p", "..")] {
        let error = octavia.delete_in::<Member>(pool, member).await.unwrap_err();
        assert_eq!((error.kind, error.class), (ErrorKind::Request, RetryClass::Invalid));
    }
    assert!(cloud.seen().is_empty());
    octavia.delete_in::<Member>("a/b", "c?d").await.unwrap();
    assert_eq!(cloud.seen()[0].uri, "/v2/lbaas/pools/a%2Fb/members/c%3Fd");
}
