//! The real client against the world's Octavia.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::time::Duration;

use isthmus_openstack::config::{AuthConfig, AuthMethod, Domain, Project, Scope, User};
use isthmus_openstack::neutron::{Network, NetworkCreate, Port, PortCreate, Subnet, SubnetCreate};
use isthmus_openstack::octavia::{
    Deleted, HealthMonitor, HealthMonitorCreate, L7Policy, L7PolicyCreate, L7PolicyUpdate, L7Rule,
    L7RuleCreate, L7RuleUpdate, Listener, ListenerCreate, ListenerUpdate, LoadBalancer, LoadBalancerCreate,
    Member, MemberCreate, Pool, PoolCreate, PoolOrName, PoolUpdate,
};
use isthmus_openstack::{CloudConfig, Error, Metrics, Neutron, Octavia, RetryClass, Secret, Session};
use isthmus_world::{Kind, Options, World};

const LATENCY: Duration = Duration::from_millis(30);

struct Stage {
    world: World,
    octavia: Octavia,
    neutron: Neutron,
    subnet: String,
    network: String,
}

async fn stage() -> Stage {
    let world = World::start(Options { provisioning: LATENCY, ..Options::default() }).await.unwrap();
    let session = session(&world, "isthmus", "demo");
    let (octavia, neutron) = (Octavia::new(session.clone()), Neutron::new(session));
    let network = neutron.create::<Network>(&NetworkCreate::default()).await.unwrap().id;
    let subnet = SubnetCreate {
        network_id: network.clone(),
        ip_version: 4,
        cidr: Some("10.0.0.0/24".into()),
        ..SubnetCreate::default()
    };
    let subnet = neutron.create::<Subnet>(&subnet).await.unwrap().id;
    Stage { world, octavia, neutron, subnet, network }
}

fn session(world: &World, user: &str, project: &str) -> Session {
    let domain = || Domain::Id("default".into());
    let method =
        AuthMethod::Password { user: User::Name(user.into(), domain()), password: Secret::new("secret") };
    let scope = Scope::Project(Project::Name(project.into(), domain()));
    let config = CloudConfig::new("world", AuthConfig { auth_url: world.url().to_owned(), method, scope });
    Session::new(config, Metrics::default()).unwrap()
}

impl Stage {
    async fn settled(&self, id: &str) -> LoadBalancer {
        for _ in 0..200 {
            let found = self.octavia.get::<LoadBalancer>(id).await.unwrap();
            if !found.provisioning_status.starts_with("PENDING_") {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} is pending for ever");
    }

    async fn gone(&self, id: &str) {
        for _ in 0..200 {
            if self.octavia.get::<LoadBalancer>(id).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} is there for ever");
    }

    async fn empty(&self) -> String {
        let body =
            LoadBalancerCreate { vip_subnet_id: Some(self.subnet.clone()), ..LoadBalancerCreate::default() };
        let id = self.octavia.create::<LoadBalancer>(&body).await.unwrap().id;
        self.settled(&id).await;
        id
    }

    async fn listener(&self, balancer: &str, port: u16) -> Listener {
        let body = ListenerCreate { loadbalancer_id: Some(balancer.into()), ..listener(port) };
        let made = self.octavia.create::<Listener>(&body).await.unwrap();
        self.settled(balancer).await;
        made
    }

    async fn pool(&self, balancer: &str) -> Pool {
        let body = PoolCreate { loadbalancer_id: Some(balancer.into()), ..pool("") };
        let made = self.octavia.create::<Pool>(&body).await.unwrap();
        self.settled(balancer).await;
        made
    }
}

fn listener(port: u16) -> ListenerCreate {
    ListenerCreate { protocol: "HTTP".into(), protocol_port: port, ..ListenerCreate::default() }
}

fn pool(name: &str) -> PoolCreate {
    PoolCreate {
        name: (!name.is_empty()).then(|| name.into()),
        protocol: "HTTP".into(),
        lb_algorithm: "ROUND_ROBIN".into(),
        ..PoolCreate::default()
    }
}

fn member(address: &str) -> MemberCreate {
    MemberCreate { address: address.into(), protocol_port: 80, ..MemberCreate::default() }
}

fn status<T: std::fmt::Debug>(result: Result<T, Error>) -> (Option<u16>, String) {
    let error = result.unwrap_err();
    (error.status(), error.to_string())
}

/// A listener with a default pool, a policy that redirects to another, and a member in each.
fn tree(subnet: &str) -> LoadBalancerCreate {
    let monitor = HealthMonitorCreate {
        kind: "HTTP".into(),
        delay: 5,
        timeout: 3,
        max_retries: 2,
        ..HealthMonitorCreate::default()
    };
    let web =
        PoolCreate { members: Some(vec![member("10.0.0.7")]), healthmonitor: Some(monitor), ..pool("web") };
    let api = PoolCreate { members: Some(vec![member("10.0.0.8")]), ..pool("api") };
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
        default_pool: Some(PoolOrName::Name { name: "web".into() }),
        l7policies: Some(vec![policy]),
        ..listener(80)
    };
    LoadBalancerCreate {
        name: Some("demo".into()),
        vip_subnet_id: Some(subnet.into()),
        tags: Some(vec!["a".into()]),
        listeners: Some(vec![http]),
        pools: Some(vec![web]),
        ..LoadBalancerCreate::default()
    }
}

#[tokio::test]
async fn a_whole_tree_is_made_in_one_request_and_goes_with_its_load_balancer() {
    let stage = stage().await;
    let made = stage.octavia.create::<LoadBalancer>(&tree(&stage.subnet)).await.unwrap();
    assert_eq!(made.provisioning_status, "PENDING_CREATE");
    assert_eq!((made.listeners.len(), made.pools.len()), (1, 2));
    let port = stage.neutron.get::<Port>(&made.vip_port_id).await.unwrap();
    assert_eq!(port.fixed_ips[0].ip_address, made.vip_address);
    assert_eq!((port.device_owner.as_str(), port.device_id.clone()), ("Octavia", format!("lb-{}", made.id)));
    assert!(stage.octavia.status_tree(&made.id).await.unwrap().pending());

    let active = stage.settled(&made.id).await;
    assert_eq!((active.provisioning_status.as_str(), active.operating_status.as_str()), ("ACTIVE", "ONLINE"));
    let tree = stage.octavia.status_tree(&made.id).await.unwrap();
    assert!(!tree.pending());
    assert_eq!(tree.listeners[0].pools.len(), 2);
    let watched = tree.listeners[0].pools.iter().find(|pool| pool.health_monitor.is_some()).unwrap();
    assert_eq!(watched.members[0].operating_status, "ONLINE");
    let other = tree.listeners[0].pools.iter().find(|pool| pool.health_monitor.is_none()).unwrap();
    assert_eq!(other.members[0].operating_status, "NO_MONITOR");

    let children = stage.octavia.delete::<LoadBalancer>(&made.id).await;
    assert!(status(children).1.contains("it has children"));
    assert_eq!(stage.octavia.delete_cascade(&made.id).await.unwrap(), Deleted::Done);
    stage.gone(&made.id).await;
    assert_eq!(stage.world.count(Kind::Port), 0);
    assert!(stage.octavia.list::<Pool>(&[]).await.unwrap().is_empty());
    assert!(stage.octavia.list::<HealthMonitor>(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_of_a_rule_clears_a_key_that_its_type_has_no_use_for() {
    let stage = stage().await;
    let made = stage.octavia.create::<LoadBalancer>(&tree(&stage.subnet)).await.unwrap();
    stage.settled(&made.id).await;
    let policy = stage.octavia.list::<L7Policy>(&[]).await.unwrap().remove(0).id;
    let rule = L7RuleCreate {
        kind: "PATH".into(),
        compare_type: "STARTS_WITH".into(),
        value: "/b".into(),
        key: Some("k".into()),
        ..L7RuleCreate::default()
    };
    let rule = stage.octavia.create_in::<L7Rule>(&policy, &rule).await.unwrap();
    assert_eq!(rule.key.as_deref(), Some("k"));
    stage.settled(&made.id).await;
    let inverted = L7RuleUpdate { invert: Some(true), ..L7RuleUpdate::default() };
    let rule = stage.octavia.update_in::<L7Rule>(&policy, &rule.id, &inverted).await.unwrap();
    assert_eq!((rule.key, rule.invert), (None, Some(true)));
}

#[tokio::test]
async fn a_refused_tree_leaves_nothing_behind() {
    let stage = stage().await;
    let mut body = tree(&stage.subnet);
    body.listeners.as_mut().unwrap().push(listener(80));
    let (code, message) = status(stage.octavia.create::<LoadBalancer>(&body).await);
    assert_eq!(code, Some(409), "{message}");
    assert!(message.contains("is already using protocol HTTP and protocol_port 80"), "{message}");
    assert_eq!(stage.world.count(Kind::Port), 0);
    assert!(stage.octavia.list::<LoadBalancer>(&[]).await.unwrap().is_empty());
    assert!(stage.octavia.list::<Pool>(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn while_something_is_done_to_a_load_balancer_it_refuses_changes() {
    let stage = stage().await;
    let id = stage.empty().await;
    let body = ListenerCreate { loadbalancer_id: Some(id.clone()), ..listener(80) };
    let made = stage.octavia.create::<Listener>(&body).await.unwrap();
    let body = ListenerCreate { protocol_port: 81, ..body };
    let busy = stage.octavia.create::<Listener>(&body).await.unwrap_err();
    assert!(busy.immutable(), "{busy}");
    let busy = stage.octavia.delete::<LoadBalancer>(&id).await.unwrap_err();
    assert!(busy.to_string().contains("it has children"), "{busy}");
    stage.settled(&id).await;
    let update = ListenerUpdate { name: Some("web".into()), ..ListenerUpdate::default() };
    let changed = stage.octavia.update::<Listener>(&made.id, &update).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.provisioning_status.as_str()), ("web", "PENDING_UPDATE"));
    stage.settled(&id).await;
    assert_eq!(stage.octavia.get::<Listener>(&made.id).await.unwrap().provisioning_status, "ACTIVE");
}

#[tokio::test]
async fn positions_of_policies_are_dense() {
    let stage = stage().await;
    let id = stage.empty().await;
    let listener = stage.listener(&id, 80).await.id;
    let mut ids = Vec::new();
    for position in [None, Some(1), Some(2), Some(9)] {
        let body = L7PolicyCreate {
            listener_id: Some(listener.clone()),
            action: "REJECT".into(),
            position,
            ..L7PolicyCreate::default()
        };
        ids.push(stage.octavia.create::<L7Policy>(&body).await.unwrap().id);
        stage.settled(&id).await;
    }
    let positions = async || {
        let mut all = Vec::new();
        for id in &ids {
            all.push(stage.octavia.get::<L7Policy>(id).await.ok().and_then(|policy| policy.position));
        }
        all
    };
    assert_eq!(positions().await, [Some(3), Some(1), Some(2), Some(4)]);
    let first = L7PolicyUpdate { position: Some(1), ..L7PolicyUpdate::default() };
    stage.octavia.update::<L7Policy>(&ids[3], &first).await.unwrap();
    stage.settled(&id).await;
    assert_eq!(positions().await, [Some(4), Some(2), Some(3), Some(1)]);
    stage.octavia.delete::<L7Policy>(&ids[1]).await.unwrap();
    stage.settled(&id).await;
    assert_eq!(positions().await, [Some(3), None, Some(2), Some(1)]);
}

#[tokio::test]
async fn members_are_replaced_at_once() {
    let stage = stage().await;
    let id = stage.empty().await;
    let pool = stage.pool(&id).await.id;
    let list = async || {
        let mut all: Vec<(String, Option<u16>)> = Vec::new();
        for member in stage.octavia.list_in::<Member>(&pool, &[]).await.unwrap() {
            all.push((member.address, member.weight));
        }
        all.sort();
        all
    };
    stage.octavia.batch_members(&pool, &[member("10.0.0.7"), member("10.0.0.8")]).await.unwrap();
    stage.settled(&id).await;
    assert_eq!(list().await, [("10.0.0.7".into(), Some(1)), ("10.0.0.8".into(), Some(1))]);
    let heavier = MemberCreate { weight: Some(5), ..member("10.0.0.8") };
    stage.octavia.batch_members(&pool, &[heavier, member("10.0.0.9")]).await.unwrap();
    stage.settled(&id).await;
    assert_eq!(list().await, [("10.0.0.8".into(), Some(5)), ("10.0.0.9".into(), Some(1))]);
    let twice = stage.octavia.create_in::<Member>(&pool, &member("10.0.0.9")).await;
    assert!(status(twice).1.contains("is already using ip 10.0.0.9 on protocol_port 80"));
    stage.octavia.batch_members(&pool, &[]).await.unwrap();
    stage.settled(&id).await;
    assert!(list().await.is_empty());
}

#[tokio::test]
async fn a_pool_that_is_redirected_to_stays() {
    let stage = stage().await;
    let id = stage.empty().await;
    let (listener, pool) = (stage.listener(&id, 80).await.id, stage.pool(&id).await.id);
    let body = L7PolicyCreate {
        listener_id: Some(listener),
        action: "REDIRECT_TO_POOL".into(),
        redirect_pool_id: Some(pool.clone()),
        ..L7PolicyCreate::default()
    };
    let policy = stage.octavia.create::<L7Policy>(&body).await.unwrap().id;
    stage.settled(&id).await;
    let rule = L7RuleCreate {
        kind: "HOST_NAME".into(),
        compare_type: "EQUAL_TO".into(),
        value: "a.example.org".into(),
        ..L7RuleCreate::default()
    };
    let rule = stage.octavia.create_in::<L7Rule>(&policy, &rule).await.unwrap();
    stage.settled(&id).await;
    assert_eq!(stage.octavia.get_in::<L7Rule>(&policy, &rule.id).await.unwrap().value, "a.example.org");
    let used = status(stage.octavia.delete::<Pool>(&pool).await);
    assert!(used.1.contains(&format!("is in use by L7 policy {policy}")), "{}", used.1);
    stage.octavia.delete::<L7Policy>(&policy).await.unwrap();
    stage.settled(&id).await;
    assert_eq!(stage.octavia.delete::<Pool>(&pool).await.unwrap(), Deleted::Done);
}

#[tokio::test]
async fn a_port_that_was_given_outlives_the_load_balancer() {
    let stage = stage().await;
    let body = PortCreate { network_id: stage.network.clone(), ..PortCreate::default() };
    let port = stage.neutron.create::<Port>(&body).await.unwrap();
    let body = LoadBalancerCreate { vip_port_id: Some(port.id.clone()), ..LoadBalancerCreate::default() };
    let made = stage.octavia.create::<LoadBalancer>(&body).await.unwrap();
    assert_eq!(made.vip_address, port.fixed_ips[0].ip_address);
    stage.settled(&made.id).await;
    stage.octavia.delete::<LoadBalancer>(&made.id).await.unwrap();
    stage.gone(&made.id).await;
    assert_eq!(stage.neutron.get::<Port>(&port.id).await.unwrap().id, port.id);
}

#[tokio::test]
async fn a_provider_breaks_and_dies_as_planned() {
    let stage = stage().await;
    let id = stage.empty().await;
    stage.world.faults().break_next_load_balancers(1);
    let update = ListenerCreate { loadbalancer_id: Some(id.clone()), ..listener(80) };
    stage.octavia.create::<Listener>(&update).await.unwrap();
    assert_eq!(stage.settled(&id).await.provisioning_status, "ERROR");
    let refused =
        stage.octavia.create::<Listener>(&ListenerCreate { protocol_port: 81, ..update }).await.unwrap_err();
    assert!(refused.immutable(), "{refused}");
    stage.octavia.delete_cascade(&id).await.unwrap();
    stage.gone(&id).await;

    let id = stage.empty().await;
    stage.world.faults().stick_next_load_balancers(1);
    let body = ListenerCreate { loadbalancer_id: Some(id.clone()), ..listener(80) };
    stage.octavia.create::<Listener>(&body).await.unwrap();
    tokio::time::sleep(LATENCY * 2).await;
    assert_eq!(stage.octavia.get::<LoadBalancer>(&id).await.unwrap().provisioning_status, "PENDING_UPDATE");
    assert!(stage.world.set_provisioning_status(&id, "ERROR"));
    stage.octavia.delete_cascade(&id).await.unwrap();
    stage.gone(&id).await;
}

#[tokio::test]
async fn ovn_refuses_layer_7() {
    let stage = stage().await;
    let body = LoadBalancerCreate {
        vip_subnet_id: Some(stage.subnet.clone()),
        provider: Some("ovn".into()),
        ..LoadBalancerCreate::default()
    };
    let id = stage.octavia.create::<LoadBalancer>(&body).await.unwrap().id;
    stage.settled(&id).await;
    let http = ListenerCreate { loadbalancer_id: Some(id.clone()), ..listener(80) };
    let refused = stage.octavia.create::<Listener>(&http).await.unwrap_err();
    assert!(
        refused.unsupported() && refused.to_string().contains("does not support HTTP protocol"),
        "{refused}"
    );
    let round_robin = PoolCreate { loadbalancer_id: Some(id), protocol: "TCP".into(), ..pool("") };
    assert!(stage.octavia.create::<Pool>(&round_robin).await.unwrap_err().unsupported());
    assert_eq!(stage.octavia.providers().await.unwrap().len(), 3);
    assert_eq!(stage.octavia.api_version().await.unwrap().to_string(), "2.30");
}

#[tokio::test]
async fn a_stranger_sees_nothing_and_may_nothing() {
    let stage = stage().await;
    let id = stage.empty().await;
    let stranger = Octavia::new(session(&stage.world, "stranger", "other"));
    assert!(stranger.list::<LoadBalancer>(&[]).await.unwrap().is_empty());
    assert_eq!(stranger.get::<LoadBalancer>(&id).await.unwrap_err().class, RetryClass::Forbidden);
    let subnet =
        LoadBalancerCreate { vip_subnet_id: Some(stage.subnet.clone()), ..LoadBalancerCreate::default() };
    assert_eq!(status(stranger.create::<LoadBalancer>(&subnet).await).0, Some(400));
    let none =
        stage.octavia.update::<Pool>("00000000-0000-4000-8000-000000000000", &PoolUpdate::default()).await;
    assert!(status(none).1.contains("Pool 00000000-0000-4000-8000-000000000000 not found."));
}

#[tokio::test]
async fn what_octavia_has_and_the_model_has_not_is_named() {
    let stage = stage().await;
    let balancer = stage.empty().await;
    let policies = Some(vec![L7PolicyCreate { action: "REJECT".into(), ..L7PolicyCreate::default() }]);
    let body =
        ListenerCreate { loadbalancer_id: Some(balancer.clone()), l7policies: policies, ..listener(80) };
    let refused = stage.octavia.create::<Listener>(&body).await.unwrap_err();
    let said = "isthmus-world does not model a listener that is made with its policies or pool";
    assert!(refused.status() == Some(501) && refused.to_string().contains(said), "{refused}");
}
