//! The blocks of `docs/*.md` that tests run and read.
//!
//! A fenced block whose first words are `sh run` needs nothing but this clone; one of `sh lab` needs the lab, and follows the blocks
//! above it. A third word `fails` says that its command is to fail. Each line of a block `console run` or `console lab` has to be printed by
//! one of them. Objects in blocks `yaml` are applied. Other blocks are for readers alone.
#![allow(dead_code, reason = "each test has its part of it")]

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

/// The blocks of a page as one script. Each line stands where it stands in the page, so that what bash says of it is the page's
/// line; all others are empty but the first, which begins every script.
fn script(page: &str, words: &[&str]) -> String {
    let begin = "set -Eeuo pipefail; trap 'echo \"docs/${0##*/}:$LINENO: failed: $BASH_COMMAND\" >&2' ERR";
    let (mut script, mut end) = (String::new(), None);
    for (at, line) in text(page).lines().enumerate() {
        let info: Vec<&str> = line.strip_prefix("```").unwrap_or_default().split_whitespace().collect();
        let out = match (end, info.as_slice()) {
            (Some(close), _) if line == "```" => {
                end = None;
                close
            }
            (Some(_), _) => line,
            (None, ["sh", word, more @ ..]) if words.contains(word) => {
                let fails = more.contains(&"fails");
                end = Some(if fails {
                    ") >\"$0.said\" 2>&1; then echo 'this was to fail' >&2; false; fi; cat \"$0.said\""
                } else {
                    ""
                });
                if fails { "if (" } else { "" }
            }
            _ => "",
        };
        script += if at == 0 { begin } else { out };
        script.push('\n');
    }
    script
}

/// Runs the blocks of a page that have one of these words, in one shell that begins in an empty folder. `isthmus` is in its PATH;
/// ISTHMUS is the clone, MODULES the folder of the modules. Nothing is downloaded.
///
/// # Errors
/// What was said, with the page's line that failed.
pub(crate) fn follow(page: &str, words: &[&str], isthmus: &Path, modules: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (bin, work, file) = (folder.path().join("bin"), folder.path().join("work"), folder.path().join(page));
    let made = [&bin, &work].iter().try_for_each(std::fs::create_dir);
    made.and_then(|()| std::os::unix::fs::symlink(isthmus, bin.join("isthmus")))
        .and_then(|()| std::fs::write(&file, script(page, words)))
        .map_err(|error| error.to_string())?;
    let before = std::env::var("PATH").unwrap_or_default();
    // Of its own, so that the next run need not compile the SDK again; and not the workspace's, which a test may hold.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs");
    let root = Path::new(ROOT).canonicalize().map_err(|error| error.to_string())?;
    let done = Command::new("timeout")
        .args([LIMIT, "bash"])
        .arg(&file)
        .current_dir(&work)
        .env("PATH", format!("{}:{before}", bin.display()))
        .envs([("ISTHMUS", &root), ("MODULES", &modules.to_owned()), ("CARGO_TARGET_DIR", &target)])
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

/// The lines that a page says are printed by its blocks of these words.
fn shown(page: &str, words: &[&str]) -> Vec<String> {
    let (mut lines, mut open) = (Vec::new(), false);
    for line in text(page).lines() {
        match line.strip_prefix("```") {
            Some(info) => open = !open && words.iter().any(|word| info == format!("console {word}")),
            None if open => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// The whole objects of a page: its blocks `yaml` that begin with an apiVersion, each with the place where it begins.
pub(crate) fn objects(page: &str) -> Vec<(String, String)> {
    blocks(page).into_iter().filter(|(_, block)| block.starts_with("apiVersion:")).collect()
}

/// The other blocks `yaml` of a page: parts of something.
pub(crate) fn parts(page: &str) -> Vec<(String, String)> {
    blocks(page).into_iter().filter(|(_, block)| !block.starts_with("apiVersion:")).collect()
}

fn blocks(page: &str) -> Vec<(String, String)> {
    let (mut found, mut open): (Vec<(String, String)>, Option<String>) = (Vec::new(), None);
    for (at, line) in text(page).lines().enumerate() {
        match open.as_mut() {
            Some(_) if line == "```" => {
                let block = open.take().unwrap_or_default();
                found.push((format!("docs/{page}:{}", at + 1 - block.lines().count()), block));
            }
            Some(block) => *block += &format!("{line}\n"),
            None if line == "```yaml" => open = Some(String::new()),
            None => {}
        }
    }
    found
}

/// The folder of the modules that `cargo xtask plugins` has built.
pub(crate) fn modules() -> PathBuf {
    let ours = || Path::new(ROOT).join("target/modules");
    std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, PathBuf::from)
}
