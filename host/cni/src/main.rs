//! `isthmus-cni`: started by the container runtime.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use isthmus_cni::config::MOST_INPUT;
use isthmus_cni::run::run;
use isthmus_cni::{Code, Error};

/// A runtime that does not close our standard input would hold us for ever.
const STDIN_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let (text, code) = match run(&|name| std::env::var_os(name), stdin) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(result)) => (result, ExitCode::SUCCESS),
        Err(error) => (error, ExitCode::FAILURE),
    };
    // Where nobody listens, the exit code says it all.
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard input, and one byte more than is allowed: enough to refuse it.
fn stdin() -> Result<Vec<u8>, Error> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut input = Vec::new();
        let read = std::io::stdin().lock().take(MOST_INPUT as u64 + 1).read_to_end(&mut input);
        sender.send(read.map(|_| input))
    });
    match receiver.recv_timeout(STDIN_WITHIN) {
        Ok(read) => read.map_err(|e| Error::new(Code::Io, "standard input cannot be read", e.to_string())),
        Err(_) => Err(Error::new(Code::Io, "standard input was not closed in 10 s", "")),
    }
}
