//! The cloud of `isthmus dev`: what the operator finds in it, and what clients are given.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use http::Method;
use isthmus_openstack::catalog::NETWORK;
use isthmus_openstack::session::Request;
use isthmus_openstack::{CloudConfig, Metrics, Session, Sources};
use isthmus_world::{As, Options, World};
use serde_json::{Map, Value, json};

/// Names of the clouds in clouds.yaml, and who they are.
const CLOUDS: [(&str, As); 3] = [("isthmus", As::Service), ("demo", As::Member), ("admin", As::Admin)];
/// Network and subnets, as the lab has them.
const SUBNETS: [(&str, u8, &str); 2] = [("pods-v4", 4, "10.100.0.0/16"), ("pods-v6", 6, "fd00:100::/64")];

/// A load balancer that is at work for a moment can be seen at work.
pub(super) fn options() -> Options {
    Options { plug_bound_ports: true, provisioning: Duration::from_millis(200), ..Options::default() }
}

/// A cloud with what `modules.yaml` names: network `pods` with its subnets and the security group of that name, the external
/// network `public` behind the router `cluster`, and the subnet pool `namespaces`.
pub(super) async fn start(options: Options) -> anyhow::Result<World> {
    let world = World::start(options).await.context("starting the cloud")?;
    let own = Session::new(config(&world)?, Metrics::default())?;
    let admin = Session::new(config_as(&world, As::Admin)?, Metrics::default())?;
    let pods = make(&own, "networks", json!({"network": {"name": "pods"}})).await?;
    let mut subnets = Vec::new();
    for (name, version, cidr) in SUBNETS {
        let subnet = json!({"name": name, "network_id": pods, "ip_version": version, "cidr": cidr});
        subnets.push(make(&own, "subnets", json!({"subnet": subnet})).await?);
    }
    make(&own, "security_groups", json!({"security_group": {"name": "pods"}})).await?;
    let public = json!({"network": {"name": "public", "router:external": true}});
    let public = make(&admin, "networks", public).await?;
    let subnet = json!({"name": "public-v4", "network_id": public, "ip_version": 4, "cidr": "203.0.113.0/24",
                        "enable_dhcp": false});
    make(&admin, "subnets", json!({"subnet": subnet})).await?;
    let gateway = json!({"network_id": public});
    let router = json!({"router": {"name": "cluster", "external_gateway_info": gateway}});
    let router = make(&own, "routers", router).await?;
    // Of the first family: floating IPs are of IPv4.
    let interface = json!({"subnet_id": subnets.first()});
    let attach = format!("/v2.0/routers/{router}/add_router_interface");
    ask(&own, Method::PUT, "routers", attach, interface).await?;
    let pool = json!({"name": "namespaces", "prefixes": ["10.101.0.0/16"], "default_prefixlen": 26});
    make(&own, "subnetpools", json!({"subnetpool": pool})).await?;
    Ok(world)
}

/// Makes something in Neutron; its id.
pub(super) async fn make(session: &Session, collection: &'static str, body: Value) -> anyhow::Result<String> {
    let path = format!("/v2.0/{}", collection.replace('_', "-"));
    let made = ask(session, Method::POST, collection, path, body).await?;
    let id = made.as_object().and_then(|made| made.values().next()?.get("id")?.as_str());
    Ok(id.with_context(|| format!("what was made of {collection} has no id"))?.to_owned())
}

async fn ask(
    session: &Session,
    method: Method,
    collection: &'static str,
    path: String,
    body: Value,
) -> anyhow::Result<Value> {
    let mut request = Request::new(NETWORK, collection, method, path);
    request.body = Some(serde_json::to_vec(&body)?);
    let answer =
        session.send(&request).await.with_context(|| format!("preparing the cloud: {collection}"))?;
    Ok(answer.json(&request)?)
}

/// The operator's settings, by the variables that any client takes.
pub(super) fn config(world: &World) -> anyhow::Result<CloudConfig> {
    config_as(world, As::Service)
}

fn config_as(world: &World, who: As) -> anyhow::Result<CloudConfig> {
    let variables: BTreeMap<String, String> =
        world.environment_as(who).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // No folder: what the user has in files is not meant.
    Ok(CloudConfig::load(&Sources::new(variables, Path::new("/nonexistent")), None)?)
}

/// clouds.yaml for these clients. JSON is YAML.
pub(super) fn clouds_yaml(world: &World) -> String {
    let cloud = |who: As| {
        let mut auth = Map::new();
        let mut cloud = Map::new();
        for (name, value) in world.environment_as(who) {
            let key = name.trim_start_matches("OS_").to_ascii_lowercase();
            let whole = ["region_name", "identity_api_version"].contains(&key.as_str());
            if whole { &mut cloud } else { &mut auth }.insert(key, value.into());
        }
        cloud.insert("auth".into(), auth.into());
        Value::Object(cloud)
    };
    let clouds: Map<String, Value> =
        CLOUDS.map(|(name, who)| (name.to_owned(), cloud(who))).into_iter().collect();
    json!({"clouds": clouds}).to_string()
}
