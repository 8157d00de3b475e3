//! Logs, to standard error.

use std::env::VarError;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::global::LogFormat;

const VARIABLE: &str = "ISTHMUS_LOG";
/// The targets of our own crates.
const OURS: [&str; 7] = [
    "isthmus",
    "isthmus_cli",
    "isthmus_operator",
    "isthmus_node",
    "isthmus_kubernetes",
    "isthmus_openstack",
    "isthmus_policy",
];

/// Begins to log: what ISTHMUS_LOG says, else warnings of all, and more of our own crates.
///
/// # Errors
/// ISTHMUS_LOG is wrong: who sets it looks for something, and would wait for it in vain.
pub fn start(format: LogFormat) -> anyhow::Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => filter(&text)?,
        Ok(_) | Err(VarError::NotPresent) => default(),
        Err(VarError::NotUnicode(text)) => bail!("{VARIABLE}={} is not UTF-8", text.display()),
    };
    subscriber(format, filter, std::io::stderr).init();
    Ok(())
}

/// Says why a program ends.
#[allow(clippy::print_stderr, reason = "the one place where a command says why it failed")]
pub fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("isthmus: {error:#}");
    ExitCode::FAILURE
}

fn subscriber<W>(format: LogFormat, filter: EnvFilter, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(std::io::stderr().is_terminal()).finish()),
        LogFormat::Json => Box::new(builder.json().finish()),
    }
}

fn default() -> EnvFilter {
    EnvFilter::new(OURS.iter().fold("warn".to_owned(), |all, target| format!("{all},{target}=info")))
}

/// The filter that this text is.
fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    // A filter by span has commas and equal signs of its own; of it only the syntax is checked.
    if !text.contains('[') {
        text.split(',').try_for_each(|directive| check(directive.trim()))?;
    }
    EnvFilter::try_new(text).with_context(|| wrong(text))
}

/// What is well-formed, and yet says nothing: a word that is no level is taken for a target, and no target is unknown.
fn check(directive: &str) -> anyhow::Result<()> {
    let target = match directive.split_once('=') {
        Some((target, _)) => target,
        None if directive.parse::<LevelFilter>().is_ok() => return Ok(()),
        None => bail!("{}: it is no level", wrong(directive)),
    };
    let root = target.split("::").next().unwrap_or_default();
    ensure!(
        !root.starts_with("isthmus") || OURS.contains(&root),
        "{}: our own targets are {}",
        wrong(directive),
        OURS.join(", ")
    );
    Ok(())
}

fn wrong(text: &str) -> String {
    format!(
        "{VARIABLE} has {text:?}; expected are LEVEL or TARGET=LEVEL, with commas between, where LEVEL is off, error, warn, info, debug or trace"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn json_is_an_object_a_line() {
        let mut file = tempfile::tempfile().unwrap();
        let logs = subscriber(LogFormat::Json, EnvFilter::new("info"), file.try_clone().unwrap());
        tracing::subscriber::with_default(logs, || {
            tracing::warn!(request_id = "req-1", "refused");
            tracing::debug!("not asked for");
        });
        file.seek(SeekFrom::Start(0)).unwrap();
        let lines: Vec<serde_json::Value> =
            serde_json::Deserializer::from_reader(file).into_iter().collect::<Result<_, _>>().unwrap();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["fields"]["request_id"], "req-1");
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
    }

    #[test]
    fn a_typo_is_an_error_that_names_it() {
        for text in
            ["info", "DEBUG", "warn,isthmus_operator=debug", "isthmus_policy::module=trace,kube=info", "off"]
        {
            assert!(filter(text).is_ok(), "{text}");
        }
        let table = [
            ("inof", "\"inof\""),
            ("info,isthmus_operator=debgu", "debgu"),
            ("isthmus_opertor=debug", "isthmus_operator"),
            ("isthmus_operator", "it is no level"),
            ("info debug", "it is no level"),
        ];
        for (text, part) in table {
            let error = format!("{:#}", filter(text).unwrap_err());
            assert!(error.contains(VARIABLE) && error.contains(part), "{error}");
        }
        assert!(default().to_string().contains("isthmus_policy=info"));
    }
}
