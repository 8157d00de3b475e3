//! A stream, sent to both.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::normal::Normal;
use super::side::{Answer, Cloud, Request};
use crate::random::Random;

/// Where the requests of a stream come from: it is told how each was answered.
pub trait Stream {
    /// The next request.
    fn next(&mut self, random: &mut Random) -> Request;
    /// How both answered it. Ids are `#3` and the like.
    fn answered(&mut self, request: &Request, status: u16, body: &Value);
    /// What takes away everything that the stream made, in order; it may be asked for more than once.
    fn cleaning(&self) -> Vec<Request>;
}

/// Both clouds, and what is known of each.
pub struct Pair {
    real: (Cloud, Normal),
    model: (Cloud, Normal),
    compared: usize,
    /// Answers of one status that differ: the stream goes on.
    noted: Vec<String>,
    /// Their statuses differed: what comes after would, too.
    apart: bool,
    began: Instant,
}

/// How long a stream may take; beside other work on two cores Neutron takes several times as long as alone.
const LIMIT: Duration = Duration::from_secs(420);
/// So many differences are enough.
const MOST_NOTED: usize = 12;

impl Pair {
    /// Two clouds in which nothing was done yet.
    ///
    /// # Errors
    /// Never, unless this crate is wrong.
    pub fn new(real: Cloud, model: Cloud) -> Result<Self> {
        let names = (Normal::new(&real.known)?, Normal::new(&model.known)?);
        Ok(Self {
            real: (real, names.0),
            model: (model, names.1),
            compared: 0,
            noted: Vec::new(),
            apart: false,
            began: Instant::now(),
        })
    }

    /// How many pairs of answers were compared.
    pub fn compared(&self) -> usize {
        self.compared
    }

    /// Sends a request to both and compares the answers.
    ///
    /// # Errors
    /// They differ, or one of them gave none.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer> {
        match self.both(request).await? {
            (answer, None) => Ok(answer),
            (_, Some(difference)) => bail!(difference),
        }
    }

    /// The real answer, and how the model's differs from it.
    async fn both(&mut self, request: &Request) -> Result<(Answer, Option<String>)> {
        let ordered = request.path.contains("sort_key");
        let (real, model) =
            tokio::join!(one(&mut self.real, request, ordered), one(&mut self.model, request, ordered));
        let (real, model) = (real?, model?);
        self.compared += 1;
        if real == model {
            return Ok((real, None));
        }
        let mut places = Vec::new();
        differences("", &real.body, &model.body, &mut places);
        let difference = format!(
            "the answers differ\n{}\n{:?} {} {} {}\nreal:  {} {}\nmodel: {} {}",
            places.join("\n"),
            request.who,
            request.method,
            request.path,
            request.body,
            real.status,
            real.body,
            model.status,
            model.body
        );
        self.apart |= real.status != model.status;
        Ok((real, Some(difference)))
    }

    /// As [`Pair::ask`]; a difference is noted, and ends the stream if the statuses differ or there are many.
    ///
    /// # Errors
    /// All that was noted, when it ends.
    pub async fn note(&mut self, request: &Request, place: &str) -> Result<Answer> {
        let asked = || format!("{place}: {} {} {}", request.method, request.path, request.body);
        let (answer, difference) = self.both(request).await.with_context(asked)?;
        self.noted.extend(difference.map(|difference| format!("{place}: {difference}")));
        if self.began.elapsed() > LIMIT {
            self.noted.push(format!("{place}: not done after {LIMIT:?}"));
            return self.report().map(|()| answer);
        }
        if self.apart || self.noted.len() >= MOST_NOTED { self.report().map(|()| answer) } else { Ok(answer) }
    }

    /// What was noted.
    ///
    /// # Errors
    /// Anything was.
    pub fn report(&mut self) -> Result<()> {
        let noted = std::mem::take(&mut self.noted);
        if noted.is_empty() { Ok(()) } else { bail!(noted.join("\n\n")) }
    }

    /// How the real one alone answers; not counted.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn real(&mut self, request: &Request) -> Result<Answer> {
        one(&mut self.real, request, false).await
    }

    /// Asks each until its answer is as it is to be; not counted.
    ///
    /// # Errors
    /// It takes longer than half a minute.
    pub async fn until(&mut self, request: &Request, done: impl Fn(&Answer) -> bool) -> Result<()> {
        for side in [&mut self.real, &mut self.model] {
            let began = std::time::Instant::now();
            loop {
                let answer = one(side, request, false).await?;
                if done(&answer) {
                    break;
                }
                if began.elapsed().as_secs() > 30 {
                    bail!("{} {} stays {} {}", request.method, request.path, answer.status, answer.body);
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Sends `requests` of a stream, and takes away what they made.
    ///
    /// # Errors
    /// Two answers differ, or something is left behind.
    pub async fn run(&mut self, stream: &mut impl Stream, seed: u64, requests: usize) -> Result<()> {
        let mut random = Random::new(seed);
        let mut outcome = Ok(());
        for n in 0..requests {
            let request = stream.next(&mut random);
            match self.note(&request, &format!("seed {seed}, request {n}")).await {
                Ok(answer) => stream.answered(&request, answer.status, &answer.body),
                Err(differences) => {
                    outcome = Err(differences);
                    break;
                }
            }
        }
        let outcome = outcome.and_then(|()| self.report());
        let cleaned = self.clean(stream).await;
        outcome.and(cleaned)
    }

    async fn clean(&mut self, stream: &impl Stream) -> Result<()> {
        let mut left = Vec::new();
        for request in stream.cleaning() {
            // It may still be at work on the last one.
            for _ in 0..100 {
                let answer = one(&mut self.real, &request, false).await?;
                match answer.status {
                    200..=299 | 404 => break,
                    409 if request.path.starts_with("/v2/lbaas") => {
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    }
                    _ => {
                        left.push(format!(
                            "{} {}: {} {}",
                            request.method, request.path, answer.status, answer.body
                        ));
                        break;
                    }
                }
            }
        }
        if left.is_empty() { Ok(()) } else { bail!("left behind in the real cloud:\n{}", left.join("\n")) }
    }
}

/// Takes away from a cloud what is named after this crate, whatever came of the stream that made it.
///
/// # Errors
/// It does not go.
pub async fn sweep(cloud: &Cloud) -> Result<()> {
    use super::{load_balancer, network};
    // An amphora boots before it can be deleted.
    for _ in 0..600 {
        let listed = load_balancer::request("GET", "/loadbalancers".to_owned(), Value::Null);
        let all = ids(&cloud.send(&listed).await?.body, "loadbalancers");
        if all.is_empty() {
            break;
        }
        for id in all {
            let path = format!("/loadbalancers/{id}?cascade=true");
            cloud.send(&load_balancer::request("DELETE", path, Value::Null)).await?;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let left = network::sweep(cloud).await?;
    if left.is_empty() { Ok(()) } else { bail!("left behind in the real cloud:\n{}", left.join("\n")) }
}

/// Ids of what is named after this crate.
pub(super) fn ids(list: &Value, key: &str) -> Vec<String> {
    let all = list.get(key).and_then(Value::as_array).into_iter().flatten();
    let ours = all.filter(|o| {
        o.get("name").and_then(Value::as_str).is_some_and(|name| name.starts_with("conformance"))
    });
    ours.filter_map(|o| o.get("id")?.as_str().map(str::to_owned)).collect()
}

/// Where two answers differ: path, and what each has there.
fn differences(path: &str, real: &Value, model: &Value, found: &mut Vec<String>) {
    match (real, model) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_else(|| Value::from("<absent>"))
                };
                differences(&format!("{path}/{key}"), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}/{at}"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("  {path}: real {a}, model {b}")),
    }
}

async fn one((cloud, normal): &mut (Cloud, Normal), request: &Request, ordered: bool) -> Result<Answer> {
    let mut own = request.clone();
    own.path = normal.resolve(&request.path);
    own.body = normal.resolve_body(&request.body);
    let answer = cloud.send(&own).await?;
    normal.deleted(request, &answer);
    Ok(Answer { status: answer.status, body: normal.answer(&answer.body, ordered) })
}
