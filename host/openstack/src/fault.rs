//! From what came back to [`Error`]: the service's fault, the retry class, what it says about load.

use std::time::Duration;

use isthmus_model::retry::RetryClass;
use reqwest::Method;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::error::ErrorKind;

/// A pause longer than this is cut: a proxy that answers with a date in the far future must not stop us for good.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What an error body says. Neutron, Keystone, Octavia and Barbican each have a shape of their own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Exception name, where the service gives one.
    pub(crate) kind: Option<String>,
    /// Text for a human; never empty.
    pub(crate) message: String,
}

impl Fault {
    /// Reads an error body; anything that is no known shape (a proxy's page) becomes the message, cut short.
    pub(crate) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(object)) => {
                let (inner, kind, message) = match object.get("NeutronError").or_else(|| object.get("error"))
                {
                    Some(inner @ Value::Object(_)) => (inner.clone(), "type", "message"),
                    Some(Value::String(text)) => return Self { kind: None, message: text.clone() },
                    _ if object.contains_key("description") => {
                        (Value::Object(object), "title", "description")
                    }
                    _ => (Value::Object(object), "faultcode", "faultstring"),
                };
                let text = |key| inner.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
                match text(message) {
                    Some(message) => {
                        Self { kind: text(kind).map(str::to_owned), message: message.to_owned() }
                    }
                    None => Self { kind: text(kind).map(str::to_owned), message: excerpt(body) },
                }
            }
            _ => Self { kind: None, message: excerpt(body) },
        }
    }
}

/// A message without what looks like data: a service may repeat what it refuses.
pub(crate) fn without_data(message: &str) -> String {
    const LONGEST: usize = 48;
    let word = |word: &'_ str| if word.len() > LONGEST { "[left out]".to_owned() } else { word.to_owned() };
    message.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if text.is_empty() { "no reason given".to_owned() } else { text }
}

/// The retry class of an error status.
///
/// `OverQuota` is a 409 in Neutron; `IpAddressGenerationFailure` (no address left in the subnets) is a 409, in older
/// releases a 503. A quota of Octavia or Barbican is a 403 that the message alone tells from a missing right. A 5xx of a `POST` may
/// come from a proxy that gave up while the service went on: unless the service itself refused (503 with `Retry-After`, or
/// Octavia's that could not lock the project's quotas), the resource may exist. A 404 without a fault is not the service's:
/// a proxy or a wrong endpoint must not make everything look deleted.
pub(crate) fn class(method: &Method, status: u16, fault: &Fault, retry_after: bool) -> RetryClass {
    const EXHAUSTED: [&str; 4] =
        ["OverQuota", "IpAddressGenerationFailure", "NoMoreIpAddresses", "ExternalIpAddressExhausted"];
    let Fault { kind, message } = fault;
    if kind.as_deref().is_some_and(|kind| EXHAUSTED.contains(&kind)) {
        return RetryClass::Quota;
    }
    match status {
        401 => RetryClass::Unauthorized,
        403 if message.starts_with("Quota has been met") => RetryClass::Quota,
        403 if message.contains("quota has been reached") => RetryClass::Quota,
        403 => RetryClass::Forbidden,
        404 if kind.is_some() => RetryClass::NotFound,
        404 => RetryClass::Transient,
        409 | 412 => RetryClass::Conflict,
        // The service or a proxy gave up waiting for the request, or asks for fewer.
        408 | 425 | 429 => RetryClass::Transient,
        501 => RetryClass::Invalid,
        503 if retry_after || message.starts_with("Project busy") => RetryClass::Transient,
        500..=599 if *method == Method::POST => RetryClass::Unknown,
        500..=599 => RetryClass::Transient,
        _ => RetryClass::Invalid,
    }
}

/// Whether a status says that the service has more to do than it can.
pub(crate) fn overloaded(status: u16) -> bool {
    matches!(status, 429 | 503 | 504)
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            // A date in the past means "now".
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// Kind and class of a request that got no answer.
pub(crate) fn unanswered(error: &reqwest::Error, write: bool) -> (ErrorKind, RetryClass) {
    if error.is_builder() {
        return (ErrorKind::Request, RetryClass::Invalid);
    }
    if error.is_connect() {
        return (ErrorKind::Connect, RetryClass::Transient);
    }
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Lost };
    (kind, if write { RetryClass::Unknown } else { RetryClass::Transient })
}

/// The error with its causes, without the URL (its query may name what a log should not hold).
pub(crate) fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use RetryClass::*;

    #[test]
    fn fault_shapes_of_the_services() {
        for (body, kind, message) in [
            (
                r#"{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for ['port'].", "detail": ""}}"#,
                Some("OverQuota"),
                "Quota exceeded for ['port'].",
            ),
            (r#"{"NeutronError": "plain"}"#, None, "plain"),
            (r#"{"error": {"code": 401, "title": "Unauthorized", "message": "sign in"}}"#, None, "sign in"),
            (
                r#"{"faultcode": "Server", "faultstring": "pool is immutable"}"#,
                Some("Server"),
                "pool is immutable",
            ),
            (
                r#"{"code": 404, "title": "Not Found", "description": "Secret not found."}"#,
                Some("Not Found"),
                "Secret not found.",
            ),
            ("<html>\n  Bad   Gateway</html>", None, "<html> Bad Gateway</html>"),
            (
                r#"{"NeutronError": {"type": null, "message": 5}}"#,
                None,
                r#"{"NeutronError": {"type": null, "message": 5}}"#,
            ),
            ("", None, "no reason given"),
            ("[1]", None, "[1]"),
        ] {
            assert_eq!(
                Fault::parse(body.as_bytes()),
                Fault { kind: kind.map(str::to_owned), message: message.to_owned() },
                "{body}"
            );
        }
    }

    #[test]
    fn class_of_each_status() {
        for (method, status, fault, retry_after, expected) in [
            (Method::POST, 409, Some("OverQuota"), false, Quota),
            (Method::POST, 409, Some("IpAddressGenerationFailure"), false, Quota),
            (Method::POST, 503, Some("IpAddressGenerationFailure"), false, Quota),
            (Method::POST, 409, Some("IpAddressInUse"), false, Conflict),
            (Method::DELETE, 409, Some("NetworkInUse"), false, Conflict),
            (Method::PUT, 412, Some("RevisionNumberConstraintFailed"), false, Conflict),
            (Method::POST, 400, None, false, Invalid),
            (Method::POST, 422, None, false, Invalid),
            (Method::GET, 300, None, false, Invalid),
            (Method::GET, 401, None, false, Unauthorized),
            (Method::GET, 403, None, false, Forbidden),
            (Method::GET, 404, Some("PortNotFound"), false, NotFound),
            (Method::GET, 404, None, false, Transient),
            (Method::POST, 429, None, false, Transient),
            (Method::POST, 500, None, false, Unknown),
            (Method::POST, 502, None, false, Unknown),
            (Method::POST, 503, None, false, Unknown),
            (Method::POST, 503, None, true, Transient),
            (Method::POST, 504, None, true, Unknown),
            (Method::GET, 500, None, false, Transient),
            (Method::PUT, 502, None, false, Transient),
            (Method::DELETE, 504, None, false, Transient),
            (Method::POST, 501, None, false, Invalid),
        ] {
            let fault = Fault { kind: fault.map(str::to_owned), message: "text".to_owned() };
            assert_eq!(class(&method, status, &fault, retry_after), expected, "{method} {status} {fault:?}");
        }
    }

    #[test]
    fn octavia_tells_some_classes_by_its_message_alone() {
        for (status, kind, message, expected) in [
            (403, "Client", "Quota has been met for resources: Load Balancer", Quota),
            (403, "Client", "Policy does not allow this request to be performed.", Forbidden),
            (409, "Client", "Load Balancer 1 is immutable and cannot be updated.", Conflict),
            (503, "Server", "Project busy.  Unable to lock the project.  Please try again.", Transient),
            (503, "Server", "something else", Unknown),
        ] {
            let fault = Fault { kind: Some(kind.to_owned()), message: message.to_owned() };
            assert_eq!(class(&Method::POST, status, &fault, false), expected, "{message}");
        }
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let now: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sat, 21 Nov 2026 12:00:30 GMT", Some(30)),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(0)),
            ("Sat, 21 Nov 2099 12:00:00 GMT", Some(300)),
            ("999999999999", Some(300)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
