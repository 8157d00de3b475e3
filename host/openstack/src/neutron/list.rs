//! Lists, page by page.

use isthmus_model::retry::RetryClass;
use reqwest::Method;
use serde::Deserialize;

use super::{Neutron, Resource, collection, envelope, field};
use crate::error::{ErrorKind, Result};
use crate::lenient::or_default;

/// How often a list starts anew because the resource that its next page follows was deleted meanwhile.
const RESTARTS: u32 = 5;

#[derive(Deserialize)]
struct Link {
    #[serde(default, deserialize_with = "or_default")]
    rel: String,
}

impl Neutron {
    /// All resources that match `query`: filters (`("project_id", ...)`, `("tags", "a,b")`: with all of these tags; a
    /// name twice: either value) and `("fields", ...)`, of which `id` is always one.
    ///
    /// # Guarantee
    /// What exists from the beginning to the end is in it exactly once (pages are ordered by id).
    ///
    /// # Errors
    /// A page failed. There is no partial result: what is missing from a list looks deleted.
    pub async fn list<R: Resource>(&self, query: &[(&str, &str)]) -> Result<Vec<R>> {
        let mut restarts = 0;
        loop {
            match self.list_once(query).await {
                Err(e) if e.class == RetryClass::NotFound && restarts < RESTARTS => restarts += 1,
                other => return other,
            }
        }
    }

    async fn list_once<R: Resource>(&self, query: &[(&str, &str)]) -> Result<Vec<R>> {
        let mut all = Vec::<R>::new();
        loop {
            let mut request = collection::<R>(Method::GET);
            let mut add = |key: &str, value: &str| request.query.push((key.to_owned(), value.to_owned()));
            query.iter().for_each(|(key, value)| add(key, value));
            if query.iter().any(|(key, _)| *key == "fields") {
                add("fields", "id");
            }
            add("limit", &self.page.to_string());
            add("sort_key", "id");
            add("sort_dir", "asc");
            if let Some(last) = all.last() {
                add("marker", last.id());
            }
            let response = self.session.send(&request).await?;
            let answer = envelope(&request, &response)?;
            let page: Vec<R> = field(&request, &response, &answer, R::PLURAL)?;
            let links = format!("{}_links", R::PLURAL);
            let more = match answer.contains_key(&links) {
                true => {
                    field::<Vec<Link>>(&request, &response, &answer, &links)?.iter().any(|l| l.rel == "next")
                }
                false => false,
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
}
