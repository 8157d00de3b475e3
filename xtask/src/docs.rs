//! `cargo xtask docs`: the contract of `wit/` as a page for people, `docs/contract.md`.
//!
//! It reads the little of WIT that these files use, a line at a time. What it does not understand is an error with its place: nothing
//! is left out in silence. What has no documentation is an error too: the contract says of each field what becomes of it.
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::step::say;
use crate::workspace::Workspace;

/// In the order in which a reader needs them.
const FILES: [&str; 6] =
    ["worlds.wit", "types.wit", "values.wit", "networking.wit", "load-balancing.wit", "host.wit"];

/// Writes the page.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let page = workspace.root.join("docs/contract.md");
    fs::write(&page, contract(&workspace.root.join("wit"))?)
        .with_context(|| format!("writing {}", page.display()))?;
    say("docs", "docs/contract.md is written");
    Ok(())
}

/// The page, from the files of this folder.
fn contract(folder: &Path) -> Result<String> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name();
        ensure!(
            FILES.iter().any(|file| name == *file),
            "{} is not on the page: add it to FILES",
            name.display()
        );
    }
    let mut parsed = Parsed::default();
    for file in FILES {
        let path = folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        for (at, line) in text.lines().enumerate() {
            parsed.line(line.trim()).with_context(|| format!("{file}:{}: {line}", at + 1))?;
        }
        ensure!(parsed.open.is_none() && parsed.item.is_none(), "{file}: a brace is open at its end");
    }
    Ok(parsed.page())
}

/// A field, a case or a function.
struct Row {
    name: String,
    of: String,
    docs: Vec<String>,
}

/// A record, a variant or an enum.
struct Item {
    /// As `record port`.
    kind: String,
    name: String,
    docs: Vec<String>,
    rows: Vec<Row>,
}

/// An interface or a world.
struct Section {
    kind: String,
    name: String,
    docs: Vec<String>,
    functions: Vec<Row>,
    items: Vec<Item>,
}

#[derive(Default)]
struct Parsed {
    package: String,
    about: Vec<String>,
    sections: Vec<Section>,
    /// Documentation of what comes next.
    docs: Vec<String>,
    open: Option<Section>,
    item: Option<Item>,
}

impl Parsed {
    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(text) = line.strip_prefix("///") {
            self.docs.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
            return Ok(());
        }
        match line {
            "" => Ok(()),
            "}" => self.close(),
            _ if self.item.is_some() => self.row(line),
            _ if self.open.is_some() => self.inside(line),
            _ => self.top(line),
        }
    }

    /// The documentation of what is just read.
    fn docs(&mut self) -> Result<Vec<String>> {
        ensure!(!self.docs.is_empty(), "it has no documentation");
        Ok(std::mem::take(&mut self.docs))
    }

    fn close(&mut self) -> Result<()> {
        if let Some(item) = self.item.take() {
            self.open.as_mut().context("an item is in an interface")?.items.push(item);
        } else {
            self.sections.push(self.open.take().context("nothing is open")?);
        }
        Ok(())
    }

    /// A package, an interface or a world.
    fn top(&mut self, line: &str) -> Result<()> {
        if let Some(package) = line.strip_prefix("package ") {
            self.package = package.trim_end_matches(';').to_owned();
            self.about = self.docs()?;
            return Ok(());
        }
        let (kind, name) = opened(line).context("expected a package, an interface or a world")?;
        let (docs, functions, items) = (self.docs()?, Vec::new(), Vec::new());
        self.open = Some(Section { kind, name, docs, functions, items });
        Ok(())
    }

    /// What is in an interface or a world.
    fn inside(&mut self, line: &str) -> Result<()> {
        if line.starts_with("use ") {
            return Ok(());
        }
        let docs = self.docs()?;
        if let Some((kind, name)) = opened(line) {
            self.item = Some(Item { kind, name, docs, rows: Vec::new() });
            return Ok(());
        }
        let line = line.strip_suffix(';').context("expected `{` or `;` at the end of the line")?;
        let row = match (
            line.strip_prefix("import "),
            line.strip_prefix("export ").unwrap_or(line).split_once(": "),
        ) {
            (Some(import), _) => Row { name: plain(import), of: "import".into(), docs },
            (None, Some((name, of))) => Row { name: plain(name), of: of.into(), docs },
            (None, None) => bail!("expected a function"),
        };
        self.open.as_mut().context("it is in an interface")?.functions.push(row);
        Ok(())
    }

    /// A field or a case.
    fn row(&mut self, line: &str) -> Result<()> {
        let docs = self.docs()?;
        let item = self.item.as_mut().context("it is in an item")?;
        let line = line.trim_end_matches(',');
        let (name, of) = match item.kind.as_str() {
            "record" => line.split_once(": ").context("expected a field and its type")?,
            _ => line.strip_suffix(')').and_then(|line| line.split_once('(')).unwrap_or((line, "")),
        };
        item.rows.push(Row { name: plain(name), of: of.into(), docs });
        Ok(())
    }

    fn page(&self) -> String {
        let mut page = format!(
            "# The contract\n\
             What modules and host say to each other: the package `{}`. Made by `cargo xtask docs` from `wit/`; it is changed there. How\n\
             to write a module is in [the author's guide](module-author.md).\n\n{}\n",
            self.package,
            prose(&self.about, "##")
        );
        for section in &self.sections {
            page += &format!("\n## {} `{}`\n", capital(&section.kind), section.name);
            page += &prose(&section.docs, "####");
            page += &table("function", &section.functions);
            for item in &section.items {
                page += &format!("\n### {} `{}`\n", item.kind, item.name);
                page += &prose(&item.docs, "#####");
                page += &table(if item.kind == "record" { "field" } else { "case" }, &item.rows);
            }
        }
        page
    }
}

/// Kind and name of `KIND NAME {`.
fn opened(line: &str) -> Option<(String, String)> {
    let (kind, name) = line.strip_suffix('{')?.trim().split_once(' ')?;
    ["interface", "world", "record", "variant", "enum"]
        .contains(&kind)
        .then(|| (kind.to_owned(), plain(name)))
}

/// A name without the `%` in front of those that are words of WIT.
fn plain(name: &str) -> String {
    name.trim().trim_start_matches('%').to_owned()
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Documentation as it is, with its headings at this level.
fn prose(docs: &[String], heading: &str) -> String {
    let line = |line: &String| match line.strip_prefix("# ") {
        Some(title) => format!("{heading} {title}\n"),
        None => format!("{line}\n"),
    };
    docs.iter().map(line).collect()
}

fn table(what: &str, rows: &[Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let typed = rows.iter().any(|row| !row.of.is_empty());
    let (head, line) = if typed { (" type |", "---|") } else { ("", "") };
    let mut text = format!("\n| {what} |{head} |\n|---|{line}---|\n");
    for Row { name, of, docs } in rows {
        let of = match (typed, of.is_empty()) {
            (false, _) => String::new(),
            (true, true) => " |".to_owned(),
            (true, false) => format!(" `{of}` |"),
        };
        text += &format!("| `{name}` |{of} {} |\n", docs.join(" ").replace('|', "\\|"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Result<()> {
        let mut parsed = Parsed::default();
        lines.iter().try_for_each(|line| parsed.line(line))
    }

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn the_page_of_the_contract_is_current() {
        let page = fs::read_to_string(root().join("docs/contract.md")).unwrap_or_default();
        let made = contract(&root().join("wit")).unwrap();
        assert!(page == made, "docs/contract.md is not what wit/ says: run `cargo xtask docs`");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(parse(&["/// A.", "interface a {", "/// B.", "record b {", "/// C.", "c: u8,"]).is_ok());
        for line in ["type a = string;", "}", "record a {}x"] {
            assert!(parse(&["/// A.", line]).is_err(), "{line}");
        }
        for line in ["type b = string;", "resource c {", "enum d { e, f }"] {
            assert!(parse(&["/// A.", "interface a {", "/// B.", line]).is_err(), "{line}");
        }
    }

    #[test]
    fn what_has_no_documentation_is_an_error() {
        let whole = [
            "/// A.",
            "interface a {",
            "/// B.",
            "b: func() -> bool;",
            "/// C.",
            "record c {",
            "/// D.",
            "d: u8,",
            "}",
            "/// E.",
            "enum e {",
            "/// F.",
            "f,",
        ];
        assert!(parse(&whole).is_ok());
        for at in (0..whole.len()).filter(|at| whole[*at].starts_with("///")) {
            let mut without = whole.to_vec();
            without.remove(at);
            let told = parse(&without).unwrap_err().to_string();
            assert!(told.contains("no documentation"), "{at}: {told}");
        }
    }
}
