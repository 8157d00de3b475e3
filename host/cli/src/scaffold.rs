//! `isthmus module new`: a crate that builds, tests and loads as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use isthmus_cli::global::Output;
use isthmus_model::object::Gvk;
use isthmus_model::text::is_dns_label;
use isthmus_policy::withheld;
use serde::Serialize;

use crate::args::NewArgs;
use crate::module::LONGEST_NAME;
use crate::output::print;

/// Files of the crate and their templates, in which `@NAME@` and the like stand for what was asked for.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../templates/module/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../templates/module/lib.rs.in")),
    ("tests/map.rs", include_str!("../templates/module/map.rs.in")),
    ("example.yaml", include_str!("../templates/module/example.yaml.in")),
    ("README.md", include_str!("../templates/module/README.md.in")),
];

/// Keywords of Rust, and crates that a module's own would stand in the place of.
const RESERVED: [&str; 53] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "isthmus-sdk",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "use",
];

#[derive(Serialize)]
struct Made<'a> {
    folder: &'a Path,
    files: Vec<PathBuf>,
}

pub(crate) fn new(args: &NewArgs, output: Output) -> anyhow::Result<()> {
    let name = args.name.as_str();
    ensure!(
        is_dns_label(name)
            && name.len() <= LONGEST_NAME
            && name.starts_with(|c: char| c.is_ascii_lowercase()),
        "{name:?} is no name of a module: expected at most {LONGEST_NAME} of a-z, 0-9 and -, a letter first"
    );
    ensure!(
        !RESERVED.contains(&name),
        "{name:?} can't be the name of a crate: Rust, or the crate itself, uses it"
    );
    let kind = gvk(&args.kind)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    ensure!(!folder.exists(), "{} is there already", folder.display());
    let sdk = sdk(args.sdk.as_deref())?;
    let mut files = Vec::new();
    for (file, template) in FILES {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        std::fs::write(&path, filled(template, name, &kind, &sdk))
            .with_context(|| format!("writing {}", path.display()))?;
        files.push(path);
    }
    // The versions that the SDK is tested with; cargo drops what is not needed.
    let lock = sdk.join("../../Cargo.lock");
    if lock.is_file() {
        std::fs::copy(&lock, folder.join("Cargo.lock")).context("copying Cargo.lock")?;
    }
    let made = Made { folder: &folder, files };
    print(&made, output, |made| {
        let folder = made.folder.display();
        format!(
            "{folder}: a module for {kind}; {folder}/README.md says how to go on (cd {folder}; cargo test)\n"
        )
    })
}

/// `GROUP/VERSION/KIND`, or `VERSION/KIND` of the core group.
fn gvk(text: &str) -> anyhow::Result<Gvk> {
    let parts: Vec<&str> = text.split('/').collect();
    let (group, version, kind) = match parts.as_slice() {
        [version, kind] => ("", *version, *kind),
        [group, version, kind] => (*group, *version, *kind),
        _ => bail!("--kind {text:?}: expected GROUP/VERSION/KIND, as apps/v1/Deployment, or v1/Pod"),
    };
    let camel =
        kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.chars().all(|c| c.is_ascii_alphanumeric());
    let plain =
        |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c));
    let is_version =
        version.starts_with('v') && version.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ensure!(
        camel && is_version && plain(group),
        "--kind {text:?}: expected GROUP/VERSION/KIND, as apps/v1/Deployment, or v1/Pod"
    );
    let kind = Gvk::new(group, version, kind);
    match withheld(&kind) {
        Some(why) => bail!("--kind {text:?}: no module is given {kind}: {why}"),
        None => Ok(kind),
    }
}

/// The SDK's folder: what was said, else the nearest one above this folder.
fn sdk(said: Option<&Path>) -> anyhow::Result<PathBuf> {
    let is_sdk = |folder: &Path| folder.join("Cargo.toml").is_file() && folder.join("src/lib.rs").is_file();
    if let Some(said) = said {
        ensure!(is_sdk(said), "--sdk {}: there is no crate", said.display());
        return said.canonicalize().with_context(|| format!("reading {}", said.display()));
    }
    let here = std::env::current_dir().context("reading the working folder")?;
    let found = here.ancestors().map(|folder| folder.join("plugins/sdk")).find(|folder| is_sdk(folder));
    found.context("the SDK is not above this folder: clone Isthmus, and name its plugins/sdk with --sdk")
}

fn filled(template: &str, name: &str, kind: &Gvk, sdk: &Path) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    let gvk = match &*kind.group {
        "" if &*kind.version == "v1" => format!("Kind::core({:?})", kind.kind),
        group => format!("Kind::new({group:?}, {:?}, {:?})", kind.version, kind.kind),
    };
    // What the crate itself calls so is something else: a `Port` is the resource.
    let type_name: String = name.split('-').map(upper).collect();
    let words = || FILES.iter().flat_map(|(_, text)| text.split(|c: char| !c.is_ascii_alphanumeric()));
    let is_taken = type_name == "Kind" || words().any(|word| word == type_name);
    let type_name = if is_taken { format!("{type_name}Module") } else { type_name };
    // A TOML string: the path may hold anything.
    let sdk = serde_json::Value::from(sdk.display().to_string()).to_string();
    [
        ("@NAME@", name),
        ("@CRATE@", &name.replace('-', "_")),
        ("@TYPE@", &type_name),
        ("@KIND@", &kind.kind),
        ("@API@", &kind.api_version()),
        ("@GVK@", &gvk),
        ("@KEY@", "default/example"),
        ("@SDK@", &sdk),
    ]
    .iter()
    .fold(template.to_owned(), |text, (mark, value)| text.replace(mark, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_kubernetes_writes_them() {
        assert_eq!(gvk("v1/Pod").unwrap(), Gvk::new("", "v1", "Pod"));
        assert_eq!(gvk("apps/v1/Deployment").unwrap(), Gvk::new("apps", "v1", "Deployment"));
        let odd = [
            "Pod",
            "apps/v1/deployment",
            "apps/1/Deployment",
            "a/b/c/D",
            "Apps/v1/Deployment",
            "a/v1.2/D",
            "",
        ];
        for wrong in odd {
            let error = gvk(wrong).unwrap_err().to_string();
            assert!(error.contains("expected GROUP/VERSION/KIND"), "{wrong}: {error}");
        }
    }

    /// A crate for them would build, and not load.
    #[test]
    fn kinds_that_no_module_is_given_are_refused_with_the_reason() {
        for (kind, why) in
            [("v1/Secret", "granted by name"), ("isthmus.dev/v1alpha1/CloudMapping", "the host writes it")]
        {
            let error = gvk(kind).unwrap_err().to_string();
            assert!(error.contains(why), "{kind}: {error}");
        }
    }

    #[test]
    fn nothing_of_a_template_is_left_open() {
        let kind = Gvk::new("example.com", "v1", "Widget");
        for (file, template) in FILES {
            let text = filled(template, "my-widget", &kind, Path::new("/sdk"));
            assert!(!text.contains('@') || file == "README.md", "{file}: {text}");
        }
        let lib = filled(FILES.map(|(_, text)| text)[1], "my-widget", &kind, Path::new("/sdk"));
        assert!(
            lib.contains("pub struct MyWidget;")
                && lib.contains(r#"Kind::new("example.com", "v1", "Widget")"#)
        );
    }
}
