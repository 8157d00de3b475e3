//! The cloud's part.

use isthmus_openstack::auth::Token;
use isthmus_openstack::catalog::{KEY_MANAGER, LOAD_BALANCER, NETWORK};
use isthmus_openstack::{Barbican, CloudConfig, Metrics, Neutron, Session, Sources};
use isthmus_operator::cloud::{Cloud, CloudError};

use super::services::{self, Found, KeyManager, Octavia};
use super::used::Used;
use super::{Check, extensions};

/// `used`: what the modules ask for, where that is known.
pub(super) async fn checks(os_cloud: Option<&str>, used: Option<&Used>) -> Vec<Check> {
    const SETTINGS: &str = "OpenStack settings";
    let config = match CloudConfig::load(&Sources::from_process(), os_cloud) {
        Ok(config) => config,
        Err(error) => return vec![Check::failed(SETTINGS, error.to_string(), "as for the openstack client")],
    };
    let mut all = vec![Check::ok(SETTINGS, format!("cloud {}", config.name))];
    let session = match Session::new(config, Metrics::default()) {
        Ok(session) => session,
        Err(error) => {
            all.push(Check::failed(SETTINGS, error.to_string(), "as for the openstack client"));
            return all;
        }
    };
    match session.token().await {
        Ok(token) => {
            all.push(signed_in(&token));
            all.push(roles(&token.roles));
            all.extend(network(&session, &token, used).await);
            all.extend(services::octavia(&balancing(&session, &token).await, used));
            all.push(services::barbican(&keeping(&session, &token).await, used));
        }
        Err(error) => all.push(Check::failed(
            "Keystone",
            error.to_string(),
            "is the address right and the credential valid? `openstack token issue` uses the same settings",
        )),
    }
    all
}

fn signed_in(token: &Token) -> Check {
    match &token.project_id {
        Some(project) => Check::ok("Keystone", format!("signed in to project {project}")),
        None => Check::failed(
            "Keystone",
            "signed in, but to no project",
            "name one: OS_PROJECT_NAME, or in clouds.yaml",
        ),
    }
}

fn roles(roles: &[String]) -> Check {
    let has = |role: &str| roles.iter().any(|found| found == role);
    let found = roles.join(", ");
    match (has("member") || has("admin"), has("service") || has("admin")) {
        (true, true) => Check::ok("roles", found),
        (true, false) => Check::warning(
            "roles",
            found,
            "ports can't be bound to nodes without the role `service` (nested Pods need no binding)",
        ),
        (false, _) => {
            Check::failed("roles", found, "give the operator's user the role `member` in its project")
        }
    }
}

async fn network(session: &Session, token: &Token, used: Option<&Used>) -> Vec<Check> {
    const NAME: &str = "Neutron";
    if let Err(error) = token.catalog.endpoint(NETWORK, session.config()) {
        return vec![Check::failed(NAME, error.to_string(), "the catalog must have a network service")];
    }
    let neutron = Neutron::new(session.clone());
    let mut all = match neutron.extensions().await {
        Ok(extensions) => extensions::check(&extensions, used),
        Err(error) => return vec![Check::failed(NAME, error.to_string(), "is it up?")],
    };
    if let Some(project) = token.project_id.as_deref() {
        all.push(quota(&neutron, project).await);
    }
    all
}

async fn quota(neutron: &Neutron, project: &str) -> Check {
    const NAME: &str = "quota of ports";
    match neutron.quotas(project).await {
        Ok(quotas) => match quotas.get("port") {
            Some(quota) if quota.limit >= 0 => {
                let found = format!("{} of {} are used", quota.used, quota.limit);
                match quota.used.saturating_mul(10) >= quota.limit.saturating_mul(9) {
                    true => Check::warning(NAME, found, "ask for a larger one: each Pod needs a port"),
                    false => Check::ok(NAME, found),
                }
            }
            _ => Check::ok(NAME, "no limit"),
        },
        Err(error) => Check::warning(
            NAME,
            error.to_string(),
            "it can't be read: look at it with `openstack quota show`",
        ),
    }
}

async fn balancing(session: &Session, token: &Token) -> Found<Octavia> {
    if token.catalog.endpoint(LOAD_BALANCER, session.config()).is_err() {
        return Found::Absent;
    }
    let asked = async {
        let cloud = Cloud::to_look_at(session).await?;
        let providers = cloud.providers().await?;
        Ok::<_, CloudError>(Octavia { version: cloud.balancing_version(), providers })
    };
    match asked.await {
        Ok(octavia) => Found::There(octavia),
        Err(error) => Found::failed(error.class(), error.to_string()),
    }
}

async fn keeping(session: &Session, token: &Token) -> Found<KeyManager> {
    if token.catalog.endpoint(KEY_MANAGER, session.config()).is_err() {
        return Found::Absent;
    }
    match Barbican::new(session.clone()).list("isthmus:").await {
        Ok(found) => {
            let creates = token.roles.iter().any(|role| role == "creator" || role == "admin");
            Found::There(KeyManager { secrets: found.len(), creates })
        }
        Err(error) => Found::failed(error.class, error.to_string()),
    }
}
