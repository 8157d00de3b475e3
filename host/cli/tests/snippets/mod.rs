//! The blocks of `docs/*.md` and of `../README.md`: those that tests run and read.
//!
//! A fenced block of commands says by its second word where it is run:
//! - `sh run` anywhere: it needs nothing but this clone;
//! - `sh lab` with a cluster and a cloud, after the blocks above it: on the lab, and those of the author's guide on `isthmus dev`;
//! - `sh real` on the lab alone, for what `isthmus dev` does not model;
//! - `sh by-hand WHY` nowhere.
//!
//! A third word `fails` says that its command is to fail. Each line of a block `console run` or `console lab` has to be printed by
//! one of them. Objects in blocks `yaml` are applied; of other `yaml` and of `json` each has a test of its own. There are no other blocks.
#![allow(dead_code, reason = "each test has its part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The clone.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Longest run of a page, seconds.
const LIMIT: &str = "900";

/// A page's text.
fn text(page: &str) -> String {
    let path = Path::new(ROOT).join("docs").join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Fence {
    /// Number of its first line in the page.
    pub(crate) at: usize,
    /// The words after its opening.
    pub(crate) info: Vec<String>,
    /// Without the indentation that a list gives it.
    pub(crate) lines: Vec<String>,
}

impl Fence {
    fn is(&self, what: &str, words: &[&str]) -> bool {
        matches!(self.info.as_slice(), [kind, word, ..] if kind == what && words.contains(&word.as_str()))
    }

    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The fenced blocks of a page.
pub(crate) fn fences(page: &str) -> Vec<Fence> {
    let (mut found, mut open): (Vec<Fence>, Option<(usize, Fence)>) = (Vec::new(), None);
    for (at, line) in text(page).lines().enumerate() {
        let bare = line.trim_start();
        match open.as_mut() {
            Some(_) if bare == "```" => found.extend(open.take().map(|(_, fence)| fence)),
            Some((indent, fence)) => fence.lines.push(line.get(*indent..).unwrap_or(bare).to_owned()),
            None => {
                open = bare.strip_prefix("```").map(|info| {
                    let info = info.split_whitespace().map(str::to_owned).collect();
                    (line.len() - bare.len(), Fence { at: at + 2, info, lines: Vec::new() })
                });
            }
        }
    }
    assert!(open.is_none(), "docs/{page}: a block is open at the end");
    found
}

/// The blocks of a page as one script. Each line stands where it stands in the page, so that what bash says of it is the page's
/// line; all others are empty but the first, which begins every script.
fn script(page: &str, words: &[&str]) -> String {
    let begin = "set -Eeuo pipefail; trap 'echo \"docs/${0##*/}:$LINENO: failed: $BASH_COMMAND\" >&2' ERR";
    let mut script = BTreeMap::from([(1, begin.to_owned())]);
    let mut put = |number: usize, line: &str| drop(script.insert(number, line.to_owned()));
    for fence in fences(page).iter().filter(|fence| fence.is("sh", words)) {
        let end = fence.at + fence.lines.len();
        if fence.info.get(2).is_some_and(|word| word == "fails") {
            put(fence.at - 1, "if (");
            put(end, ") >\"$0.said\" 2>&1; then echo 'this was to fail' >&2; false; fi; cat \"$0.said\"");
        }
        fence.lines.iter().enumerate().for_each(|(at, line)| put(fence.at + at, line));
    }
    (1..=text(page).lines().count()).map(|number| script.remove(&number).unwrap_or_default() + "\n").collect()
}

/// Runs the blocks of a page that have one of these words, in one shell that begins in an empty folder. `isthmus` is in its PATH;
/// ISTHMUS is the clone, MODULES the folder of the modules; `variables` are more of them. Nothing is downloaded.
///
/// # Errors
/// What was said, with the page's line that failed.
pub(crate) fn follow(
    page: &str,
    words: &[&str],
    isthmus: &Path,
    modules: &Path,
    variables: &[(&str, &str)],
) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.arg(LIMIT).envs(variables.iter().copied());
    followed(page, words, isthmus, modules, command)
}

/// Runs all blocks of a page that `isthmus dev` is enough for, in the shell that it opens.
///
/// # Errors
/// As of [`follow`].
pub(crate) fn follow_on_dev(page: &str, isthmus: &Path, modules: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(isthmus).args(["dev", "--empty", "--http", "127.0.0.1:0", "--folder"]);
    command.arg(folder.path()).arg("--modules").arg(modules).arg("--");
    followed(page, &["run", "lab"], isthmus, modules, command)
}

/// `command`: what the shell is started by.
fn followed(
    page: &str,
    words: &[&str],
    isthmus: &Path,
    modules: &Path,
    mut command: Command,
) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let name = page.rsplit('/').next().unwrap_or(page);
    let (bin, work, file) = (folder.path().join("bin"), folder.path().join("work"), folder.path().join(name));
    let made = [&bin, &work].iter().try_for_each(std::fs::create_dir);
    made.and_then(|()| std::os::unix::fs::symlink(isthmus, bin.join("isthmus")))
        .and_then(|()| std::fs::write(&file, script(page, words)))
        .map_err(|error| error.to_string())?;
    let before = std::env::var("PATH").unwrap_or_default();
    let root = Path::new(ROOT).canonicalize().map_err(|error| error.to_string())?;
    let done = command
        .arg("bash")
        .arg(&file)
        .current_dir(&work)
        .env("PATH", format!("{}:{before}", bin.display()))
        .envs([("ISTHMUS", &root), ("MODULES", &modules.to_owned()), ("CARGO_TARGET_DIR", &target())])
        .env("CARGO_NET_OFFLINE", "true")
        .output()
        .map_err(|error| error.to_string())?;
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let unseen = |line: &&String| !said.iter().any(|all| all.contains(line.as_str()));
    match (done.status.success(), shown(page, words).iter().find(unseen)) {
        (true, None) => Ok(()),
        (true, Some(line)) => {
            Err(format!("docs/{page} shows what was not printed: {line}\n{}", said.join("\n")))
        }
        (false, _) => Err(format!("docs/{page}: {}\n{}", done.status, said.join("\n"))),
    }
}

/// Where crates of modules are built: a folder of their own, so that the next one need not compile the SDK again; and not the
/// workspace's, which a test may hold.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs")
}

/// The lines that a page says are printed by its blocks of these words.
fn shown(page: &str, words: &[&str]) -> Vec<String> {
    fences(page)
        .into_iter()
        .filter(|fence| fence.is("console", words))
        .flat_map(|fence| fence.lines)
        .collect()
}

/// The whole objects of a page: its blocks `yaml` that begin with an apiVersion, each with the place where it begins.
pub(crate) fn objects(page: &str) -> Vec<(String, String)> {
    blocks(page, "yaml").into_iter().filter(|(_, block)| is_object(block)).collect()
}

/// The other blocks `yaml` of a page, and those `json`: parts of something.
pub(crate) fn parts(page: &str) -> Vec<(String, String)> {
    let all = ["yaml", "json"].into_iter().flat_map(|kind| blocks(page, kind));
    all.filter(|(_, block)| !is_object(block)).collect()
}

fn is_object(block: &str) -> bool {
    block.starts_with("apiVersion:")
}

fn blocks(page: &str, kind: &str) -> Vec<(String, String)> {
    let of_kind = fences(page).into_iter().filter(|fence| fence.info == [kind]);
    of_kind.map(|fence| (format!("docs/{page}:{}", fence.at), fence.text())).collect()
}

/// The folder of the modules that `cargo xtask plugins` has built.
pub(crate) fn modules() -> PathBuf {
    let ours = || Path::new(ROOT).join("target/modules");
    std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, PathBuf::from)
}
