//! kube's watcher, made to list anew where it would try for ever.

use std::fmt::Debug;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use kube::Api;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::error::chain;

/// How long one watch call lasts, in seconds: a connection that died silently is noticed 5 s after that.
const WATCH_SECONDS: u32 = 120;
/// Objects a page of a list: full objects are in memory a page at a time.
const PAGE: u32 = 250;

pub(super) fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}

type Events<T> = Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<T>>> + Send>>;

/// What a failure of the watch means.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The kind is not there, or not for us: the list has to begin anew.
    Denied(String),
    /// Passing: it goes on where it was, after a wait.
    Passing(String),
}

/// An endless sequence of a watcher's events, waiting between failures.
pub(super) struct Relist<T> {
    open: Box<dyn Fn() -> Events<T> + Send>,
    events: Events<T>,
    backoff: Backoff,
    failed: bool,
}

impl<T: 'static> Relist<T> {
    pub(super) fn new(open: impl Fn() -> Events<T> + Send + 'static) -> Self {
        Self { events: open(), open: Box::new(open), backoff: Backoff::default(), failed: false }
    }

    /// The next event or failure. Cancel-safe: a wait that is cut short is begun anew.
    pub(super) async fn next(&mut self) -> Result<watcher::Event<T>, Trouble> {
        if self.failed {
            tokio::time::sleep(self.backoff.next()).await;
            self.failed = false;
        }
        match self.events.next().await {
            Some(Ok(event)) => {
                // `Init` is made up by the watcher before it asks; only what the server sent is a success.
                if !matches!(event, watcher::Event::Init) {
                    self.backoff.reset();
                }
                Ok(event)
            }
            Some(Err(error)) => {
                self.failed = true;
                let trouble = judge(&error);
                // The watcher resumes from its last version, which never succeeds where that is gone (410), nor where the
                // kind was deleted and made again.
                if matches!(trouble, Trouble::Denied(_)) || status(&error) == Some(410) {
                    self.events = (self.open)();
                }
                Err(trouble)
            }
            None => {
                self.failed = true;
                self.events = (self.open)();
                Err(Trouble::Passing("the watch ended".into()))
            }
        }
    }
}

fn judge(error: &watcher::Error) -> Trouble {
    let text = chain(error);
    match status(error) {
        Some(401 | 403 | 404 | 405) => Trouble::Denied(text),
        _ => Trouble::Passing(text),
    }
}

fn status(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(s))
        | WatchStartFailed(kube::Error::Api(s))
        | WatchFailed(kube::Error::Api(s)) => Some(s.code),
        WatchError(s) => Some(s.code),
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => None,
    }
}

/// The events of all objects that an `Api` and a configuration choose.
pub(super) fn objects<K>(api: Api<K>, config: watcher::Config) -> Relist<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    Relist::new(move || watcher(api.clone(), config.clone()).boxed())
}
