//! Example refiner: tags every port with the team that its namespace belongs to (label `team`).

use isthmus_sdk::prelude::*;

/// Adds the tag `team=NAME` to every port of a Pod.
pub struct TagByTeam;

impl Module for TagByTeam {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Manifest::new("tag-by-team", env!("CARGO_PKG_VERSION"), "Tags ports with the team of their namespace")
            .refines(Kind::core("Pod"), [])
            .reads(Kind::core("Namespace"), ["metadata.labels.team"])
    }
}

impl Refiner for TagByTeam {
    fn refine(subject: &str, _: NoConfig, mut desired: Vec<Desired>) -> Result<Vec<Desired>, Outcome> {
        let pod: Pod<'_> = parse_subject(subject)?;
        let namespace = pod.metadata.namespace.or_invalid("a Pod has a namespace", "metadata.namespace")?;
        let object = snapshot::get(Kind::core("Namespace"), None, &namespace);
        let object = object.or_waiting("the Pod's namespace is not known yet")?;
        let namespace: Namespace<'_> = parse_subject(&object)?;
        if let Some(team) = namespace.metadata.labels.get("team") {
            for entry in desired.iter_mut().filter(|e| matches!(e.resource, Resource::Port(_))) {
                entry.tags.push(format!("team={team}"));
            }
        }
        Ok(desired)
    }
}

isthmus_sdk::export_refiner!(TagByTeam);
