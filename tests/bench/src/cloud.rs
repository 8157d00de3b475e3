//! The in-process cloud, with the network that the module's config names; and sessions of our own with a cloud.

use anyhow::{Context, Result};
use isthmus_openstack::config::{AuthConfig, AuthMethod, Domain, Project, Scope, User};
use isthmus_openstack::neutron::{
    Network, NetworkCreate, SecurityGroup, SecurityGroupCreate, Subnet, SubnetCreate,
};
use isthmus_openstack::{CloudConfig, Metrics, Neutron, Secret, Session, Sources};
use isthmus_world::{Options, World};

/// The subnet of Pods and VIPs.
const SUBNET: &str = "pods-v4";

/// A world with network `pods`, subnet `pods-v4` and security group `pods`, as the lab's seed makes them.
pub(crate) async fn start() -> Result<World> {
    let world = World::start(Options::default()).await.context("starting the in-process cloud")?;
    let neutron = Neutron::new(session(&world)?);
    let network = NetworkCreate { name: Some("pods".into()), ..NetworkCreate::default() };
    let network = neutron.create::<Network>(&network).await?;
    let subnet = SubnetCreate {
        network_id: network.id,
        name: Some(SUBNET.into()),
        ip_version: 4,
        cidr: Some("10.100.0.0/16".into()),
        ..SubnetCreate::default()
    };
    neutron.create::<Subnet>(&subnet).await?;
    let group = SecurityGroupCreate { name: "pods".into(), ..SecurityGroupCreate::default() };
    neutron.create::<SecurityGroup>(&group).await?;
    Ok(world)
}

/// A session with the in-process cloud, as the operator's user.
fn session(world: &World) -> Result<Session> {
    let Options { user, password, project, .. } = Options::default();
    let domain = || Domain::Id("default".into());
    let method = AuthMethod::Password { user: User::Name(user, domain()), password: Secret::new(password) };
    let scope = Scope::Project(Project::Name(project, domain()));
    let auth = AuthConfig { auth_url: world.url().to_owned(), method, scope };
    Ok(Session::new(CloudConfig::new("world", auth), Metrics::default())?)
}

/// A session with the cloud of OS_CLOUD.
pub(crate) fn session_of_lab() -> Result<Session> {
    let config = CloudConfig::load(&Sources::from_process(), None)?;
    Ok(Session::new(config, Metrics::default())?)
}

/// Id of the subnet of VIPs.
pub(crate) async fn subnet(session: &Session) -> Result<String> {
    let found = Neutron::new(session.clone()).list::<Subnet>(&[("name", SUBNET)]).await?;
    Ok(found.into_iter().next().with_context(|| format!("no subnet {SUBNET}"))?.id)
}
