//! One of the two servers, and what it answered so far.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use http::{Method, Request};
use kube::client::Body;
use serde_json::Value;

use crate::normal::Names;

/// A request in words that mean the same on both sides: `<rv:KEY>`, `<oldrv:KEY>` and `<uid:KEY>` stand for what that side last
/// (first) answered for an object, `<start:PLURAL>` for the version of the first list, `<continue>` for the last page's token. A key is `PLURAL/NAME`.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// `Content-Type`; none for a request without a body.
    pub content_type: &'static str,
    /// `Accept`.
    pub accept: &'static str,
    /// Body.
    pub body: Option<Value>,
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        if let Some(body) = &self.body {
            write!(f, " ({}) {body}", self.content_type)?;
        }
        if self.accept != "application/json" {
            write!(f, " as {}", self.accept)?;
        }
        Ok(())
    }
}

/// A status code, warnings and a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Texts of `Warning`.
    pub warnings: Vec<String>,
    /// Body, in normal form.
    pub body: Value,
}

/// One side.
pub struct Side {
    client: kube::Client,
    /// What uids and the like are called.
    pub names: Names,
    /// Placeholder to what it stands for.
    known: BTreeMap<String, String>,
}

impl Side {
    /// With nothing known yet.
    pub fn new(client: kube::Client) -> Self {
        Self { client, names: Names::default(), known: BTreeMap::new() }
    }

    fn filled(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            let (before, tail) = rest.split_at(start);
            out.push_str(before);
            match tail.find('>').map(|end| tail.split_at(end + 1)) {
                Some((placeholder, after)) => {
                    let known = self.known.get(placeholder).map(String::as_str);
                    let unknown = if placeholder.starts_with("<uid") { "none" } else { "1" };
                    out.push_str(known.unwrap_or(unknown));
                    rest = after;
                }
                None => {
                    out.push_str(tail);
                    rest = "";
                }
            }
        }
        out.push_str(rest);
        out
    }

    fn request(&self, ask: &Ask) -> Result<Request<Body>> {
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(self.filled(&ask.path))
            .header("accept", ask.accept)
            .header("user-agent", "conformance/1");
        if ask.body.is_some() {
            request = request.header("content-type", ask.content_type);
        }
        let body = ask.body.as_ref().map(|b| self.filled(&b.to_string())).unwrap_or_default();
        request.body(Body::from(body.into_bytes())).context("building a request")
    }

    /// Sends a request and takes the answer down.
    ///
    /// # Errors
    /// There was none.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer> {
        let answer = self.send(ask).await?;
        Ok(self.taken(ask, answer))
    }

    /// Sends requests that change nothing, all at once, and takes the answers down in their order.
    ///
    /// # Errors
    /// There was none to one of them.
    pub async fn ask_at_once(&mut self, asks: &[Ask]) -> Result<Vec<Answer>> {
        let answers = futures::future::try_join_all(asks.iter().map(|ask| self.send(ask))).await?;
        Ok(asks.iter().zip(answers).map(|(ask, answer)| self.taken(ask, answer)).collect())
    }

    fn taken(&mut self, ask: &Ask, answer: Answer) -> Answer {
        self.learn(&ask.path, &answer.body);
        Answer { body: self.names.normal(answer.body), ..answer }
    }

    async fn send(&self, ask: &Ask) -> Result<Answer> {
        let response =
            self.client.send(self.request(ask)?).await.with_context(|| format!("no answer to {ask}"))?;
        let code = response.status().as_u16();
        let mut warnings: Vec<String> = response
            .headers()
            .get_all("warning")
            .iter()
            .map(|v| v.to_str().unwrap_or_default().to_owned())
            .collect();
        warnings.sort();
        let bytes = response.into_body().collect_bytes().await.context("reading an answer")?;
        let text = String::from_utf8_lossy(&bytes);
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) if !ask.path.contains("watch=") || code != 200 => body,
            _ if ask.path.contains("watch=") => events(&text),
            _ => Value::from(text.into_owned()),
        };
        Ok(Answer { code, warnings, body })
    }

    /// Remembers versions and uids of an object, or of a list's.
    fn learn(&mut self, path: &str, body: &Value) {
        let plural = plural(path);
        if let Some(token) = body.pointer("/metadata/continue").and_then(Value::as_str) {
            let encoded = token.replace('+', "%2B").replace('=', "%3D");
            self.known.insert("<continue>".to_owned(), encoded);
        }
        let items = body.get("items").and_then(Value::as_array);
        if let (Some(_), Some(version)) =
            (items, body.pointer("/metadata/resourceVersion").and_then(Value::as_str))
        {
            self.known.entry(format!("<start:{plural}>")).or_insert_with(|| version.to_owned());
        }
        for object in items.into_iter().flatten().chain([body]) {
            let text = |key: &str| object.pointer(&format!("/metadata/{key}")).and_then(Value::as_str);
            let (Some(name), Some(version)) = (text("name"), text("resourceVersion")) else { continue };
            let key = format!("{plural}/{name}");
            self.known.insert(format!("<rv:{key}>"), version.to_owned());
            self.known.entry(format!("<oldrv:{key}>")).or_insert_with(|| version.to_owned());
            if let Some(uid) = text("uid") {
                self.known.insert(format!("<uid:{key}>"), uid.to_owned());
            }
        }
    }
}

/// The lines of a watch; a bookmark that comes at its own time is left out.
fn events(text: &str) -> Value {
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = |event: &Value| {
        event.get("type").and_then(Value::as_str) != Some("BOOKMARK")
            || event.pointer("/object/metadata/annotations").is_some()
    };
    events.filter(told).collect()
}

/// The resource that a path is of.
pub(crate) fn plural(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match &*parts {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return "",
    };
    match rest {
        ["namespaces", _, plural, ..] if *plural != "status" => plural,
        [plural, ..] => plural,
        [] => "",
    }
}
