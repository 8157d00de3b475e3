//! Lists, page by page.

use isthmus_model::retry::RetryClass;
use serde::Deserialize;

use super::{Resource, envelope, field};
use crate::error::{Error, ErrorKind, Result};
use crate::lenient::or_default;
use crate::session::{Request, Session};

/// How many resources a page of a list has. The service cuts it to its `pagination_max_limit`.
pub(crate) const PAGE: usize = 500;

/// How often a list starts anew because the resource that its next page follows was deleted meanwhile.
const RESTARTS: u32 = 5;

#[derive(Deserialize)]
struct Link {
    #[serde(default, deserialize_with = "or_default")]
    rel: String,
}

/// All resources of `collection` that match `query`, in pages of `size`.
pub(crate) async fn list<R: Resource>(
    session: &Session,
    collection: &Request,
    query: &[(&str, &str)],
    size: usize,
) -> Result<Vec<R>> {
    let mut restarts = 0;
    let mut all = Vec::<R>::new();
    loop {
        let request = page_request(collection, query, size, all.last().map(R::id));
        let (page, more) = match page::<R>(session, &request).await {
            Err(e) if !all.is_empty() && marker_lost(&e) && restarts < RESTARTS => {
                restarts += 1;
                all.clear();
                continue;
            }
            other => other?,
        };
        let Some(last) = page.last() else { return Ok(all) };
        if all.last().is_some_and(|before| before.id() == last.id()) {
            let message = "the service repeats a page of its list";
            return Err(request.error(RetryClass::Transient, ErrorKind::Decode, message));
        }
        all.extend(page);
        if !more {
            return Ok(all);
        }
    }
}

/// The request for the page that follows the resource `marker`.
fn page_request(collection: &Request, query: &[(&str, &str)], size: usize, marker: Option<&str>) -> Request {
    let mut request = collection.clone();
    let mut add = |key: &str, value: &str| request.query.push((key.to_owned(), value.to_owned()));
    query.iter().for_each(|(key, value)| add(key, value));
    if query.iter().any(|(key, _)| *key == "fields") {
        add("fields", "id");
    }
    add("limit", &size.to_string());
    add("sort_key", "id");
    add("sort_dir", "asc");
    if let Some(marker) = marker {
        add("marker", marker);
    }
    request
}

/// One page, and whether another follows.
async fn page<R: Resource>(session: &Session, request: &Request) -> Result<(Vec<R>, bool)> {
    let response = session.send(request).await?;
    let answer = envelope(request, &response)?;
    let page = field(request, &response, &answer, R::PLURAL)?;
    let links = format!("{}_links", R::PLURAL);
    let more = match answer.contains_key(&links) {
        // Octavia writes null where paging is switched off.
        true => field::<Option<Vec<Link>>>(request, &response, &answer, &links)?
            .is_some_and(|links| links.iter().any(|l| l.rel == "next")),
        false => false,
    };
    Ok((page, more))
}

/// Whether the resource that the page was to follow is gone: a 404 of Neutron, a 400 of Octavia.
fn marker_lost(error: &Error) -> bool {
    error.class == RetryClass::NotFound
        || error.status() == Some(400) && error.context.message.contains("pagination marker")
}
