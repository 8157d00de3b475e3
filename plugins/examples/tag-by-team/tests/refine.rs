//! The refiner, natively.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use isthmus_sdk::prelude::*;
use isthmus_sdk::testing::Cluster;
use tag_by_team::TagByTeam;

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: blue}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: free}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: free}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: unknown}}
";

fn refine(pod: &str) -> Result<Vec<Vec<String>>, Outcome> {
    let list = vec![
        Port::new(existing("n")).named("port").tag("own"),
        Vif::new("eth0", local("port")).named("eth0"),
    ];
    let cluster = Cluster::from_yaml(CLUSTER).unwrap();
    let list = cluster.refine::<TagByTeam>(&Kind::core("Pod"), pod, "{}", list)?;
    Ok(list.into_iter().map(|entry| entry.tags).collect())
}

#[test]
fn ports_get_the_tag_of_their_team() {
    assert_eq!(refine("shop/a").unwrap(), [vec!["own", "team=blue"], vec![]]);
    assert_eq!(refine("free/a").unwrap(), [vec!["own"], vec![]]);
    assert!(matches!(refine("unknown/a"), Err(Outcome::Waiting(_))));
}
