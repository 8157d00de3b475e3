//! How many requests a service gets at a time: more while it answers at once, fewer where they wait in it, half as many when it is
//! overloaded, none while it asks for a pause.
//!
//! [`Aimd`] decides (additive increase, multiplicative decrease; time is an argument), [`Budget`] makes callers wait.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How often one that waits asks whether it still may.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// What takes longer than this has waited for others in the service, whose own time for a request is a tenth: more at a time would
/// wait longer, until some are given up.
const SLOW: Duration = Duration::from_secs(2);

/// Bounds of a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Never fewer in flight.
    pub min: u32,
    /// In flight at the start.
    pub start: u32,
    /// Never more in flight.
    pub max: u32,
}

impl Default for Bounds {
    /// Neutron is a few processes of ~100 ms CPU a write: eight at a time keep four workers busy, and 64 are more than
    /// any deployment answers faster than 32.
    fn default() -> Self {
        Self { min: 1, start: 8, max: 64 }
    }
}

/// What a request's end says about the load of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// An answer in time.
    Answered,
    /// 429, 503, 504 or no answer in time; with the pause that the service asks for.
    Overloaded(Option<Duration>),
    /// Nothing: cancelled, or the connection failed.
    Nothing,
}

/// The limit, as a pure state machine.
#[derive(Debug, Clone)]
pub struct Aimd {
    bounds: Bounds,
    limit: f64,
    decreased: Option<Instant>,
    paused_until: Option<Instant>,
}

impl Aimd {
    /// Starts at `bounds.start`.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, limit: f64::from(bounds.start), decreased: None, paused_until: None }
    }

    /// How many may be in flight.
    pub fn limit(&self) -> u32 {
        // Bounded by `bounds`, so that the cast is exact but for the fraction, which is meant to be cut.
        self.limit as u32
    }

    /// The end of a pause that the service asked for, if it lies after `now`.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Takes in how a request ended that began at `began`, when `in_flight` were under way, itself included.
    ///
    /// An answer adds `1 / limit` if the limit was in use (a limit nobody reached has proved nothing): about one more
    /// for each round of answers. One that took longer than [`SLOW`] takes as much away, but leads to half of what was begun
    /// with from below too: there are requests that take so long by themselves. An overload halves the limit, but once a round:
    /// a request that began before the last decrease tells nothing new.
    pub fn ended(&mut self, signal: Signal, began: Instant, now: Instant, in_flight: u32) {
        match signal {
            Signal::Nothing => {}
            Signal::Answered if in_flight < self.limit() => {}
            Signal::Answered if now.duration_since(began) < SLOW => {
                self.limit = (self.limit + 1.0 / self.limit).min(f64::from(self.bounds.max));
            }
            Signal::Answered => {
                let enough = (f64::from(self.bounds.start) / 2.0).max(f64::from(self.bounds.min));
                let round = 1.0 / self.limit;
                self.limit = match self.limit < enough {
                    true => (self.limit + round).min(enough),
                    false => (self.limit - round).max(enough),
                };
            }
            Signal::Overloaded(pause) => {
                if self.decreased.is_none_or(|at| began >= at) {
                    self.limit = (self.limit / 2.0).max(f64::from(self.bounds.min));
                    self.decreased = Some(now);
                }
                if let Some(pause) = pause {
                    let until = now + pause;
                    self.paused_until = Some(self.paused_until.map_or(until, |p| p.max(until)));
                }
            }
        }
    }
}

/// The budget of one service.
///
/// # Guarantee
/// Callers are served in the order they came; at most [`Aimd::limit`] hold a permit, except that a decrease takes
/// nothing from those in flight.
#[derive(Debug, Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Its permits, given out or not, are `State::issued`.
    semaphore: Semaphore,
    state: Mutex<State>,
    gauge: Gauge,
}

#[derive(Debug)]
struct State {
    aimd: Aimd,
    issued: u32,
    in_flight: u32,
}

impl Budget {
    /// A budget that shows its limit on `gauge`.
    pub fn new(bounds: Bounds, gauge: Gauge) -> Self {
        gauge.set(bounds.start.into());
        let state = State { aimd: Aimd::new(bounds), issued: bounds.start, in_flight: 0 };
        let semaphore = Semaphore::new(bounds.start as usize);
        Self { shared: Arc::new(Shared { semaphore, state: Mutex::new(state), gauge }) }
    }

    /// Waits for room and for the end of a pause; `None`, where `may` came to say that there is nothing to wait for any more:
    /// a service may ask for minutes.
    pub async fn acquire_while(&self, may: impl Fn() -> bool) -> Option<Permit> {
        let mut acquire = std::pin::pin!(self.acquire());
        loop {
            match tokio::time::timeout(ASK_AGAIN, &mut acquire).await {
                Ok(permit) => return Some(permit),
                Err(_) if may() => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits for room and for the end of a pause.
    pub async fn acquire(&self) -> Permit {
        // The semaphore is never closed; were it, a request too many would be better than none at all.
        if let Ok(permit) = self.shared.semaphore.acquire().await {
            permit.forget();
        }
        self.shared.state.lock().in_flight += 1;
        let mut permit =
            Permit { shared: Arc::clone(&self.shared), began: Instant::now(), signal: Signal::Nothing };
        loop {
            permit.began = Instant::now();
            let pause = self.shared.state.lock().aimd.pause(permit.began);
            match pause {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return permit,
            }
        }
    }

    /// How many may be in flight at present.
    pub fn limit(&self) -> u32 {
        self.shared.state.lock().aimd.limit()
    }
}

/// The right to have one request in flight. Dropped without [`Permit::end`], it tells nothing about the load.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    began: Instant,
    signal: Signal,
}

impl Permit {
    /// Gives the permit back with what its request's end says.
    pub fn end(mut self, signal: Signal) {
        self.signal = signal;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let in_flight = state.in_flight;
        state.aimd.ended(self.signal, self.began, Instant::now(), in_flight);
        state.in_flight = in_flight.saturating_sub(1);
        let limit = state.aimd.limit();
        self.shared.gauge.set(limit.into());
        // Ours was forgotten when it was acquired: of those issued it is not in the semaphore.
        state.issued = state.issued.saturating_sub(1);
        if state.issued < limit {
            self.shared.semaphore.add_permits((limit - state.issued) as usize);
            state.issued = limit;
        } else {
            let surplus = (state.issued - limit) as usize;
            let taken = self.shared.semaphore.forget_permits(surplus);
            state.issued = state.issued.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn grows_by_one_a_round_when_in_use() {
        let mut aimd = Aimd::new(Bounds::default());
        let now = Instant::now();
        for _ in 0..9 {
            aimd.ended(Signal::Answered, now, now, 8);
        }
        assert_eq!(aimd.limit(), 9);
        for _ in 0..1000 {
            aimd.ended(Signal::Answered, now, now, 3);
        }
        assert_eq!(aimd.limit(), 9, "not in use");
        for _ in 0..100_000 {
            aimd.ended(Signal::Answered, now, now, 64);
        }
        assert_eq!(aimd.limit(), 64);
    }

    /// They wait for each other in the service: who gives up at last makes it worse.
    #[tokio::test(start_paused = true)]
    async fn shrinks_where_answers_take_long() {
        let mut aimd = Aimd::new(Bounds::default());
        let now = Instant::now();
        for _ in 0..100 {
            aimd.ended(Signal::Answered, now, now + SLOW, 64);
        }
        assert_eq!(aimd.limit(), 4, "not below half of the start");
        aimd.ended(Signal::Overloaded(None), now, now, 4);
        assert_eq!(aimd.limit(), 2);
        for _ in 0..100 {
            aimd.ended(Signal::Answered, now, now + SLOW, 64);
        }
        assert_eq!(aimd.limit(), 4, "what is slow by itself gets as many again");
        let mut one = Aimd::new(Bounds { min: 1, start: 1, max: 8 });
        one.ended(Signal::Answered, now, now + SLOW, 1);
        assert_eq!(one.limit(), 1, "never below the least");
    }

    #[tokio::test(start_paused = true)]
    async fn halves_once_a_round_down_to_its_minimum() {
        let mut aimd = Aimd::new(Bounds::default());
        let start = Instant::now();
        let overloaded = Signal::Overloaded(None);
        aimd.ended(overloaded, start, start + 5 * MS, 8);
        for _ in 0..7 {
            aimd.ended(overloaded, start, start + 6 * MS, 7);
        }
        assert_eq!(aimd.limit(), 4, "all eight began before the decrease");
        for round in 1..10 {
            aimd.ended(overloaded, start + 10 * round * MS, start + 10 * round * MS + MS, 1);
        }
        assert_eq!(aimd.limit(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_pause_counts() {
        let mut aimd = Aimd::new(Bounds::default());
        let now = Instant::now();
        aimd.ended(Signal::Overloaded(Some(10 * MS)), now, now, 1);
        aimd.ended(Signal::Overloaded(Some(3 * MS)), now, now, 1);
        assert_eq!(aimd.pause(now), Some(now + 10 * MS));
        assert_eq!(aimd.pause(now + 10 * MS), None);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_follow_the_limit() {
        let budget = Budget::new(Bounds { min: 1, start: 4, max: 8 }, Gauge::default());
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(budget.acquire().await);
        }
        assert!(tokio::time::timeout(MS, budget.acquire()).await.is_err(), "a fifth waits");
        held.pop().unwrap().end(Signal::Overloaded(None));
        assert_eq!(budget.limit(), 2);
        assert!(tokio::time::timeout(MS, budget.acquire()).await.is_err(), "three of two are in flight");
        held.pop();
        assert!(tokio::time::timeout(MS, budget.acquire()).await.is_err(), "two of two are in flight");
        held.pop();
        held.push(tokio::time::timeout(MS, budget.acquire()).await.expect("one of two was in flight"));
        for _ in 0..100 {
            let permit = budget.acquire();
            held.pop().unwrap().end(Signal::Answered);
            held.push(tokio::time::timeout(MS, permit).await.unwrap());
        }
        drop(held);
        let state = budget.shared.state.lock();
        assert_eq!((state.in_flight, state.issued), (0, state.aimd.limit()));
        assert_eq!(budget.shared.semaphore.available_permits(), state.issued as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everybody_and_a_waiter_may_leave() {
        let budget = Budget::new(Bounds { min: 1, start: 2, max: 2 }, Gauge::default());
        budget.acquire().await.end(Signal::Overloaded(Some(Duration::from_secs(5))));
        let start = Instant::now();
        assert!(tokio::time::timeout(MS, budget.acquire()).await.is_err(), "left");
        drop(budget.acquire().await);
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_no_longer_does_not_wait_for_the_end_of_a_pause() {
        let budget = Budget::new(Bounds { min: 1, start: 2, max: 2 }, Gauge::default());
        budget.acquire().await.end(Signal::Overloaded(Some(Duration::from_secs(300))));
        let start = Instant::now();
        let may = || start.elapsed() < Duration::from_secs(2);
        assert!(budget.acquire_while(may).await.is_none());
        assert!(start.elapsed() < Duration::from_secs(3));
        assert!(budget.acquire_while(|| true).await.is_some());
        assert_eq!(start.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_limit_is_taken_back() {
        let budget = Budget::new(Bounds { min: 1, start: 8, max: 8 }, Gauge::default());
        budget.acquire().await.end(Signal::Overloaded(None));
        assert_eq!(budget.shared.semaphore.available_permits(), 4);
    }
}
