//! Printing results.

use std::io::Write;

use anyhow::Context;
use isthmus_cli::global::Output;
use serde::Serialize;

/// Prints a value, or for people what `table` makes of it.
pub(crate) fn print<T: Serialize>(
    value: &T,
    output: Output,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match output {
        Output::Json => serde_json::to_string_pretty(value).context("as JSON")? + "\n",
        Output::Yaml => yaml(value)?,
        Output::Table => table(value),
    };
    text_out(&text)
}

/// `v1 List`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [T],
}

/// Prints objects of Kubernetes: as a List, or for people as one YAML document after the other. All of it is for
/// `kubectl apply -f -`.
pub(crate) fn objects<T: Serialize>(objects: &[T], output: Output) -> anyhow::Result<()> {
    let documents =
        objects.iter().map(|o| Ok(format!("---\n{}", yaml(o)?))).collect::<anyhow::Result<String>>()?;
    let list = List { api_version: "v1", kind: "List", items: objects };
    print(&list, output, |_| documents)
}

fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value).context("as YAML")?;
    // After some values it has none, and the next document would begin in the last line of this one.
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Writes to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn text_out(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}

/// Columns of text, as wide as they need to be.
pub(crate) fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        rows.iter().filter_map(|r| r.get(at)).map(String::len).chain(head.get(at).map(|h| h.len())).max()
    };
    let widths: Vec<usize> = (0..head.len()).map(|at| width(at).unwrap_or_default()).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(head.to_vec());
    rows.iter().for_each(|row| text += &line(row.iter().map(String::as_str).collect()));
    text
}
