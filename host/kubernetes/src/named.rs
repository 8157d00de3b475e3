//! Single objects by name: what no module may see (a Secret, the key in a Route) is read here when it is needed, and kept
//! nowhere. That it changed is told without its content.
//!
//! # Rights
//! `get`, `list` and `watch` of the object, which may be given by its name (`resourceNames`). Where only `get` is, a change is
//! seen when the object is read again for another reason.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::projection::FieldPath;
use k8s_openapi::ByteString;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::discovery::Discoveries;
use crate::error::{Error, ErrorKind};
use crate::watch::follow;

/// Reads and watches single objects.
pub struct NamedObjects {
    client: Client,
    kinds: Discoveries,
    told: mpsc::UnboundedSender<ObjectKey>,
    watched: Mutex<HashMap<ObjectKey, Watched>>,
}

/// A watch, which ends with this.
struct Watched(AbortHandle);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an object holds. `Debug` shows none of it.
pub struct Content(Value);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content")
    }
}

impl Content {
    /// The text at a path; `None` where there is none. `data` of a Secret is decoded.
    pub fn text(&self, path: &FieldPath) -> Option<&str> {
        path.of(&self.0)?.as_str()
    }
}

impl NamedObjects {
    /// By this connection. The receiver is told of objects that are watched: that they may have changed.
    pub fn start(client: Client) -> (Self, mpsc::UnboundedReceiver<ObjectKey>) {
        let (told, receiver) = mpsc::unbounded_channel();
        let kinds = Discoveries::new(client.clone());
        (Self { client, kinds, told, watched: Mutex::default() }, receiver)
    }

    /// What an object holds now. `None`: there is no such object, or no such kind.
    ///
    /// # Errors
    /// The API server's; of class [`isthmus_model::retry::RetryClass::Forbidden`] where we may not read it.
    pub async fn read(&self, key: &ObjectKey) -> Result<Option<Content>, Error> {
        let Some(api) = self.kinds.api(key).await? else { return Ok(None) };
        match self.client.read(&format!("read {key}"), api.get(&key.name)).await {
            Ok(object) => Ok(Some(Content(decoded(&key.kind, object.data)))),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes these the watched objects.
    pub fn watch(&self, keys: &BTreeSet<ObjectKey>) {
        let mut watched = self.watched.lock();
        watched.retain(|key, _| keys.contains(key));
        for key in keys {
            if !watched.contains_key(key) {
                let watch = follow(self.client.clone(), self.kinds.clone(), key.clone(), self.told.clone());
                let task = tokio::spawn(watch);
                watched.insert(key.clone(), Watched(task.abort_handle()));
            }
        }
    }
}

/// `data` of a Secret is base64; what of it is no text is left out.
fn decoded(kind: &Gvk, mut data: Value) -> Value {
    let secret = kind.group.is_empty() && kind.kind == "Secret";
    if let Some(values) = data.get_mut("data").and_then(Value::as_object_mut).filter(|_| secret) {
        values.retain(|_, value| {
            let bytes = serde_json::from_value::<ByteString>(value.take()).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok());
            let is_text = text.is_some();
            *value = text.into();
            is_text
        });
    }
    data
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_of_a_secret_is_decoded_and_shown_nowhere() {
        let object =
            json!({"data": {"tls.crt": "UEVN", "raw": "/w==", "wrong": "%"}, "type": "kubernetes.io/tls"});
        let content = Content(decoded(&Gvk::new("", "v1", "Secret"), object.clone()));
        let text = |content: &Content, path: &str| content.text(&path.parse().unwrap()).map(str::to_owned);
        assert_eq!(text(&content, "data[\"tls.crt\"]").as_deref(), Some("PEM"));
        for none in ["data.raw", "data.wrong", "data.absent"] {
            assert_eq!(text(&content, none), None);
        }
        assert_eq!(format!("{content:?}"), "Content");
        let other = Content(decoded(&Gvk::new("", "v1", "ConfigMap"), object));
        assert_eq!(text(&other, "data[\"tls.crt\"]").as_deref(), Some("UEVN"));
    }
}
