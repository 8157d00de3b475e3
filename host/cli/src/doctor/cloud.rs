//! The cloud's part.

use isthmus_openstack::auth::Token;
use isthmus_openstack::catalog::{KEY_MANAGER, LOAD_BALANCER, NETWORK};
use isthmus_openstack::neutron::Quotas;
use isthmus_openstack::{Barbican, CloudConfig, Metrics, Neutron, Session, Sources};
use isthmus_operator::cloud::{Cloud, CloudError};

use super::services::{self, Found, KeyManager, Octavia};
use super::used::Used;
use super::{Check, extensions};

/// `used`: what the modules ask for, where that is known.
pub(super) async fn checks(os_cloud: Option<&str>, used: Option<&Used>) -> Vec<Check> {
    const SETTINGS: &str = "OpenStack settings";
    const GIVE: &str =
        "as for the openstack client: clouds.yaml with OS_CLOUD or --os-cloud, or the OS_* variables";
    let config = match CloudConfig::load(&Sources::from_process(), os_cloud) {
        Ok(config) => config,
        Err(error) => return vec![Check::failed(SETTINGS, error.to_string(), GIVE)],
    };
    let mut all = vec![Check::ok(SETTINGS, format!("cloud {}", config.name))];
    let session = match Session::new(config, Metrics::default()) {
        Ok(session) => session,
        Err(error) => {
            all.push(Check::failed(SETTINGS, error.to_string(), GIVE));
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
    let found = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
    match (has("member") || has("admin"), has("service") || has("admin")) {
        (true, true) => Check::ok("roles", found),
        (true, false) => Check::warning(
            "roles",
            found,
            "give the operator's user the role `service`, too: ports can't be bound to nodes without it (nested Pods need no binding)",
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
        all.push(quota(neutron.quotas(project).await));
    }
    all
}

/// `quotas`: the project's, as Neutron answers.
fn quota(quotas: isthmus_openstack::error::Result<Quotas>) -> Check {
    const NAME: &str = "quota of ports";
    match quotas {
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

#[cfg(test)]
mod tests {
    use isthmus_openstack::neutron::Quota;

    use super::super::told;
    use super::*;

    #[test]
    fn a_role_that_is_missing_is_told_with_what_it_is_for() {
        let service = "give the operator's user the role `service`, too: ports can't be bound to nodes without it \
                       (nested Pods need no binding)";
        let member = "give the operator's user the role `member` in its project";
        let table = [
            (vec!["member", "service"], "ok    roles: member, service\n".to_owned()),
            (vec!["admin"], "ok    roles: admin\n".to_owned()),
            (vec!["reader", "member"], format!("warn  roles: reader, member\n      -> {service}\n")),
            (vec!["service", "reader"], format!("FAIL  roles: service, reader\n      -> {member}\n")),
            (vec!["reader"], format!("FAIL  roles: reader\n      -> {member}\n")),
            (vec![], format!("FAIL  roles: none\n      -> {member}\n")),
        ];
        for (has, said) in table {
            let has: Vec<String> = has.into_iter().map(str::to_owned).collect();
            assert_eq!(told(&[roles(&has)]), said, "{has:?}");
        }
    }

    #[test]
    fn a_quota_that_is_nearly_used_up_is_told() {
        let of = |limit, used| Ok(Quotas::from([("port".to_owned(), Quota { limit, used, reserved: 0 })]));
        let ask = "      -> ask for a larger one: each Pod needs a port\n";
        let table = [
            (of(-1, 1_000_000), "ok    quota of ports: no limit\n".to_owned()),
            (Ok(Quotas::new()), "ok    quota of ports: no limit\n".to_owned()),
            (of(500, 449), "ok    quota of ports: 449 of 500 are used\n".to_owned()),
            (of(500, 450), format!("warn  quota of ports: 450 of 500 are used\n{ask}")),
            (of(500, 500), format!("warn  quota of ports: 500 of 500 are used\n{ask}")),
            (of(0, 0), format!("warn  quota of ports: 0 of 0 are used\n{ask}")),
        ];
        for (quotas, said) in table {
            assert_eq!(told(&[quota(quotas)]), said);
        }
    }
}
