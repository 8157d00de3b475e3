//! What goes to Barbican and what is read from it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Cloud, Reply, Seen, ok, value};
use isthmus_openstack::barbican::{Bundle, Secret, SecretCreate};
use isthmus_openstack::{ErrorKind, RetryClass};
use serde_json::{Value, json};

/// An error as Barbican words it.
fn fault(status: u16, title: &str, description: &str) -> Reply {
    Reply::Json(status, json!({"code": status, "title": title, "description": description}))
}

fn bundle() -> Bundle {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    Bundle::new(&certificate.pem(), &key.serialize_pem(), None).unwrap()
}

/// A page as Barbican makes it, by position.
fn paged(names: &[&str], seen: &Seen) -> Reply {
    let number = |key| value(seen, key).unwrap().parse::<usize>().unwrap();
    let page = names.iter().skip(number("offset")).take(number("limit"));
    let secret = |name: &&str| {
        json!({"secret_ref": format!("http://b/v1/secrets/id-{name}"), "name": name, "status": "ACTIVE",
               "created": "2026-11-21T12:00:00", "algorithm": null, "content_types": {"default": "text/plain"}})
    };
    ok(json!({"secrets": page.map(secret).collect::<Vec<Value>>(), "total": names.len()}))
}

fn names(all: &[Secret]) -> Vec<&str> {
    all.iter().map(|secret| secret.name.as_str()).collect()
}

#[tokio::test]
async fn a_secret_is_made_in_one_call_and_shown_nowhere() {
    let cloud = Cloud::start(|_| Reply::Json(201, json!({"secret_ref": "http://b/v1/secrets/1"}))).await;
    let bundle = bundle();
    let body = SecretCreate::new("mine", &bundle);
    assert!(!format!("{body:?}").contains("payload"), "{body:?}");
    assert_eq!(cloud.barbican().create(&body).await.unwrap(), "http://b/v1/secrets/1");
    let seen = cloud.seen();
    assert_eq!((seen.len(), seen[0].uri.as_str()), (1, "/v1/secrets"));
    let text = |field: &str| seen[0].body[field].as_str().unwrap().to_owned();
    assert_eq!(text("name"), "mine");
    assert_eq!(text("payload_content_type"), "application/octet-stream");
    assert_eq!(text("payload_content_encoding"), "base64");
    assert!(text("payload").len() > 300);
}

#[tokio::test]
async fn an_error_does_not_repeat_what_was_to_be_kept() {
    let cloud = Cloud::start(|seen| {
        let payload = seen.body["payload"].as_str().unwrap();
        fault(400, "Bad Request", &format!("Provided object does not match: '{payload}' is too long"))
    })
    .await;
    let bundle = bundle();
    let error = cloud.barbican().create(&SecretCreate::new("mine", &bundle)).await.unwrap_err();
    assert_eq!(error.class, RetryClass::Invalid);
    assert!(error.to_string().ends_with("does not match: [left out] is too long (req-1)"), "{error}");
}

#[tokio::test]
async fn errors_say_what_they_mean() {
    let table = [
        (Reply::Drop, RetryClass::Unknown),
        (fault(500, "Internal Server Error", "Secret creation failure seen"), RetryClass::Unknown),
        (fault(403, "Forbidden", "Creation not allowed because a quota has been reached"), RetryClass::Quota),
        (
            fault(403, "Forbidden", "Secret creation attempt not allowed - please review your privileges"),
            RetryClass::Forbidden,
        ),
    ];
    let bundle = bundle();
    for (reply, class) in table {
        let cloud = Cloud::script([reply.clone()]).await;
        let error = cloud.barbican().create(&SecretCreate::new("mine", &bundle)).await.unwrap_err();
        assert_eq!(error.class, class, "{reply:?}: {error}");
    }
    let cloud = Cloud::script([
        fault(404, "Not Found", "Secret not found."),
        ok(Value::Null),
        fault(404, "Not Found", "Secret not found."),
    ])
    .await;
    let barbican = cloud.barbican();
    barbican.delete("1").await.unwrap();
    barbican.delete("1").await.unwrap();
    assert_eq!(barbican.get("1").await.unwrap_err().class, RetryClass::NotFound);
    assert_eq!(cloud.seen()[0].uri, "/v1/secrets/1");
    assert_eq!(barbican.delete("..").await.unwrap_err().kind, ErrorKind::Request);
}

#[tokio::test]
async fn a_list_is_whole_whatever_the_size_of_its_pages() {
    let all = ["p a", "p b", "p c", "p d", "p e"];
    let cloud = Cloud::start(move |seen| paged(&all, seen)).await;
    for page in 2..7 {
        assert_eq!(names(&cloud.barbican().with_page(page).list("p ").await.unwrap()), all, "{page} a page");
    }
    let seen = cloud.seen();
    assert_eq!(value(&seen[0], "name").unwrap(), "p+%25");
    assert_eq!(value(&seen[0], "sort").unwrap(), "name%3Aasc");
    let none = Cloud::start(|seen| paged(&[], seen)).await;
    assert!(none.barbican().list("p").await.unwrap().is_empty());
    let others = Cloud::start(|seen| paged(&["p a", "q", "xp b"], seen)).await;
    let found = others.barbican().list("p ").await.unwrap();
    assert_eq!((names(&found), found[0].id()), (vec!["p a"], "id-p a"));
}

/// A secret goes between two pages: those behind it move forward by one.
#[tokio::test]
async fn a_list_that_moves_is_begun_anew() {
    let pages = AtomicUsize::new(0);
    let cloud = Cloud::start(move |seen| match pages.fetch_add(1, Ordering::SeqCst) {
        0 => paged(&["p a", "p b", "p c", "p d"], seen),
        _ => paged(&["p b", "p c", "p d"], seen),
    })
    .await;
    let found = cloud.barbican().with_page(2).list("p ").await.unwrap();
    assert_eq!(names(&found), ["p b", "p c", "p d"]);
    let pages = AtomicUsize::new(0);
    let restless = Cloud::start(move |seen| {
        let all = ["p a", "p b", "p c", "p d"];
        let first = pages.fetch_add(1, Ordering::SeqCst) % 2;
        paged(&all[first..], seen)
    })
    .await;
    let error = restless.barbican().with_page(2).list("p ").await.unwrap_err();
    assert_eq!(error.class, RetryClass::Transient);
}
