//! `isthmus module build`: a crate of a module to a component.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use isthmus_cli::global::Output;
use serde::Deserialize;
use wit_component::ComponentEncoder;

use crate::args::{BuildArgs, CheckArgs};
use crate::module;

const TARGET: &str = "wasm32-unknown-unknown";

/// As far as it is read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

pub(crate) fn build(args: &BuildArgs, output: Output) -> anyhow::Result<()> {
    let manifest = args.dir.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} is no crate: there is no Cargo.toml", args.dir.display());
    let manifest = manifest.canonicalize().with_context(|| format!("reading {}", manifest.display()))?;
    let metadata = metadata(&manifest)?;
    let package = metadata.packages.iter().find(|p| p.manifest_path == manifest);
    let name = &package.context("cargo does not know this crate")?.name;
    compile(&manifest)?;
    let file = format!("{}.wasm", name.replace('-', "_"));
    let core = metadata.target_directory.join(TARGET).join("release").join(file);
    let bytes = std::fs::read(&core).with_context(|| format!("reading {}", core.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| anyhow::anyhow!("{name} makes no component: {error:#}"))?;
    let out = args.out.clone().unwrap_or_else(|| args.dir.join(format!("{name}.wasm")));
    std::fs::write(&out, component).with_context(|| format!("writing {}", out.display()))?;
    module::check(&CheckArgs { file: out }, output)
}

fn metadata(manifest: &Path) -> anyhow::Result<Metadata> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"]).arg(manifest);
    let done = cargo.output().context("running cargo: is Rust installed?")?;
    ensure!(done.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&done.stderr).trim());
    serde_json::from_slice(&done.stdout).context("reading what cargo metadata says")
}

/// With a small stack: it is zeroed at each call of a fresh instance. What cargo says goes where it goes.
fn compile(manifest: &Path) -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "rustc",
        "--lib",
        "--crate-type",
        "cdylib",
        "--release",
        "--target",
        TARGET,
        "--manifest-path",
    ]);
    cargo.arg(manifest).env("CARGO_ENCODED_RUSTFLAGS", "-Clink-arg=-zstack-size=65536");
    let status = cargo.status().context("running cargo: is Rust installed?")?;
    if !status.success() {
        bail!(
            "cargo could not build it. Where it lacks the crate `core` or `std`: rustup target add {TARGET}, or RUSTC=... for a rustc that has it"
        );
    }
    Ok(())
}
