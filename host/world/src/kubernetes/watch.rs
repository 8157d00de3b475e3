//! A watch: a stream that reads the history of a kind from where it is, whenever there is more of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures::Stream;
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::api::WatchStart;
use super::server::Form;
use super::status::Status;
use super::store::{Change, Object};
use super::table::{self, Include};
use super::{Shared, convert};

/// How often a client that wants bookmarks gets one, as the real server does.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How many changes are told at once.
const BATCH: usize = 256;

struct Watching {
    shared: Arc<Shared>,
    start: WatchStart,
    form: Form,
    include: Include,
    /// Told up to here.
    version: u64,
    ends: Instant,
    bookmark: Instant,
    initial: VecDeque<Arc<Object>>,
    begun: bool,
    ended: bool,
    /// The columns were told: a table says them once.
    columns: bool,
}

/// The body of the answer to a watch.
pub(super) fn stream(
    shared: Arc<Shared>,
    mut start: WatchStart,
    form: Form,
    include: Include,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let now = Instant::now();
    let watching = Watching {
        initial: std::mem::take(&mut start.initial).into(),
        version: start.version,
        ends: now + start.timeout,
        bookmark: now + BOOKMARK_EVERY,
        begun: false,
        ended: false,
        columns: false,
        shared,
        start,
        form,
        include,
    };
    unfold(watching, |mut watching| async move {
        let chunk = watching.next().await?;
        Some((Ok(chunk), watching))
    })
}

impl Watching {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(chunk) = self.beginning() {
            return Some(chunk);
        }
        loop {
            // marked before it is read, so that a change in between is not missed
            self.start.changed.borrow_and_update();
            let changes = {
                let mut api = self.shared.api.lock();
                let table = api.store.table(&self.start.resource.table());
                table.since(self.version, BATCH)
            };
            let Some(changes) = changes else {
                self.ended = true;
                let status = Status::expired(format!(
                    "too old resource version: {} ({})",
                    self.version,
                    self.forgotten()
                ));
                return Some(line("ERROR", &status.body()));
            };
            if let Some(last) = changes.last() {
                self.version = last.version;
            }
            let mut chunk = Vec::new();
            for change in &changes {
                self.tell(change, &mut chunk);
            }
            if !chunk.is_empty() {
                return Some(Bytes::from(chunk));
            }
            if !changes.is_empty() {
                continue;
            }
            let until = if self.start.bookmarks { self.ends.min(self.bookmark) } else { self.ends };
            match timeout_at(until, self.start.changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) if Instant::now() >= self.ends => return None,
                Err(_) => {
                    self.bookmark = Instant::now() + BOOKMARK_EVERY;
                    return Some(self.mark(false));
                }
            }
        }
    }

    fn forgotten(&self) -> u64 {
        self.shared.api.lock().store.table(&self.start.resource.table()).forgotten + 1
    }

    /// What was there when the watch began.
    fn beginning(&mut self) -> Option<Bytes> {
        if self.begun {
            return None;
        }
        let mut chunk = Vec::new();
        while let Some(object) = self.initial.pop_front() {
            self.write("ADDED", &object, None, &mut chunk);
            if chunk.len() > 1 << 16 {
                return Some(Bytes::from(chunk));
            }
        }
        self.begun = true;
        if self.start.marks_initial {
            chunk.extend_from_slice(&self.mark(true));
        }
        (!chunk.is_empty()).then(|| Bytes::from(chunk))
    }

    fn mark(&self, initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if let Some(map) = metadata.as_object_mut().filter(|_| initial) {
            map.insert("annotations".to_owned(), json!({"k8s.io/initial-events-end": "true"}));
        }
        let resource = &self.start.resource;
        let object = match self.form {
            Form::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": [],
                "rows": [{"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}],
            }),
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            _ => {
                // an empty object of its type
                let mut object = resource.empty.clone();
                if let Some(map) = object.as_object_mut() {
                    map.insert("metadata".to_owned(), metadata);
                }
                object
            }
        };
        line("BOOKMARK", &object)
    }

    /// As far as the selection is concerned: what leaves it is deleted, what enters it is added.
    fn tell(&mut self, change: &Change, chunk: &mut Vec<u8>) {
        let selected = |object: &Object| {
            (self.start.namespace.is_empty() || object.text("namespace") == self.start.namespace)
                && self.start.selector.matches(&object.value)
        };
        let before = change.before.as_ref().filter(|b| selected(b));
        let now = !change.deleted && selected(&change.object);
        match (before, now) {
            (None, false) => {}
            (None, true) => self.write("ADDED", &change.object, None, chunk),
            (Some(_), true) => self.write("MODIFIED", &change.object, None, chunk),
            (Some(_), false) if change.deleted => self.write("DELETED", &change.object, None, chunk),
            (Some(before), false) => {
                let before = before.clone();
                self.write("DELETED", &before, Some(change.version), chunk);
            }
        }
    }

    /// `version`: of the event, where it is not that of the object.
    fn write(&mut self, kind: &str, object: &Object, version: Option<u64>, chunk: &mut Vec<u8>) {
        let resource = self.start.resource.clone();
        if self.form == Form::Json && version.is_none() && !convert::differs(&resource, &object.value) {
            chunk.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
            chunk.extend_from_slice(&object.json());
            chunk.extend_from_slice(b"}\n");
            return;
        }
        let mut value = object.value.clone();
        convert::from_storage(&resource, &mut value);
        if let Some(version) = version {
            super::store::set(&mut value, "resourceVersion", version.to_string().into());
        }
        let shown = match self.form {
            Form::Table => {
                let now = self.shared.options.clock.now();
                let mut table = table::of(&resource, &[&value], &self.include, now);
                if std::mem::replace(&mut self.columns, true) {
                    table.columns.clear();
                }
                let version = super::store::meta(&value, "resourceVersion").cloned().unwrap_or_default();
                table::whole(table, json!({"resourceVersion": version}))
            }
            Form::Metadata => table::partial(&value),
            _ => value,
        };
        chunk.extend_from_slice(&line(kind, &shown));
    }
}

fn line(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n"))
}
