//! What the file system is asked for more than once.

use std::fs;
use std::io;
use std::path::Path;

use isthmus_cni::{Code, Error};

/// Nothing to do where it is not there.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    missing_is_done(fs::remove_file(path))
}

/// Whatever it is, with all that is in it, as far as it is there. No link is followed.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::IsADirectory => missing_is_done(fs::remove_dir_all(path)),
        done => done,
    }
}

fn missing_is_done(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// By another thread: the one that serves all has other calls meanwhile. `what`: what an error is told of.
pub(crate) async fn blocking(
    what: String,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done).map_err(|e| Error::new(Code::Io, what, e.to_string()))
}
