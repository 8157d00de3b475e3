//! The plugin, as whoever starts it: its environment, and what comes on standard input. No agent is there.
#![no_main]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use isthmus_cni::Code;
use isthmus_cni::run::run;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NAMES: [&str; 5] = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"];

// A line for each variable, and then the input.
fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(NAMES.len() + 1, |byte| *byte == b'\n');
    let environment: BTreeMap<&str, OsString> = NAMES
        .into_iter()
        .filter_map(|name| Some((name, OsString::from_vec(parts.next()?.to_vec()))))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let input = parts.next().unwrap_or_default().to_vec();
    // Whose socket it names, nobody knows.
    if input.windows(8).any(|word| word == b"\"socket\"") {
        return;
    }
    if let Err(error) = run(&|name| environment.get(name).cloned(), || Ok(input)) {
        let code = error.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
        assert!(code.is_some_and(|code| Code::try_from(code).is_ok()), "{error}");
        assert!(error.get("msg").and_then(Value::as_str).is_some_and(|msg| !msg.is_empty()), "{error}");
    }
});
