//! The in-process cloud, with the network that the module's config names.

use anyhow::{Context, Result};
use isthmus_openstack::config::{AuthConfig, AuthMethod, Domain, Project, Scope, User};
use isthmus_openstack::neutron::{
    Network, NetworkCreate, SecurityGroup, SecurityGroupCreate, Subnet, SubnetCreate,
};
use isthmus_openstack::{CloudConfig, Metrics, Neutron, Secret, Session};
use isthmus_world::{Options, World};

/// A world with network `pods`, subnet `pods-v4` and security group `pods`, as the lab's seed makes them.
pub(crate) async fn start() -> Result<World> {
    let options = Options::default();
    let domain = || Domain::Id("default".into());
    let method = AuthMethod::Password {
        user: User::Name(options.user.clone(), domain()),
        password: Secret::new(options.password.clone()),
    };
    let scope = Scope::Project(Project::Name(options.project.clone(), domain()));
    let world = World::start(options).await.context("starting the in-process cloud")?;
    let auth = AuthConfig { auth_url: world.url().to_owned(), method, scope };
    let neutron = Neutron::new(Session::new(CloudConfig::new("world", auth), Metrics::default())?);
    let network = NetworkCreate { name: Some("pods".into()), ..NetworkCreate::default() };
    let network = neutron.create::<Network>(&network).await?;
    let subnet = SubnetCreate {
        network_id: network.id,
        name: Some("pods-v4".into()),
        ip_version: 4,
        cidr: Some("10.100.0.0/16".into()),
        ..SubnetCreate::default()
    };
    neutron.create::<Subnet>(&subnet).await?;
    let group = SecurityGroupCreate { name: "pods".into(), ..SecurityGroupCreate::default() };
    neutron.create::<SecurityGroup>(&group).await?;
    Ok(world)
}
