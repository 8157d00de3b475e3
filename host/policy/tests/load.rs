//! What is no module is refused, with what was found and what is expected.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::io::Write;

use common::{component, engine};
use isthmus_policy::{Engine, EngineOptions, LoadError, MAX_COMPONENT_BYTES};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// A component of a world of this WIT text, whose functions all trap.
fn dummy(package: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let id = resolve.push_str("test.wit", package).unwrap();
    let world = resolve.select_world(&[id], Some(world)).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn refused(bytes: &[u8]) -> (&'static str, String) {
    let error = engine().load(bytes, None).unwrap_err();
    (error.reason(), error.to_string())
}

#[test]
fn unpacking_is_the_engines_own() {
    let bytes = component("pod-port");
    let two = [gzip(&bytes[..1000]), gzip(&bytes[1000..])].concat();
    for packed in [bytes.clone(), gzip(&bytes), two] {
        assert_eq!(isthmus_policy::unpack(&packed).unwrap(), bytes);
        assert!(engine().load(&packed, None).is_ok());
    }
    for huge in [vec![0; MAX_COMPONENT_BYTES + 1], gzip(&vec![0; MAX_COMPONENT_BYTES + 1])] {
        assert_eq!(isthmus_policy::unpack(&huge).unwrap_err().reason(), "ModuleTooLarge");
    }
    assert_eq!(isthmus_policy::unpack(&gzip(&bytes)[..100]).unwrap_err().reason(), "NotAComponent");
}

#[test]
fn errors_are_short_whatever_a_component_exports() {
    let many = (0..1000).map(|n| format!("export f{n}-{}: func();", "x".repeat(200))).collect::<String>();
    let (reason, text) = refused(&dummy(&format!("package a:b; world w {{ {many} }}"), "w"));
    assert_eq!(reason, "WrongWorld");
    assert!(text.contains("(990 more)") && text.len() < 2000, "{} bytes", text.len());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn raw_and_gzip_are_the_same_module() {
    let bytes = component("pod-port");
    let raw = engine().load(&bytes, None).unwrap();
    let digest = raw.digest().to_uppercase();
    let packed = engine().load(&gzip(&bytes), Some(&digest)).unwrap();
    assert_eq!(raw.digest(), packed.digest());
}

#[test]
fn the_digest_is_checked() {
    let (found, expected) = match engine().load(&component("pod-port"), Some("00")).unwrap_err() {
        LoadError::Digest { found, expected } => (found, expected),
        other => panic!("{other}"),
    };
    assert_eq!((found.len(), &*expected), (64, "00"));
}

#[test]
fn what_is_no_component_is_named() {
    let core = b"\0asm\x01\0\0\0";
    assert_eq!(refused(core).0, "NotAComponent");
    assert!(refused(core).1.contains("wasm-tools component new"));
    assert_eq!(refused(b"hello").0, "NotAComponent");
    assert_eq!(refused(b"").0, "NotAComponent");
    let bytes = component("pod-port");
    assert_eq!(refused(&bytes[..bytes.len() / 2]).0, "NotAComponent");
    let packed = gzip(&bytes);
    assert!(refused(&packed[..packed.len() / 2]).1.contains("gzip"));
}

#[test]
fn another_contract_is_named() {
    let package = |version: &str| {
        format!(
            "package isthmus:mapping@{version};
             interface log {{ write: func(message: string); }}
             world mapper {{ import log; export describe: func() -> string; }}"
        )
    };
    for version in ["0.2.0", "1.0.0"] {
        let (reason, text) = refused(&dummy(&package(version), "mapper"));
        assert_eq!(reason, "UnknownContractVersion");
        assert!(text.contains(version) && text.contains("0.1.x"), "{text}");
    }
    // The right version with another world.
    let (reason, text) = refused(&dummy(&package("0.1.7"), "mapper"));
    assert_eq!(reason, "WrongWorld");
    assert!(text.contains("[describe]") && text.contains("[describe, refine]"), "{text}");
}

#[test]
fn imports_that_the_host_does_not_have_are_named() {
    let package = |import: &str| {
        format!(
            "package a:b; interface sockets {{ open: func(); }} world w {{ import {import}; export describe: func(); }}"
        )
    };
    let (reason, text) = refused(&dummy(&package("sockets"), "w"));
    assert_eq!(reason, "ForbiddenImports");
    assert!(text.contains("a:b/sockets"), "{text}");
    let wasi = "package wasi:clocks@0.2.0; interface now { now: func() -> u64; }
                world w { import now; export describe: func(); }";
    let (reason, text) = refused(&dummy(wasi, "w"));
    assert_eq!(reason, "ForbiddenImports");
    assert!(text.contains("wasi:clocks/now@0.2.0") && text.contains("wasm32-unknown-unknown"), "{text}");
}

#[test]
fn the_right_names_with_other_types_are_refused() {
    let package = "package a:b; world w {
        export describe: func() -> string;
        export refine: func(subject: string, config: string) -> string;
    }";
    let (reason, text) = refused(&dummy(package, "w"));
    assert_eq!(reason, "CompileFailed");
    assert!(text.contains("`describe`"), "{text}");
}

#[test]
fn a_component_in_a_component_is_refused() {
    let package = "package a:b; interface i { f: func(); } world w { export i; export describe: func(); }";
    let error = engine().load(&dummy(package, "w"), None).unwrap_err();
    assert_eq!(error, LoadError::NestedComponent);
    let said = "the component holds another component: only one that is built from core modules is taken";
    assert_eq!(error.to_string(), said);
}

#[test]
fn sizes_are_limited() {
    let bytes = component("pod-port");
    let spoilt = |spoil: fn(&mut EngineOptions)| {
        let mut options = EngineOptions { calls_at_once: 1, ..EngineOptions::default() };
        spoil(&mut options);
        Engine::new(options).unwrap()
    };
    let table = [
        (spoilt(|o| o.max_component_bytes = 1000), "the module has"),
        (spoilt(|o| o.max_code_bytes = 1000), "the code of the module"),
        (spoilt(|o| o.max_function_bytes = 100), "a function of the module"),
    ];
    for (engine, part) in table {
        for bytes in [bytes.clone(), gzip(&bytes)] {
            let error = engine.load(&bytes, None).unwrap_err();
            assert_eq!(error.reason(), "ModuleTooLarge");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn compiled_code_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let options =
        EngineOptions { cache_dir: Some(cache.clone()), calls_at_once: 1, ..EngineOptions::default() };
    let bytes = component("pod-port");
    let files = || {
        let paths =
            std::fs::read_dir(cache.join("isthmus-modules-v1")).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|p| (std::fs::metadata(&p).unwrap().modified().unwrap(), p)).collect::<Vec<_>>()
    };
    let first = Engine::new(options.clone()).unwrap().load(&bytes, None).unwrap();
    let written = files();
    assert_eq!(written.len(), 1);
    let again = Engine::new(options.clone()).unwrap().load(&bytes, None).unwrap();
    assert_eq!(first.manifest(), again.manifest());
    assert_eq!(files(), written, "taken back, not written anew");

    // Compiled with other settings, it is another file.
    Engine::new(EngineOptions { count_fuel: true, ..options.clone() }).unwrap().load(&bytes, None).unwrap();
    assert_eq!(files().len(), 2);

    // As the engine beside it does.
    Engine::new(options.clone()).unwrap().counting_fuel().unwrap().load(&bytes, None).unwrap();
    assert_eq!(files().len(), 2);

    // What was changed is compiled anew.
    let (_, path) = &written[0];
    let mut changed = std::fs::read(path).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(path, &changed).unwrap();
    Engine::new(options).unwrap().load(&bytes, None).unwrap();
    assert_ne!(std::fs::read(path).unwrap(), changed);
}
