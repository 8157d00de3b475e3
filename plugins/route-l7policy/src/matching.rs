//! Which requests a Route matches: as the regular expressions of OpenShift's router say, in the rules that Octavia has.

use isthmus_sdk::objects::Age;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{L7Compare, L7Field, L7Rule};

use crate::mapping::{HOST, WILDCARD, route_kind};
use crate::objects::RouteSpec;

/// Octavia's limit of a rule's value.
const RULE_VALUE: usize = 255;
const HOST_BYTES: usize = 253;
const LABEL: usize = 63;

/// The wildcard policy of a Route for all hosts of its host's parent.
const SUBDOMAIN: &str = "Subdomain";

/// Host and path, checked and in one spelling: what is equal here matches the same requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    /// Lower case. Of a wildcard what follows its first label, as `example.com`.
    host: String,
    wildcard: bool,
    /// "" for every path.
    path: String,
}

impl Match {
    /// The requests that a Route is for.
    pub(crate) fn of(spec: &RouteSpec<'_>) -> Result<Self, Outcome> {
        let host = host(spec)?;
        let (host, wildcard) = match spec.wildcard_policy.as_deref() {
            None | Some("" | "None") => (host, false),
            Some(SUBDOMAIN) => (parent(&host)?.to_owned(), true),
            Some(other) => {
                let message = format!("wildcard policy {other:?} is none; it is None or {SUBDOMAIN}");
                return Err(invalid_field(message, WILDCARD));
            }
        };
        let found = Self { host, wildcard, path: path(spec)?.to_owned() };
        if found.host_regex().len() > RULE_VALUE {
            return Err(invalid_field("the host is too long for a rule of Octavia (255 bytes)", "spec.host"));
        }
        if found.path_regex().len() > RULE_VALUE {
            let message = "the path is too long: as a regular expression, Octavia takes 255 bytes of it";
            return Err(invalid_field(message, "spec.path"));
        }
        Ok(found)
    }

    /// The host; `None` of a wildcard, which is of many.
    pub(crate) fn one_host(&self) -> Option<&str> {
        (!self.wildcard).then_some(self.host.as_str())
    }

    /// The Routes that may be for the same hosts: those that say the same host, or all wildcards, as `a.example.com` and
    /// `b.example.com` then say the same.
    pub(crate) fn candidates(&self) -> Vec<String> {
        let (field, value) = if self.wildcard { (WILDCARD, SUBDOMAIN) } else { (HOST, &*self.host) };
        snapshot::list_by(&route_kind(), None, field, value)
    }

    /// Whether both are for the same hosts.
    pub(crate) fn same_host(&self, other: &Self) -> bool {
        self.wildcard == other.wildcard && self.host == other.host
    }

    /// Whether `other` is for some of these requests, on the same hosts by a longer path.
    pub(crate) fn narrowed_by(&self, other: &Self) -> bool {
        self.same_host(other)
            && match other.path.strip_prefix(self.path.as_str()) {
                None | Some("") => false,
                Some(rest) => self.path.is_empty() || self.path.ends_with('/') || rest.starts_with('/'),
            }
    }

    /// The rules that a request must match. Where the listener has an unusual port, clients send it with the host.
    pub(crate) fn rules(&self, usual_port: bool) -> Vec<L7Rule> {
        let host = if self.wildcard || !usual_port {
            L7Rule::new(L7Field::HostName, L7Compare::Regex, &self.host_regex())
        } else {
            L7Rule::new(L7Field::HostName, L7Compare::EqualTo, &self.host)
        };
        std::iter::once(host).chain(self.path_rule()).collect()
    }

    /// The rule for the path; none where every path will do. `/foo` is for `/foo` and what is below it, not for `/foobar`; `/foo/`
    /// only for what is below.
    pub(crate) fn path_rule(&self) -> Option<L7Rule> {
        let regex = || L7Rule::new(L7Field::Path, L7Compare::Regex, &self.path_regex());
        (!self.path.is_empty()).then(regex)
    }

    fn path_regex(&self) -> String {
        let end = if self.path.ends_with('/') { "" } else { "(/|$)" };
        format!("^{}{end}", quoted(&self.path))
    }

    /// A wildcard is for exactly one label more, as in certificates and in OpenShift's router.
    fn host_regex(&self) -> String {
        let label = if self.wildcard { r"[^.]+\." } else { "" };
        format!("^{label}{}(:[0-9]+)?$", quoted(&self.host))
    }

    /// Sorts before those of all Routes that are less specific or, as specific, younger: exact hosts first, then longer paths.
    /// Wildcards for one request have the same suffix, so its length says nothing.
    pub(crate) fn precedence(&self, age: Age<'_>) -> String {
        let shortness = 999 - self.path.len().min(999);
        let Age { created, namespace, name } = age;
        // a space, since it sorts before all that names are made of
        format!("{} {shortness:03} {created} {namespace} {name}", u8::from(self.wildcard))
    }
}

fn host(spec: &RouteSpec<'_>) -> Result<String, Outcome> {
    let host = spec.host.as_deref().unwrap_or_default().to_ascii_lowercase();
    if host.is_empty() {
        let subdomain = spec.subdomain.as_deref().is_some_and(|s| !s.is_empty());
        return Err(match subdomain {
            true => {
                invalid_field("this router has no domain for spec.subdomain: set spec.host", "spec.subdomain")
            }
            false => invalid_field("a Route needs a host", "spec.host"),
        });
    }
    if !is_dns_name(&host) {
        let message = "the host is no DNS name: labels of 1 to 63 letters, digits and inner hyphens, with dots \
                       between, at most 253 bytes";
        return Err(invalid_field(message, "spec.host"));
    }
    Ok(host)
}

/// As RFC 1123 has it, in lower case: what hosts and objects of Kubernetes are called.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= HOST_BYTES && text.split('.').all(is_label)
}

/// One label of such a name: what Services are called.
pub(crate) fn is_label(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=LABEL).contains(&text.len())
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What a wildcard stands before.
fn parent(host: &str) -> Result<&str, Outcome> {
    let parent = host.split_once('.').map(|(_, parent)| parent);
    parent.or_invalid("wildcard policy Subdomain needs a host of two labels or more", "spec.host")
}

/// The path without what matches everything.
fn path<'a>(spec: &'a RouteSpec<'_>) -> Result<&'a str, Outcome> {
    let path = spec.path.as_deref().unwrap_or_default();
    if path.trim_end_matches('/').is_empty() {
        return Ok("");
    }
    if !path.starts_with('/') {
        return Err(invalid_field("a path begins with a slash", "spec.path"));
    }
    match path.chars().find(|c| !is_of_path(*c)) {
        None => Ok(path),
        Some(c) => {
            let message = format!(
                "the path holds {c:?}; it is compared as it is sent: letters, digits and -._~!$&()*+,;=:@%/, \
                 others percent-encoded"
            );
            Err(invalid_field(message, "spec.path"))
        }
    }
}

/// RFC 3986's characters of a path, but for the apostrophe, which is a quote in the configuration that Octavia writes.
fn is_of_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&()*+,;=:@%/".contains(c)
}

/// For a regular expression, POSIX or Perl: what stands for itself is left alone, since a backslash may give it a meaning.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if ".$()*+".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}
