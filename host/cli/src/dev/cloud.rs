//! The cloud of `isthmus dev`: what the operator finds in it, and what clients are given.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use isthmus_openstack::neutron::{
    Network, NetworkCreate, SecurityGroup, SecurityGroupCreate, Subnet, SubnetCreate,
};
use isthmus_openstack::{CloudConfig, Metrics, Neutron, Session, Sources};
use isthmus_world::{As, Options, World};
use serde_json::{Map, Value, json};

/// Names of the clouds in clouds.yaml, and who they are.
const CLOUDS: [(&str, As); 3] = [("isthmus", As::Service), ("demo", As::Member), ("admin", As::Admin)];
/// Network and subnets, as the lab has them.
const SUBNETS: [(&str, u8, &str); 2] = [("pods-v4", 4, "10.100.0.0/16"), ("pods-v6", 6, "fd00:100::/64")];

/// A cloud with network `pods`, its subnets, and the security group `pods`.
pub(super) async fn start() -> anyhow::Result<World> {
    // A load balancer that is at work for a moment can be seen at work.
    let options =
        Options { plug_bound_ports: true, provisioning: Duration::from_millis(200), ..Options::default() };
    let world = World::start(options).await.context("starting the cloud")?;
    let neutron = Neutron::new(Session::new(config(&world)?, Metrics::default())?);
    let network = NetworkCreate { name: Some("pods".into()), ..NetworkCreate::default() };
    let network = neutron.create::<Network>(&network).await.context("making network pods")?;
    for (name, version, cidr) in SUBNETS {
        let subnet = SubnetCreate {
            network_id: network.id.clone(),
            name: Some(name.into()),
            ip_version: version,
            cidr: Some(cidr.into()),
            ..SubnetCreate::default()
        };
        neutron.create::<Subnet>(&subnet).await.with_context(|| format!("making subnet {name}"))?;
    }
    let group = SecurityGroupCreate { name: "pods".into(), ..SecurityGroupCreate::default() };
    neutron.create::<SecurityGroup>(&group).await.context("making security group pods")?;
    Ok(world)
}

/// The operator's settings, by the variables that any client takes.
pub(super) fn config(world: &World) -> anyhow::Result<CloudConfig> {
    let variables: BTreeMap<String, String> =
        world.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
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
