//! What takes one change at a time, with parts that several want on it or off it: they do it together. Who comes first does it for all
//! who wait by then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use isthmus_model::retry::RetryClass;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cloud::{CloudError, Result};
use crate::queue::Parking;

/// What a service answered.
pub(super) type Answered<T> = Result<T, isthmus_openstack::Error>;
/// What each of the parts became; one that there is no room for is left out.
pub(super) type Became<C> = BTreeMap<<C as Changes>::Part, <C as Changes>::Put>;

/// How parts are put on a whole, and taken off it.
pub(super) trait Changes: Send + Sync {
    /// What a whole is called, for people.
    const WHOLE: &'static str;
    /// What is put on it.
    type Part: Clone + Ord + Send + Sync;
    /// What a part becomes there.
    type Put: Clone + Send + Sync;

    /// Puts parts on it: all that there is room for, or none. One that is there already is success.
    fn put<'a>(
        &'a self,
        whole: &'a str,
        parts: &'a BTreeSet<Self::Part>,
    ) -> BoxFuture<'a, Answered<Became<Self>>>;

    /// Takes parts off it. That one is off already, or the whole is gone, is success.
    fn take<'a>(&'a self, whole: &'a str, parts: &'a BTreeSet<Self::Part>) -> BoxFuture<'a, Answered<()>>;
}

/// The wholes, each with those who wait for it.
pub(super) struct Turns<C: Changes> {
    changes: C,
    parking: Parking,
    wholes: Mutex<HashMap<String, Arc<Turn<C>>>>,
}

struct Turn<C: Changes> {
    waiting: Mutex<Vec<Wish<C>>>,
    turn: tokio::sync::Mutex<()>,
}

/// What is wanted of a whole, and who waits for it.
struct Wish<C: Changes> {
    part: C::Part,
    /// On it, or off.
    on: bool,
    answer: oneshot::Sender<Answer<C>>,
}

/// What the part became; `None`: it is off, or there is no room for it.
type Answer<C> = Answered<Option<<C as Changes>::Put>>;

impl<C: Changes> Turns<C> {
    pub(super) fn new(changes: C, parking: Parking) -> Self {
        Self { changes, parking, wholes: Mutex::default() }
    }

    /// Puts a part on a whole; `None`: there is no room for it.
    pub(super) async fn put(&self, whole: &str, part: C::Part) -> Result<Option<C::Put>> {
        self.wish(whole, part, true).await
    }

    /// Takes a part off a whole.
    pub(super) async fn take(&self, whole: &str, part: C::Part) -> Result<()> {
        self.wish(whole, part, false).await.map(drop)
    }

    async fn wish(&self, whole: &str, part: C::Part, on: bool) -> Result<Option<C::Put>> {
        let turn = self.turn(whole);
        let (answer, mut answered) = oneshot::channel();
        turn.waiting.lock().push(Wish { part, on, answer });
        let _turn = self.parking.park(turn.turn.lock()).await;
        if let Ok(answer) = answered.try_recv() {
            return Ok(answer?);
        }
        // Also one whose wish was taken along by another that was given up: the others must not wait for it.
        let mut batch: Vec<Wish<C>> = turn.waiting.lock().drain(..).collect();
        // Who gave up has been told nothing, and looks again.
        batch.retain(|wish| !wish.answer.is_closed());
        self.grant(whole, batch).await;
        match answered.try_recv() {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CloudError::GivenUp { what: format!("the change of {} {whole}", C::WHOLE) }),
        }
    }

    fn turn(&self, whole: &str) -> Arc<Turn<C>> {
        let new = || Arc::new(Turn { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() });
        self.wholes.lock().entry(whole.to_owned()).or_insert_with(new).clone()
    }

    /// Does what is wished, in one call for those that come and one for those that go. What one of them spoils, each tries alone.
    async fn grant(&self, whole: &str, batch: Vec<Wish<C>>) {
        let (on, off): (Vec<Wish<C>>, Vec<Wish<C>>) = batch.into_iter().partition(|wish| wish.on);
        for (wishes, on) in [(off, false), (on, true)] {
            let parts: BTreeSet<C::Part> = wishes.iter().map(|wish| wish.part.clone()).collect();
            let Some(answers) = self.together(whole, &parts, on).await else { continue };
            let mut alone = BTreeMap::new();
            if answers.as_ref().is_err_and(one_spoils) && parts.len() > 1 {
                for part in &parts {
                    let one = self.together(whole, &BTreeSet::from([part.clone()]), on).await;
                    alone.extend(one.map(|answers| (part.clone(), answers)));
                }
            }
            for wish in wishes {
                let answers = alone.get(&wish.part).unwrap_or(&answers);
                let answer = answers.clone().map(|became| became.get(&wish.part).cloned());
                // Who is not there any more wants no answer.
                let _ = wish.answer.send(answer);
            }
        }
    }

    /// `None`: nobody wishes anything.
    async fn together(
        &self,
        whole: &str,
        parts: &BTreeSet<C::Part>,
        on: bool,
    ) -> Option<Answered<Became<C>>> {
        match (parts.is_empty(), on) {
            (true, _) => None,
            (false, true) => Some(self.changes.put(whole, parts).await),
            (false, false) => Some(self.changes.take(whole, parts).await.map(|()| BTreeMap::new())),
        }
    }

    /// How many wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting(&self, whole: &str) -> usize {
        self.turn(whole).waiting.lock().len()
    }
}

/// Whether one of several may be what was refused; where the service is away, each alone would only wait as long.
fn one_spoils(error: &isthmus_openstack::Error) -> bool {
    use RetryClass::{Conflict, Invalid, NotFound, Quota};
    matches!(error.class, Conflict | Invalid | NotFound | Quota)
}
