//! Octavia and Barbican, which a cloud can do without: what of them the modules need, and what of that is missing.

use std::collections::BTreeSet;

use isthmus_model::kinds::Kind;
use isthmus_model::retry::RetryClass;
use isthmus_model::snapshot::Provider;
use isthmus_openstack::octavia::ApiVersion;
use isthmus_operator::cloud::{BALANCING, SINCE};

use super::extensions::told_by;
use super::used::{PROVIDER, Used};
use super::{Check, State};

const OCTAVIA: &str = "Octavia";
const BARBICAN: &str = "Barbican";

/// What became of asking a service.
#[derive(Clone, Debug)]
pub(super) enum Found<T> {
    /// The catalog has none.
    Absent,
    /// The credential may not ask it.
    Forbidden(String),
    /// It gives no answer, or another error.
    Fails(String),
    There(T),
}

impl<T> Found<T> {
    pub(super) fn failed(class: RetryClass, why: String) -> Self {
        if class == RetryClass::Forbidden { Self::Forbidden(why) } else { Self::Fails(why) }
    }
}

/// What Octavia says of itself.
#[derive(Clone, Debug)]
pub(super) struct Octavia {
    /// `None`: it does not say.
    pub(super) version: Option<ApiVersion>,
    pub(super) providers: Vec<Provider>,
}

/// What can be seen of Barbican.
#[derive(Clone, Debug)]
pub(super) struct KeyManager {
    /// Ours.
    pub(super) secrets: usize,
    /// Whether the credential may make some.
    pub(super) creates: bool,
}

/// The modules that ask for one of these kinds; `None`: what is used is not known.
fn needed(used: Option<&Used>, kinds: &[Kind]) -> Option<BTreeSet<String>> {
    used.map(|used| kinds.iter().filter_map(|kind| used.get(kind.name())).flatten().cloned().collect())
}

/// What is wrong with a service as such. It fails who needs it.
fn wrong(
    name: &str,
    needed: Option<&BTreeSet<String>>,
    (found, without): (String, &str),
    remedy: &str,
) -> Check {
    match needed {
        Some(none) if none.is_empty() => Check::ok(name, format!("{found}; nothing mapped needs it")),
        Some(modules) => Check::failed(name, format!("{found}: {without}{}", told_by(Some(modules))), remedy),
        None => Check::warning(name, format!("{found}: {without}"), remedy),
    }
}

/// Octavia: what the modules ask of it.
pub(super) fn octavia(found: &Found<Octavia>, used: Option<&Used>) -> Vec<Check> {
    const WITHOUT: &str = "no load balancers are made";
    let needed = needed(used, &BALANCING);
    let wrong = |found: String, remedy: &str| vec![wrong(OCTAVIA, needed.as_ref(), (found, WITHOUT), remedy)];
    match found {
        Found::Absent => wrong("the cloud has none".into(), "ask the cloud's operator for it"),
        Found::Forbidden(why) => {
            wrong(why.clone(), "give the operator's user the role `load-balancer_member`")
        }
        Found::Fails(why) => wrong(why.clone(), "is it up?"),
        Found::There(octavia) => {
            let mut all = used.map(|used| lacking(octavia, used)).unwrap_or_default();
            if octavia.version.is_none() && needed.as_ref().is_none_or(|modules| !modules.is_empty()) {
                let remedy = "look at it by `openstack versions show`; what it lacks, it refuses itself";
                all.push(Check::warning(OCTAVIA, "it does not say which version it has", remedy));
            }
            if all.is_empty() {
                all.push(Check::ok(OCTAVIA, shown(octavia)));
            }
            all
        }
    }
}

fn names(providers: &[Provider]) -> String {
    providers.iter().map(|provider| provider.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn shown(octavia: &Octavia) -> String {
    let version = octavia.version.map(|version| format!("version {version}, ")).unwrap_or_default();
    format!("{version}providers {}", names(&octavia.providers))
}

/// What of it the modules ask for in vain.
fn lacking(octavia: &Octavia, used: &Used) -> Vec<Check> {
    let mut all = Vec::new();
    for (what, by) in used {
        let Some(name) = what.strip_prefix(PROVIDER) else { continue };
        match octavia.providers.iter().find(|provider| provider.name == name) {
            None => {
                let found = format!("there is no provider {name}{}", told_by(Some(by)));
                all.push(Check::failed(OCTAVIA, found, format!("name one of {}", names(&octavia.providers))));
            }
            Some(provider) if !provider.l7 => {
                let policies = used.get(Kind::L7Policy.name()).into_iter().flatten();
                let both: BTreeSet<String> =
                    policies.filter(|module| by.contains(*module)).cloned().collect();
                if !both.is_empty() {
                    let found = format!("provider {name} has no L7 policies{}", told_by(Some(&both)));
                    all.push(Check::failed(OCTAVIA, found, "name another provider in the module's config"));
                }
            }
            Some(_) => {}
        }
    }
    for since in SINCE {
        if let (Some(by), Some(version)) =
            (used.get(since.of), octavia.version.filter(|v| *v < since.version))
        {
            let found = format!(
                "version {version} is too old: {} came with {}{}",
                since.of,
                since.version,
                told_by(Some(by))
            );
            all.push(Check::failed(
                OCTAVIA,
                found,
                "do without it, or ask the cloud's operator for a later release",
            ));
        }
    }
    all
}

/// Barbican: what the modules ask of it.
pub(super) fn barbican(found: &Found<KeyManager>, used: Option<&Used>) -> Check {
    const WITHOUT: &str = "no certificates at load balancers, Routes with TLS are refused";
    const CREATOR: &str =
        "give the operator's user the role `creator`, which makes secrets and deletes its own";
    let needed = needed(used, &[Kind::Certificate]);
    let wrong = |found: String, remedy: &str| wrong(BARBICAN, needed.as_ref(), (found, WITHOUT), remedy);
    match found {
        Found::Absent => wrong("the cloud has none".into(), "ask the cloud's operator for it"),
        Found::Forbidden(why) => wrong(why.clone(), CREATOR),
        Found::Fails(why) => wrong(why.clone(), "is it up?"),
        Found::There(KeyManager { creates: false, .. }) => {
            let check = wrong("it answers, and the role `creator` is missing".into(), CREATOR);
            // Another role may allow it.
            Check { state: if check.state == State::Failed { State::Warning } else { check.state }, ..check }
        }
        Found::There(manager) => Check::ok(BARBICAN, format!("{} secrets of Isthmus", manager.secrets)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::told;
    use super::*;

    fn used(all: &[(&str, &str)]) -> Used {
        let mut used = Used::new();
        for (what, module) in all {
            used.entry((*what).to_owned()).or_default().insert((*module).to_owned());
        }
        used
    }

    fn there(minor: u16) -> Found<Octavia> {
        said(Some(ApiVersion { major: 2, minor }))
    }

    fn silent() -> Found<Octavia> {
        said(None)
    }

    fn said(version: Option<ApiVersion>) -> Found<Octavia> {
        let provider =
            |name: &str, l7| Provider { name: name.into(), l7, protocols: vec![], algorithms: vec![] };
        Found::There(Octavia { version, providers: vec![provider("amphora", true), provider("ovn", false)] })
    }

    /// What is found, what is asked for, and what is said of it.
    #[test]
    fn what_the_modules_need_of_octavia_is_told_with_what_is_missing() {
        let nothing = used(&[]);
        let services = used(&[("load-balancer", "service-loadbalancer"), ("pool", "service-loadbalancer")]);
        let ranges =
            used(&[("listener", "service-loadbalancer"), ("listener.allowed_cidrs", "service-loadbalancer")]);
        let named = used(&[("load-balancer", "a"), ("load-balancer.provider=f5", "a")]);
        let routes =
            used(&[("l7-policy", "route-l7policy"), ("load-balancer.provider=ovn", "route-l7policy")]);
        let forbidden =
            || Found::failed(RetryClass::Forbidden, "load-balancer: GET /v2/lbaas/providers: 403".into());
        let fails = || Found::failed(RetryClass::Transient, "load-balancer: no connection".into());
        let table = [
            (there(30), Some(&services), "ok    Octavia: version 2.30, providers amphora, ovn\n"),
            (there(30), None, "ok    Octavia: version 2.30, providers amphora, ovn\n"),
            (Found::Absent, Some(&nothing), "ok    Octavia: the cloud has none; nothing mapped needs it\n"),
            (
                Found::Absent,
                None,
                "warn  Octavia: the cloud has none: no load balancers are made\n      -> ask the cloud's operator for it\n",
            ),
            (
                Found::Absent,
                Some(&services),
                "FAIL  Octavia: the cloud has none: no load balancers are made (service-loadbalancer)\n      \
                 -> ask the cloud's operator for it\n",
            ),
            (
                forbidden(),
                Some(&services),
                "FAIL  Octavia: load-balancer: GET /v2/lbaas/providers: 403: no load balancers are made (service-loadbalancer)\n      \
                 -> give the operator's user the role `load-balancer_member`\n",
            ),
            (
                fails(),
                Some(&services),
                "FAIL  Octavia: load-balancer: no connection: no load balancers are made (service-loadbalancer)\n      -> is it up?\n",
            ),
            (
                there(30),
                Some(&named),
                "FAIL  Octavia: there is no provider f5 (a)\n      -> name one of amphora, ovn\n",
            ),
            (
                there(30),
                Some(&routes),
                "FAIL  Octavia: provider ovn has no L7 policies (route-l7policy)\n      \
                 -> name another provider in the module's config\n",
            ),
            (
                silent(),
                Some(&ranges),
                "warn  Octavia: it does not say which version it has\n      \
                 -> look at it by `openstack versions show`; what it lacks, it refuses itself\n",
            ),
            (silent(), Some(&nothing), "ok    Octavia: providers amphora, ovn\n"),
            (there(12), Some(&ranges), "ok    Octavia: version 2.12, providers amphora, ovn\n"),
            (
                there(11),
                Some(&ranges),
                "FAIL  Octavia: version 2.11 is too old: listener.allowed_cidrs came with 2.12 (service-loadbalancer)\n      \
                 -> do without it, or ask the cloud's operator for a later release\n",
            ),
        ];
        for (found, used, said) in table {
            assert_eq!(told(&octavia(&found, used)), said, "{found:?} {used:?}");
        }
    }

    #[test]
    fn what_the_modules_need_of_barbican_is_told_with_what_is_missing() {
        let (nothing, routes) = (used(&[("port", "pod-port")]), used(&[("certificate", "route-l7policy")]));
        let there = |creates| Found::There(KeyManager { secrets: 3, creates });
        let without = "no certificates at load balancers, Routes with TLS are refused";
        let creator =
            "      -> give the operator's user the role `creator`, which makes secrets and deletes its own\n";
        let missing = "Barbican: it answers, and the role `creator` is missing";
        let ask = "      -> ask the cloud's operator for it\n";
        let table = [
            (there(true), Some(&routes), "ok    Barbican: 3 secrets of Isthmus\n".to_owned()),
            (there(false), Some(&routes), format!("warn  {missing}: {without} (route-l7policy)\n{creator}")),
            (there(false), Some(&nothing), format!("ok    {missing}; nothing mapped needs it\n")),
            (there(false), None, format!("warn  {missing}: {without}\n{creator}")),
            (
                Found::Absent,
                Some(&nothing),
                "ok    Barbican: the cloud has none; nothing mapped needs it\n".into(),
            ),
            (Found::Absent, None, format!("warn  Barbican: the cloud has none: {without}\n{ask}")),
            (
                Found::Absent,
                Some(&routes),
                format!("FAIL  Barbican: the cloud has none: {without} (route-l7policy)\n{ask}"),
            ),
            (
                Found::Forbidden("403".into()),
                Some(&routes),
                format!("FAIL  Barbican: 403: {without} (route-l7policy)\n{creator}"),
            ),
        ];
        for (found, used, said) in table {
            assert_eq!(told(&[barbican(&found, used)]), said, "{found:?} {used:?}");
        }
    }
}
