//! `isthmus tree --retained`: what the cloud has that lost our mark and stays.

use anyhow::ensure;
use isthmus_kubernetes::Client;
use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use isthmus_operator::cloud::Cloud;
use serde::Serialize;

use crate::cluster::cloud_session;
use crate::output::{columns, print};
use isthmus_cli::global::{Kube, Output};

const AGAIN: &str = "\
A module takes one up again by its id in EXISTING, where it refers to something as `existing`: it is used, and never changed or deleted.\n\
One that nobody needs is deleted with the openstack client.\n";

/// One resource that was let go.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retained {
    kind: Kind,
    id: String,
    name: String,
    addresses: Vec<String>,
    /// What it was made for, as `Pod shop/web-0`, where it says so.
    made_for: Option<String>,
    /// Local name that it had.
    entry: Option<String>,
    /// What a module names it by; none where modules can't refer to what there is of the kind.
    existing: Option<String>,
}

pub(crate) async fn run(kube: &Kube, os_cloud: Option<&str>, output: Output) -> anyhow::Result<()> {
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let cloud = Cloud::to_look_at(&cloud_session(os_cloud)?).await?;
    let found = cloud.retained(&client.cluster_id().await?).await?;
    let mut all: Vec<Retained> = found.resources.into_iter().map(retained).collect();
    all.sort_by(|a, b| (a.kind, &a.made_for, &a.entry, &a.id).cmp(&(b.kind, &b.made_for, &b.entry, &b.id)));
    print(&all, output, |all| told(all))?;
    let unlisted: Vec<&str> = found.unlisted.iter().map(|kind| kind.name()).collect();
    ensure!(unlisted.is_empty(), "of these the cloud gave no list: {}", unlisted.join(", "));
    Ok(())
}

fn retained(found: Observed) -> Retained {
    let was = found.retained.as_ref();
    Retained {
        existing: can_be_existing(found.kind).then(|| found.id.clone()),
        made_for: was.and_then(isthmus_model::retained::Retained::told),
        entry: was.and_then(|was| was.name.clone()),
        addresses: found.addresses.iter().map(ToString::to_string).chain(found.cidr).collect(),
        name: found.display_name,
        kind: found.kind,
        id: found.id,
    }
}

/// Whether a field of some kind can name one that is there.
fn can_be_existing(kind: Kind) -> bool {
    !matches!(kind, Kind::RouterInterface | Kind::L7Policy)
}

fn told(all: &[Retained]) -> String {
    if all.is_empty() {
        return "nothing is retained\n".into();
    }
    let or = |text: Option<&String>| text.filter(|text| !text.is_empty()).map_or("-", |text| text).to_owned();
    let row = |found: &Retained| {
        let addresses = found.addresses.join(",");
        vec![
            found.kind.to_string(),
            found.id.clone(),
            or(Some(&found.name)),
            or(Some(&addresses)),
            or(found.made_for.as_ref()),
            or(found.entry.as_ref()),
            or(found.existing.as_ref()),
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let head = ["KIND", "ID", "NAME", "ADDRESSES", "MADE FOR", "ENTRY", "EXISTING"];
    format!("{}\n{AGAIN}", columns(&head, &rows))
}

#[cfg(test)]
mod tests {
    use isthmus_model::object::{Gvk, ObjectKey};

    use super::*;

    #[test]
    fn what_is_not_told_is_a_dash() {
        assert_eq!(told(&[]), "nothing is retained\n");
        let pod = ObjectKey::new(Gvk::new("", "v1", "Pod"), Some("shop"), "web-0");
        let was = isthmus_model::retained::Retained::new("c", &pod, "public");
        let floating = Observed {
            retained: Some(was.clone()),
            addresses: vec!["203.0.113.9".parse().unwrap()],
            ..Observed::of(Kind::FloatingIp, "f1")
        };
        let of_old = isthmus_model::retained::Retained { name: None, subject: None, ..was };
        let policy = Observed { retained: Some(of_old), ..Observed::of(Kind::L7Policy, "p1") };
        let text = told(&[retained(floating), retained(policy)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["floating-ip", "f1", "-", "203.0.113.9", "Pod", "shop/web-0", "public", "f1"]);
        assert_eq!(lines[2], ["l7-policy", "p1", "-", "-", "-", "-", "-"]);
        assert!(text.ends_with(AGAIN), "{text}");
    }
}
