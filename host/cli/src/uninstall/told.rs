//! What is said of it, for people.

use std::collections::BTreeMap;

use super::Done;
use super::plan::{Kept, Mode, Plan};
use crate::output::columns;

const REST: &str = "\
What stays in the cluster: definitions, rights, the Deployment and the DaemonSet. `kubectl delete -f deploy/` and\n\
`isthmus crds | kubectl delete -f -` remove them; status and annotations that modules wrote to objects stay as they are.\n";

pub(super) fn plan(plan: &Plan) -> String {
    if plan.is_empty() {
        return format!("nothing of cluster {} is left to take down\n", plan.cluster);
    }
    let Plan { cloud_mappings, namespaces, policy_modules, .. } = plan;
    let mut text = format!(
        "{cloud_mappings} CloudMappings in {namespaces} namespaces and {policy_modules} PolicyModules would be removed\n"
    );
    let resources = counts(&plan.resources);
    text += &match plan.mode {
        Mode::Drain => format!("deleted from the cloud: {resources}\n"),
        Mode::Keep => format!("left in the cloud as they are, and nobody's: {resources}\n"),
    };
    if plan.retained > 0 && plan.mode == Mode::Drain {
        text += &format!("of these {} stay, as their modules said (`on-removal: retain`)\n", plan.retained);
    }
    if plan.ownerless > 0 {
        text += &format!("of these {} have this cluster's mark and no CloudMapping\n", plan.ownerless);
    }
    text += &kept(&plan.kept);
    for refusal in &plan.refused {
        text += &format!("REFUSED: {}\n  -> {}\n", refusal.found, refusal.remedy);
    }
    if plan.refused.is_empty() {
        text += "Nothing was done: --yes does it.\n";
    }
    text
}

pub(super) fn done(done: &Done, cluster: &str) -> String {
    let Done { cloud_mappings, policy_modules, retained, .. } = done;
    let mut text = format!("{cloud_mappings} CloudMappings and {policy_modules} PolicyModules are gone\n");
    if !done.resources.is_empty() {
        text += &format!("deleted from the cloud: {}\n", counts(&done.resources));
    }
    if *retained > 0 {
        text += &format!(
            "{retained} resources stay, as their modules said: `isthmus tree --retained` lists them\n"
        );
    }
    if !done.kept.is_empty() {
        text += &kept(&done.kept);
        text += &format!(
            "\nThese are nobody's now, and still have the mark isthmus:cluster={cluster}. An operator that is started on this cluster again\n\
             takes up what is of objects that live then, and collects the rest.\n"
        );
        if done.kept.iter().any(|kept| kept.kind.is_told_by_record()) {
            text += "Of floating-ip-association and allowed-addresses nothing but this list tells: take those back by hand.\n";
        }
    }
    for left in &done.left {
        text += &format!("LEFT: {}: {}\n  -> {}\n", left.object, left.found, left.remedy);
    }
    text + if done.left.is_empty() { REST } else { "" }
}

/// As `port 3, subnet 1`.
fn counts(resources: &BTreeMap<&'static str, usize>) -> String {
    let all: Vec<String> = resources.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}

fn kept(kept: &[Kept]) -> String {
    if kept.is_empty() {
        return String::new();
    }
    let row = |k: &Kept| vec![k.kind.to_string(), k.id.clone(), k.made_for.clone(), k.entry.clone()];
    let rows: Vec<Vec<String>> = kept.iter().map(row).collect();
    columns(&["KIND", "ID", "MADE FOR", "ENTRY"], &rows)
}
