//! Builds the guest modules: core Wasm by cargo, made a component by `wit-component`.
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fmt::Write as _};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

use crate::step::{Step, say};
use crate::workspace::Workspace;

const TARGET: &str = "wasm32-unknown-unknown";
/// Profile of the workspace for guests: size first, a panic is a trap.
const PROFILE: &str = "module";

/// A component that was written to `target/modules`.
pub(crate) struct Module {
    path: PathBuf,
    bytes: usize,
    gzip: usize,
    sha256: String,
}

/// Builds every member of the workspace that has a cdylib target: only guests have one.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Module>> {
    let packages = workspace.packages()?;
    // package -> file name of the core module
    let guests: Vec<(&str, String)> = packages
        .iter()
        .filter_map(|p| {
            let library = p.targets.iter().find(|t| t.crate_types.iter().any(|c| c == "cdylib"))?;
            Some((p.name.as_str(), format!("{}.wasm", library.name.replace('-', "_"))))
        })
        .collect();
    ensure!(!guests.is_empty(), "no member of the workspace has a cdylib target");

    let rustc = rustc(workspace)?;
    // a folder of its own: the host's build beside it holds the lock of the other
    let target = workspace.target.join("guest");
    for (package, _) in &guests {
        compile(workspace, rustc.as_deref(), &target, package)?;
    }

    fs::create_dir_all(workspace.modules())?;
    let core = target.join(TARGET).join(PROFILE);
    guests.iter().map(|(package, file)| encode(&core.join(file), &workspace.modules(), package)).collect()
}

/// Compiles one guest. As a cdylib alone, whatever else the crate is: only then can it be optimised as a whole (LTO).
fn compile(workspace: &Workspace, rustc: Option<&Path>, target: &Path, package: &str) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args([
        "rustc",
        "--lib",
        "--crate-type",
        "cdylib",
        "--locked",
        "--profile",
        PROFILE,
        "--target",
        TARGET,
    ]);
    command.arg("--target-dir").arg(target).args(["--package", package]).current_dir(&workspace.root);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(workspace).join("\u{1f}"));
    // what the cargo that runs us has set is for its own toolchain
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    if let Some(rustc) = rustc {
        command.env("RUSTC", rustc);
    }
    let reason = format!("building the guest module {package} (~20 s the first time)");
    let step = Step { limit: Duration::from_secs(900), ..Step::new("modules", &reason) };
    step.run(workspace, command)?.ok(&format!("the build of the guest module {package}")).map(drop)
}

fn encode(core: &Path, folder: &Path, package: &str) -> Result<Module> {
    let bytes = fs::read(core).with_context(|| format!("cannot read {}", core.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|e| anyhow::anyhow!("{package} does not make a component: {e:#}"))?;
    let path = folder.join(format!("{package}.wasm"));
    // renamed into place: an operator or test that loads it meanwhile sees the old one or the new one
    let new = folder.join(format!("{package}.wasm.new"));
    File::create(&new)?.write_all(&component)?;
    fs::rename(&new, &path)?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&component)?;
    let gzip = gzip.finish()?.len();
    let mut sha256 = String::new();
    for byte in Sha256::digest(&component) {
        write!(sha256, "{byte:02x}")?;
    }
    Ok(Module { path, bytes: component.len(), gzip, sha256 })
}

/// The rustc that has the std of the target; `None`: the default one has.
fn rustc(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let mut command = Command::new("bash");
    command.arg(workspace.root.join("tests/lab/wasm/ensure-wasm.sh")).current_dir(&workspace.root);
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
    let done =
        Step::new("wasm", "looking for the std of wasm32-unknown-unknown (~20 s to set up the first time)")
            .run(workspace, command)?
            .ok("ensure-wasm.sh")?;
    match done.stdout.trim() {
        "" => Ok(None),
        path if Path::new(path).is_absolute() => Ok(Some(path.into())),
        other => bail!("ensure-wasm.sh printed {other:?} in place of a path"),
    }
}

/// A small stack (it is zeroed at each call of a fresh instance), and no path of this machine in panic messages:
/// the same sources make the same bytes wherever they lie.
fn flags(workspace: &Workspace) -> Vec<String> {
    let home = |name: &str, folder: &str| {
        env::var(name).ok().or_else(|| env::var("HOME").ok().map(|home| format!("{home}/{folder}")))
    };
    let mut flags = vec!["-Clink-arg=-zstack-size=65536".to_owned()];
    flags.push(format!("--remap-path-prefix={}=/isthmus", workspace.root.display()));
    flags.extend(home("CARGO_HOME", ".cargo").map(|path| format!("--remap-path-prefix={path}=/cargo")));
    flags
}

/// Tells what was built.
pub(crate) fn print(modules: &[Module]) {
    for m in modules {
        say(
            "modules",
            &format!("{}: {} bytes, {} gzipped, sha256:{}", m.path.display(), m.bytes, m.gzip, m.sha256),
        );
    }
}
