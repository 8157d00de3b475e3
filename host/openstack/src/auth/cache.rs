//! One token for all requests, renewed by one caller at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use isthmus_model::retry::RetryClass;
use parking_lot::RwLock;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::Token;
use crate::error::{Error, ErrorKind, Result};

/// After a sign-in failed, how long its error answers for everybody: those who waited for it, and those who come
/// right after. Without this a Keystone that is down would be asked by every request, one after the other.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where the credential was refused: Keystone may lock a user out who tries too often.
const PAUSE_REFUSED: Duration = Duration::from_secs(10);
/// How often an early renewal is tried, while the old token is still good.
const PAUSE_EARLY: Duration = Duration::from_secs(30);

/// The current token.
///
/// # Guarantee
/// At most one sign-in is under way. Who needs its result waits; who has a usable token does not.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    current: RwLock<Option<Arc<Token>>>,
    renewal: Mutex<Renewal>,
}

#[derive(Debug, Default)]
struct Renewal {
    failed: Option<(Instant, Error)>,
    early: Option<Instant>,
}

impl TokenCache {
    /// The current token; got by `sign_in` where there is no usable one.
    ///
    /// # Errors
    /// That of the sign-in, or of one that failed a moment ago.
    pub(crate) async fn get<F, S>(&self, sign_in: F) -> Result<Arc<Token>>
    where
        F: FnOnce() -> S,
        S: Future<Output = Result<Token>>,
    {
        if let Some(token) = self.usable() {
            if token.due(Instant::now())
                && let Ok(renewal) = self.renewal.try_lock()
            {
                return Ok(self.renew_early(renewal, token, sign_in).await);
            }
            return Ok(token);
        }
        let mut renewal = self.renewal.lock().await;
        if let Some(token) = self.usable() {
            return Ok(token);
        }
        if let Some((at, error)) = &renewal.failed
            && at.elapsed() < pause(error)
        {
            return Err(error.clone());
        }
        match sign_in().await {
            Ok(token) => Ok(self.store(&mut renewal, token)),
            // Who asked may no longer, and others may.
            Err(error) if error.kind == ErrorKind::Withheld => Err(error),
            Err(error) => {
                renewal.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Forgets `token`, which a service refused, unless it was replaced meanwhile.
    pub(crate) fn refuse(&self, token: &Arc<Token>) {
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|c| Arc::ptr_eq(c, token)) {
            *current = None;
        }
    }

    fn usable(&self) -> Option<Arc<Token>> {
        self.current.read().as_ref().filter(|t| t.usable(Instant::now())).cloned()
    }

    /// A failure costs nothing yet: the old token goes on.
    async fn renew_early<F, S>(
        &self,
        mut renewal: MutexGuard<'_, Renewal>,
        old: Arc<Token>,
        sign_in: F,
    ) -> Arc<Token>
    where
        F: FnOnce() -> S,
        S: Future<Output = Result<Token>>,
    {
        // A token exchanged for itself lives no longer: it would be due again at once.
        if renewal.early.is_some_and(|at| at.elapsed() < PAUSE_EARLY) {
            return old;
        }
        renewal.early = Some(Instant::now());
        match sign_in().await {
            Ok(token) => self.store(&mut renewal, token),
            Err(error) => {
                tracing::warn!(%error, "early renewal of the token failed, the old one is used on");
                old
            }
        }
    }

    fn store(&self, renewal: &mut Renewal, token: Token) -> Arc<Token> {
        renewal.failed = None;
        let token = Arc::new(token);
        *self.current.write() = Some(Arc::clone(&token));
        token
    }
}

fn pause(error: &Error) -> Duration {
    match error.class {
        RetryClass::Unauthorized | RetryClass::Forbidden | RetryClass::Invalid => PAUSE_REFUSED,
        _ => error.context.retry_after.unwrap_or(PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::auth::token_for_tests;
    use crate::error::{Context, ErrorKind};

    const HOUR: Duration = Duration::from_secs(3600);

    fn failure(class: RetryClass) -> Error {
        Error::new(class, ErrorKind::Status, Context::default())
    }

    /// A Keystone that takes a second, counts, and gives numbered tokens or an error.
    #[derive(Default)]
    struct Keystone {
        asked: AtomicU32,
        fails: Option<RetryClass>,
    }

    impl Keystone {
        async fn sign_in(&self) -> Result<Token> {
            let n = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            match self.fails {
                Some(class) => Err(failure(class)),
                None => Ok(token_for_tests(&n.to_string(), HOUR)),
            }
        }

        fn asked(&self) -> u32 {
            self.asked.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_one_sign_in() {
        let (cache, keystone) = (TokenCache::default(), Keystone::default());
        let all = futures::future::join_all((0..100).map(|_| cache.get(|| keystone.sign_in()))).await;
        assert!(all.iter().all(|t| t.as_ref().unwrap().secret.expose() == "1"));
        assert_eq!(keystone.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_failure() {
        let cache = TokenCache::default();
        let keystone = Keystone { fails: Some(RetryClass::Transient), ..Keystone::default() };
        let all = futures::future::join_all((0..100).map(|_| cache.get(|| keystone.sign_in()))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(keystone.asked(), 1);
        tokio::time::advance(PAUSE).await;
        assert!(cache.get(|| keystone.sign_in()).await.is_err());
        assert_eq!(keystone.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_not_tried_again_at_once() {
        let cache = TokenCache::default();
        let keystone = Keystone { fails: Some(RetryClass::Unauthorized), ..Keystone::default() };
        for _ in 0..9 {
            assert!(cache.get(|| keystone.sign_in()).await.is_err());
            tokio::time::advance(Duration::from_millis(900)).await;
        }
        assert_eq!(keystone.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_due_is_renewed_by_one_and_used_by_others() {
        let (cache, keystone) = (TokenCache::default(), Keystone::default());
        cache.get(|| keystone.sign_in()).await.unwrap();
        tokio::time::advance(HOUR - Duration::from_secs(200)).await;
        let all = futures::future::join_all((0..10).map(|_| cache.get(|| keystone.sign_in()))).await;
        let new = all.iter().filter(|t| t.as_ref().unwrap().secret.expose() == "2").count();
        assert_eq!((new, keystone.asked()), (1, 2));
        assert_eq!(cache.get(|| keystone.sign_in()).await.unwrap().secret.expose(), "2");
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_renewal_that_fails_leaves_the_old_token() {
        let (cache, keystone) = (TokenCache::default(), Keystone::default());
        cache.get(|| keystone.sign_in()).await.unwrap();
        tokio::time::advance(HOUR - Duration::from_secs(200)).await;
        let away = Keystone { fails: Some(RetryClass::Transient), ..Keystone::default() };
        for _ in 0..5 {
            assert_eq!(cache.get(|| away.sign_in()).await.unwrap().secret.expose(), "1");
        }
        assert_eq!(away.asked(), 1);
        tokio::time::advance(Duration::from_secs(180)).await;
        assert!(cache.get(|| away.sign_in()).await.is_err(), "a stale token is not used");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_refused_token_is_forgotten() {
        let (cache, keystone) = (TokenCache::default(), Keystone::default());
        let first = cache.get(|| keystone.sign_in()).await.unwrap();
        cache.refuse(&first);
        let second = cache.get(|| keystone.sign_in()).await.unwrap();
        cache.refuse(&first);
        assert_eq!(cache.get(|| keystone.sign_in()).await.unwrap().secret, second.secret);
        assert_eq!(keystone.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_gives_up_blocks_nobody() {
        let (cache, keystone) = (TokenCache::default(), Keystone::default());
        let impatient =
            tokio::time::timeout(Duration::from_millis(10), cache.get(|| keystone.sign_in())).await;
        assert!(impatient.is_err());
        assert_eq!(cache.get(|| keystone.sign_in()).await.unwrap().secret.expose(), "2");
    }
}
