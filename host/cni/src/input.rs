//! What the runtime says in the environment (specification 1.1, "Parameters").

use std::ffi::OsString;

use crate::error::{Code, Error};
use crate::protocol::PodReference;

/// Longest name of an interface (`IFNAMSIZ` - 1).
const LONGEST_INTERFACE: usize = 15;
/// Longest id that we take: it becomes a part of a file's name.
const LONGEST_ID: usize = 200;
/// Longest `CNI_ARGS`.
const LONGEST_ARGS: usize = 8 << 10;
/// Longest path (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Is it as ADD made it?
    Check,
    /// Can an ADD be served?
    Status,
    /// Remove what the runtime no longer knows.
    Gc,
    /// Which versions?
    Version,
}

/// The environment, checked for its verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub verb: Verb,
    /// `CNI_CONTAINERID`; empty where the verb has none.
    pub container: String,
    /// `CNI_IFNAME`; empty where the verb has none.
    pub interface: String,
    /// `CNI_NETNS`, of ADD and CHECK; of DEL, where the runtime gives it.
    pub netns: Option<String>,
    /// The Pod of `CNI_ARGS`, of ADD and CHECK, where a kubelet is behind the runtime.
    pub pod: Option<PodReference>,
}

type Get<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Environment {
    /// Reads the environment by `get`.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`], with the variable.
    pub fn read(get: Get<'_>) -> Result<Self, Error> {
        let verb = match text(get, "CNI_COMMAND")?.as_deref() {
            Some("ADD") => Verb::Add,
            Some("DEL") => Verb::Del,
            Some("CHECK") => Verb::Check,
            Some("STATUS") => Verb::Status,
            Some("GC") => Verb::Gc,
            Some("VERSION") => Verb::Version,
            None => {
                return Err(bad(
                    "CNI_COMMAND",
                    "is not set",
                    "a CNI runtime starts this program, not a person",
                ));
            }
            Some(other) => {
                let why = "it is ADD, DEL, CHECK, STATUS, GC or VERSION";
                return Err(bad("CNI_COMMAND", &format!("is {:?}", shortened(other)), why));
            }
        };
        let mut environment =
            Self { verb, container: String::new(), interface: String::new(), netns: None, pod: None };
        if !matches!(verb, Verb::Add | Verb::Del | Verb::Check) {
            return Ok(environment);
        }
        environment.container = needed(get, "CNI_CONTAINERID")?;
        if !identifier(&environment.container) {
            let found = format!("is {:?}", shortened(&environment.container));
            let why =
                "it starts with a letter or digit, has only those, _, . and -, and 200 characters at most";
            return Err(bad("CNI_CONTAINERID", &found, why));
        }
        environment.interface = needed(get, "CNI_IFNAME")?;
        if let Err(why) = interface_name(&environment.interface) {
            return Err(bad("CNI_IFNAME", &format!("is {:?}", shortened(&environment.interface)), why));
        }
        if verb == Verb::Del {
            // The rest says nothing that DEL needs, so nothing there may hold it up: a path that is none is no path.
            environment.netns = text(get, "CNI_NETNS").ok().flatten().filter(|path| is_path(path));
            return Ok(environment);
        }
        environment.netns = Some(needed(get, "CNI_NETNS")?);
        if let Some(path) = environment.netns.as_ref()
            && !is_path(path)
        {
            return Err(bad("CNI_NETNS", &format!("is {:?}", shortened(path)), "it is an absolute path"));
        }
        environment.pod = pod(&text(get, "CNI_ARGS")?.unwrap_or_default())?;
        Ok(environment)
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= LONGEST_PATH
}

/// Whether a text can be a container's id or a network's name (specification: alphanumeric first, then also `_`, `.`, `-`).
pub fn identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= LONGEST_ID
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether a text can name an interface (kernel: `dev_valid_name`; and what a path or an error message would trip over).
///
/// # Errors
/// Why not.
pub fn interface_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > LONGEST_INTERFACE {
        return Err("an interface's name has 1 to 15 characters");
    }
    if text == "." || text == ".." || text.bytes().any(|b| b"/:".contains(&b) || !b.is_ascii_graphic()) {
        return Err("an interface's name has printable characters without /, : and spaces");
    }
    Ok(())
}

/// The Pod that `CNI_ARGS` names; `None` where it names none. Keys that we do not know are passed over.
fn pod(args: &str) -> Result<Option<PodReference>, Error> {
    if args.len() > LONGEST_ARGS {
        return Err(bad("CNI_ARGS", &format!("has {} bytes", args.len()), "8192 at most"));
    }
    let (mut namespace, mut name, mut uid) = (None, None, None);
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(bad("CNI_ARGS", &format!("has {:?}", shortened(pair)), "it is KEY=VALUE;KEY=VALUE"));
        };
        let (place, longest) = match key {
            "K8S_POD_NAMESPACE" => (&mut namespace, 63),
            "K8S_POD_NAME" => (&mut name, 253),
            "K8S_POD_UID" => (&mut uid, 128),
            _ => continue,
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        if value.is_empty() || value.len() > longest || !value.bytes().all(fits) || value.starts_with('.') {
            let why = "letters, digits, - and . only, and no more than Kubernetes allows";
            return Err(bad("CNI_ARGS", &format!("has {key}={:?}", shortened(value)), why));
        }
        if place.replace(value.to_owned()).is_some() {
            return Err(bad("CNI_ARGS", &format!("has {key} twice"), "it is one Pod's"));
        }
    }
    match (namespace, name) {
        (Some(namespace), Some(name)) => Ok(Some(PodReference { namespace, name, uid })),
        (None, None) => Ok(None),
        _ => Err(bad("CNI_ARGS", "names half a Pod", "K8S_POD_NAMESPACE and K8S_POD_NAME go together")),
    }
}

fn needed(get: Get<'_>, name: &str) -> Result<String, Error> {
    text(get, name)?
        .filter(|value| !value.is_empty())
        .ok_or_else(|| bad(name, "is not set", "the verb needs it"))
}

fn text(get: Get<'_>, name: &str) -> Result<Option<String>, Error> {
    match get(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) if value.contains('\0') => Err(bad(name, "has a NUL", "")),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(bad(name, "is not UTF-8", "")),
    }
}

fn bad(name: &str, found: &str, why: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("{name} {found}"), why)
}

/// What is shown of a text that may be long.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
