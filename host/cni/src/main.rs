//! `isthmus-cni`: started by the container runtime.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use isthmus_cni::config::MOST_INPUT;
use isthmus_cni::run::run;
use isthmus_cni::{Code, Error};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A runtime that does not close our standard input would hold us for ever.
const STDIN_WITHIN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let (text, code) = match run(&|name| std::env::var_os(name), stdin) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(result)) => (result, ExitCode::SUCCESS),
        Err(error) => (error, ExitCode::FAILURE),
    };
    // Where nobody listens, the exit code says it all.
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard input, and no more of it than is enough to refuse it. No thread reads it: to start one takes longer than to read.
fn stdin() -> Result<Vec<u8>, Error> {
    let until = Instant::now() + STDIN_WITHIN;
    let mut stdin = io::stdin().lock();
    let mut input = Vec::new();
    while input.len() <= MOST_INPUT {
        wait(&stdin, until)?;
        let part = match stdin.fill_buf() {
            Ok([]) => break,
            Ok(part) => part,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::new(Code::Io, "standard input cannot be read", e.to_string())),
        };
        input.extend(part);
        let read = part.len();
        stdin.consume(read);
    }
    Ok(input)
}

/// Waits until there is something to be read, or there will be no more.
fn wait(stdin: &io::StdinLock<'_>, until: Instant) -> Result<(), Error> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(stdin, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(Error::new(Code::Io, "standard input was not closed in 10 s", "")),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new(Code::Io, "standard input cannot be read", e.to_string())),
        }
    }
}
