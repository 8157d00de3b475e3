//! Lists of Octavia, page by page.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

mod common;

use common::{Cloud, Reply, Seen, fault, ok, query, value};
use isthmus_openstack::RetryClass;
use isthmus_openstack::octavia::{LoadBalancer, Member};
use serde_json::json;

/// Load balancers as Octavia pages them: a full page refers to a next one, which may be empty.
fn paged(ids: &[&str], seen: &Seen) -> Reply {
    let limit: usize = value(seen, "limit").unwrap().parse().unwrap();
    let start = match value(seen, "marker") {
        None => 0,
        Some(marker) => match ids.iter().position(|id| *id == marker) {
            Some(at) => at + 1,
            None => return fault(400, &format!("Supplied pagination marker '{marker}' is not valid.")),
        },
    };
    let page: Vec<_> = ids.iter().skip(start).take(limit).map(|id| json!({"id": id})).collect();
    let links = match page.len() < limit {
        true => json!([]),
        false => json!([{"rel": "next", "href": "http://wrong.example/"}]),
    };
    ok(json!({"loadbalancers": page, "loadbalancers_links": links}))
}

#[tokio::test]
async fn a_list_has_all_pages() {
    let cloud = Cloud::start(|seen| paged(&["a", "b", "c", "d"], seen)).await;
    let filters = [("project_id", "p1"), ("tags", "x,y"), ("fields", "name")];
    let all = cloud.octavia().with_page(2).list::<LoadBalancer>(&filters).await.unwrap();
    assert_eq!(all.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let seen = cloud.seen();
    let markers: Vec<_> = seen.iter().map(|s| value(s, "marker")).collect();
    assert_eq!(markers, [None, Some("b".into()), Some("d".into())], "a full page may be the last");
    let fields: Vec<_> = query(&seen[0]).into_iter().filter(|(k, _)| k == "fields").map(|(_, v)| v).collect();
    assert_eq!(fields, ["name", "id"]);
    assert_eq!(value(&seen[2], "project_id").as_deref(), Some("p1"));
    assert_eq!(value(&seen[2], "tags").as_deref(), Some("x%2Cy"));
}

#[tokio::test]
async fn a_list_whose_marker_was_deleted_starts_anew() {
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let cloud = Cloud::start(move |seen| match requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => paged(&["a", "b", "c"], seen),
        _ => paged(&["a", "c", "d"], seen),
    })
    .await;
    let all = cloud.octavia().with_page(2).list::<LoadBalancer>(&[]).await.unwrap();
    assert_eq!(all.iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["a", "c", "d"]);
}

#[tokio::test]
async fn a_list_below_a_pool_that_is_gone_is_asked_for_once() {
    let cloud = Cloud::start(|seen| match seen.uri.starts_with("/v2/lbaas/pools/p/members?") {
        true => ok(json!({"members": [{"id": "m"}], "members_links": null})),
        false => fault(404, "Pool q not found."),
    })
    .await;
    let octavia = cloud.octavia();
    assert_eq!(octavia.list_in::<Member>("p", &[]).await.unwrap()[0].id, "m");
    let error = octavia.list_in::<Member>("q", &[]).await.unwrap_err();
    assert_eq!((error.class, cloud.seen().len()), (RetryClass::NotFound, 2));
}
