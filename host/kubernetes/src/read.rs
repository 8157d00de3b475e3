//! The objects of a kind as a module sees them, read once: for commands that look at a cluster and go.

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::projection::Mask;
use kube::Api;
use kube::api::{DynamicObject, ListParams};

use crate::client::Client;
use crate::discovery::discover;
use crate::error::Error;
use crate::store::Stored;
use crate::watch::project;

/// Objects of one page.
const PAGE: u32 = 500;

/// All objects of a kind in all namespaces, reduced to these fields; none where there is no such kind.
///
/// # Errors
/// The API server's.
pub async fn projected(client: &Client, kind: &Gvk, mask: &Mask) -> Result<Vec<Stored>, Error> {
    let Some(found) = discover(client, kind).await? else { return Ok(Vec::new()) };
    let api: Api<DynamicObject> = Api::all_with(client.kube(), &found.resource);
    let what = format!("list {kind}");
    let (mut all, mut parameters) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = client.read(&what, api.list(&parameters)).await?;
        for object in page.items {
            let metadata = &object.metadata;
            let Some(name) = metadata.name.as_deref() else { continue };
            let key = ObjectKey::new(kind.clone(), metadata.namespace.as_deref(), name);
            all.extend(project(kind, mask, key, object));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(all),
        }
    }
}
