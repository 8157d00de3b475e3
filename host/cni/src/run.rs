//! One call of the plugin.

use std::ffi::OsString;
use std::time::Instant;

use serde_json::{Value, json};

use crate::client;
use crate::config::NetworkConfig;
use crate::error::{Code, Error};
use crate::input::{Environment, Verb};
use crate::protocol::{Add, Answer, Ask, Attached, Del};
use crate::result::Interface;
use crate::version::Version;

/// What is to be printed; nothing for most verbs. `Err`: an error to be printed, and a failure to be reported.
pub type Output = Result<Option<Value>, Value>;

/// Serves one call: the environment by `get`, the network configuration by `read`, which is called for every verb that the
/// environment allows.
pub fn run(get: &dyn Fn(&str) -> Option<OsString>, read: impl FnOnce() -> Result<Vec<u8>, Error>) -> Output {
    let started = Instant::now();
    let newest = Version::V1_1_0.as_str();
    let environment = Environment::read(get).map_err(|e| e.to_json(newest))?;
    let input = read().map_err(|e| e.to_json(newest))?;
    if environment.verb == Verb::Version {
        return versions(&input).map(Some).map_err(|e| e.to_json(newest));
    }
    let config = NetworkConfig::parse(&input, environment.verb).map_err(|e| e.to_json(newest))?;
    let version = config.version;
    serve(environment, config, started).map_err(|e| e.to_json(version.as_str()))
}

/// VERSION: an answer in the version of the question, where it has one that we speak.
fn versions(input: &[u8]) -> Result<Value, Error> {
    let asked: Value = if input.iter().all(u8::is_ascii_whitespace) {
        Value::Null
    } else {
        serde_json::from_slice(input)
            .map_err(|e| Error::new(Code::Decoding, "standard input cannot be read", e.to_string()))?
    };
    let asked = asked.get("cniVersion").and_then(Value::as_str).and_then(|v| Version::parse(v).ok());
    let version = asked.unwrap_or(Version::V1_1_0).as_str();
    Ok(json!({"cniVersion": version, "supportedVersions": Version::ALL.map(Version::as_str)}))
}

fn serve(environment: Environment, config: NetworkConfig, started: Instant) -> Result<Option<Value>, Error> {
    since(&environment, &config)?;
    let deadline = started + config.timeout;
    let ask = question(environment, &config)?;
    match client::ask(&config.socket, ask, deadline)? {
        Answer::Added(mut result) => {
            result.dns = config.dns;
            let result = match config.prev_result {
                Some(before) => result.after(before),
                None => *result,
            };
            Ok(Some(result.to_json(config.version)))
        }
        Answer::Done => Ok(None),
        Answer::Failed(error) => Err(error),
    }
}

/// Verbs came with versions.
fn since(environment: &Environment, config: &NetworkConfig) -> Result<(), Error> {
    let needed = match environment.verb {
        Verb::Check => Version::V0_4_0,
        Verb::Status | Verb::Gc => Version::V1_1_0,
        Verb::Add | Verb::Del | Verb::Version => Version::V0_3_1,
    };
    if config.version >= needed {
        return Ok(());
    }
    let verb = format!("{:?}", environment.verb).to_uppercase();
    let what = format!("cniVersion {} has no {verb}", config.version.as_str());
    Err(Error::new(Code::IncompatibleVersion, what, format!("it came with {}", needed.as_str())))
}

fn question(environment: Environment, config: &NetworkConfig) -> Result<Ask, Error> {
    let Environment { verb, container, interface, netns, pod } = environment;
    let attached = Attached { container, interface };
    let add = |attached| {
        let why = "K8S_POD_NAMESPACE and K8S_POD_NAME say whose interface it is; a kubelet sets them";
        let pod = pod.ok_or_else(|| Error::new(Code::InvalidEnvironment, "CNI_ARGS names no Pod", why))?;
        Ok(Add { attached, netns: netns.clone().unwrap_or_default(), network: config.name.clone(), pod })
    };
    Ok(match verb {
        Verb::Add => Ask::Add(add(attached)?),
        Verb::Del => Ask::Del(Del { attached, netns: netns.clone() }),
        Verb::Check => {
            let what = "the network configuration of CHECK has no prevResult";
            let before = config.prev_result.as_ref();
            let before =
                before.ok_or_else(|| Error::new(Code::InvalidConfig, what, "it is what ADD printed"))?;
            let addresses = before.ips.iter().map(|ip| ip.address.clone()).collect();
            let ours = |i: &&Interface| i.name == attached.interface && i.sandbox.is_some();
            let mac = before.interfaces.iter().find(ours).and_then(|i| i.mac.clone());
            Ask::Check { add: add(attached)?, addresses, mac }
        }
        Verb::Gc => {
            let what = "the network configuration of GC has no cni.dev/valid-attachments";
            let valid = config.valid.clone();
            // Absent is not empty: empty means that everything goes.
            let valid = valid.ok_or_else(|| Error::new(Code::InvalidConfig, what, "an empty list is one"))?;
            Ask::Gc { network: config.name.clone(), valid }
        }
        Verb::Status | Verb::Version => Ask::Status,
    })
}
